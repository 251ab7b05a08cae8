import { ERROR, OK } from "../core/codes.ts";
import { finish } from "./finish.ts";
import type { UpstreamRequest } from "./request.ts";
import { TUNNEL } from "./step.ts";

/** The server has changed to another protocol (Upgrade): from now on bytes go both ways as they come. */
export function openTunnel(upstream: UpstreamRequest, bytes: Buffer, from: number): void {
  const { request, target } = upstream;
  upstream.step = TUNNEL;
  request.exchange.flush();
  request.exchange.takeOver(request, upstream);
  if (upstream.step === TUNNEL && from < bytes.length) {
    upstream.present.responseLength += bytes.length - from;
    toClient(upstream, bytes.subarray(from));
  }
  upstream.arm(target.settings.readTimeout);
}

function toClient(upstream: UpstreamRequest, bytes: Buffer): void {
  if (!upstream.request.exchange.writeTunnel(bytes)) upstream.pause();
}

export function fromServer(upstream: UpstreamRequest, bytes: Buffer): void {
  upstream.present.responseLength += bytes.length;
  upstream.arm(upstream.target.settings.readTimeout);
  toClient(upstream, bytes);
}

export function fromClient(upstream: UpstreamRequest, bytes: Buffer): void {
  const { stream, present, request } = upstream;
  upstream.arm(upstream.target.settings.readTimeout);
  if (stream === undefined) return;
  present.bytesSent += bytes.length;
  if (!stream.write(bytes)) request.exchange.pauseRead();
}

/** Its time is over: what the client has not taken is lost. */
export function endTunnel(upstream: UpstreamRequest): void {
  finish(upstream, upstream.request.exchange.blocked ? ERROR : OK);
}

/** The server sends nothing more. */
export function serverLeft(upstream: UpstreamRequest): void {
  upstream.request.exchange.endTunnel();
  upstream.serverEnded = true;
  if (upstream.clientEnded) finish(upstream, OK);
}

/** The client sends nothing more. */
export function clientEnded(upstream: UpstreamRequest): void {
  upstream.clientEnded = true;
  upstream.stream?.end();
  if (upstream.serverEnded) finish(upstream, OK);
}
