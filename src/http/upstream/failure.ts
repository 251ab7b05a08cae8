import type { StreamError } from "../../net/stream.ts";
import { OK } from "../core/codes.ts";
import { logError } from "../core/log_context.ts";
import { finalize, finish } from "./finish.ts";
import { nextServer } from "./next.ts";
import { breakOff, complete } from "./passing.ts";
import type { UpstreamRequest } from "./request.ts";
import { BODY, CONNECTING, doing, HEADER, TUNNEL } from "./step.ts";
import { endTunnel, serverLeft } from "./tunnel.ts";

/** The server has half-closed. */
export function serverEnded(upstream: UpstreamRequest): void {
  switch (upstream.step) {
    case HEADER:
      prematureEnd(upstream);
      return;
    case BODY:
      bodyClosed(upstream);
      return;
    case TUNNEL:
      serverLeft(upstream);
  }
}

function prematureEnd(upstream: UpstreamRequest): void {
  const sentence = "upstream prematurely closed connection while reading response header from upstream";
  logError(upstream.request, "error", sentence);
  nextServer(upstream, "error");
}

function bodyClosed(upstream: UpstreamRequest): void {
  if (upstream.connection?.reader.endsWithConnection()) {
    upstream.answerEnded = true;
    complete(upstream, false);
    return;
  }
  logError(upstream.request, "error", "upstream prematurely closed connection while reading upstream");
  breakOff(upstream);
}

/** The connection is gone. */
export function serverClosed(upstream: UpstreamRequest, error: StreamError | undefined): void {
  const { request, step } = upstream;
  switch (step) {
    case CONNECTING:
      if (error?.code === "EMFILE" || error?.code === "ENFILE") {
        // This machine's fault: no server is to be held out for it.
        logError(request, "alert", `socket() failed (${error.message}) while connecting to upstream`);
        finalize(upstream, 500);
        return;
      }
      logError(request, "error", `connect() failed (${error?.message ?? "closed"}) while connecting to upstream`);
      nextServer(upstream, "error");
      return;
    case HEADER:
      if (error === undefined || error.code === "EPIPE") {
        prematureEnd(upstream);
        return;
      }
      logError(request, "error", `recv() failed (${error.message}) while reading response header from upstream`);
      nextServer(upstream, "error");
      return;
    case BODY:
      if (error === undefined) {
        bodyClosed(upstream);
        return;
      }
      logError(request, "error", `recv() failed (${error.message}) while reading upstream`);
      breakOff(upstream);
      return;
    case TUNNEL:
      // The client still gets what the server had sent.
      finish(upstream, OK);
  }
}

/** The present step has taken too long. */
export function timedOut(upstream: UpstreamRequest): void {
  const { request, step } = upstream;
  if (step === BODY && upstream.paused) {
    // It is the client who takes its time; send_timeout watches it.
    upstream.arm(upstream.target.settings.readTimeout);
    return;
  }
  const what = doing(step, upstream.bodySent);
  logError(request, "error", `upstream timed out (110: Connection timed out) while ${what}`);
  if (step === CONNECTING || step === HEADER) nextServer(upstream, "timeout");
  else if (step === BODY) breakOff(upstream);
  else endTunnel(upstream);
}
