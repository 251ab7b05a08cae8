import { engine } from "../../net/engines.ts";
import { parseAddrPort } from "../../net/parse_url.ts";
import { now } from "../../sys/clock.ts";
import { CLIENT_CLOSED_REQUEST } from "../core/codes.ts";
import { logError } from "../core/log_context.ts";
import { ServerConnection } from "./connection.ts";
import { finish, releaseServer } from "./finish.ts";
import type { UpstreamRequest } from "./request.ts";
import { sendRequest } from "./sending.ts";
import { addState, UpstreamState } from "./state.ts";
import { CONNECTING } from "./step.ts";

/** Idempotent methods may be repeated though the server may have begun to act upon them (RFC 9110 section 9.2.2). */
function repeatable(method: string): boolean {
  return method !== "POST" && method !== "LOCK" && method !== "PATCH";
}

/** Chooses a server, connects to it or takes an idle connection, and sends. */
export function connectNext(upstream: UpstreamRequest): void {
  const { target, request } = upstream;
  const peer = target.group.next(upstream.attempt);
  if (peer === undefined) {
    noLive(upstream);
    return;
  }
  upstream.peer = peer;
  upstream.present = new UpstreamState(peer.name);
  addState(request, upstream.present);
  upstream.sent = false;
  upstream.bodyWritten = false;
  upstream.bodySent = false;
  upstream.informational = 0;
  upstream.hintsLength = 0;
  upstream.bodyOffset = 0;
  upstream.bodyPieces = 0;
  const { bind, connectTimeout } = target.settings;
  const source = bind === undefined ? "" : (bind.address.constant ?? bind.address.render(request));
  const pooled = target.pool?.take(peer, target.place, source);
  if (pooled !== undefined) {
    const { data } = pooled;
    if (data instanceof ServerConnection && data.protocol === target.protocol) {
      upstream.fromPool = true;
      adopt(upstream, data);
      upstream.present.connectTime = 0;
      sendRequest(upstream, pooled.stream);
      return;
    }
    // The upstream is spoken to in another protocol as well.
    pooled.leave();
    pooled.stream.destroy();
  }
  upstream.fromPool = false;
  const local = source === "" ? undefined : parseAddrPort(source);
  if (local === undefined && source !== "") logError(request, "error", `invalid local address "${source}"`);
  const from = { localAddress: local?.host, localPort: local?.port };
  const stream = engine().connect({ address: peer.address, ...from }, upstream);
  upstream.step = CONNECTING;
  adopt(upstream, new ServerConnection(stream, peer, target.protocol, source));
  upstream.arm(connectTimeout);
}

function adopt(upstream: UpstreamRequest, connection: ServerConnection): void {
  upstream.connection = connection;
  upstream.keepalive = true;
  upstream.answerEnded = false;
  connection.current = upstream;
  upstream.stream = connection.pooled.stream;
  upstream.stream.handler = upstream;
  const { reader } = connection;
  upstream.head = reader.head;
  reader.begin(upstream.target.settings.bufferSize);
}

function noLive(upstream: UpstreamRequest): void {
  const state = new UpstreamState(upstream.target.group.name);
  addState(upstream.request, state);
  upstream.present = state;
  logError(upstream.request, "error", "no live upstreams while connecting to upstream");
  state.status = 502;
  state.responseTime = now() - state.startedAt;
  finish(upstream, 502);
}

/** Whether proxy_next_upstream and what has been sent allow another server. */
export function mayRepeat(upstream: UpstreamRequest, condition: string): boolean {
  const { settings } = upstream.target;
  if (!settings.next.has(condition)) return false;
  if (upstream.sent) {
    if (upstream.streaming) return false;
    if (!repeatable(upstream.request.method) && !settings.next.has("non_idempotent")) return false;
  }
  return settings.nextTimeout === 0 || now() - upstream.startedAt < settings.nextTimeout;
}

/** The present server failed (`condition` is one of proxy_next_upstream): another one, or the answer that says so. */
export function nextServer(upstream: UpstreamRequest, condition: string): void {
  const { request, present: state, attempt } = upstream;
  // A connection from the pool that turns out dead says nothing of the server.
  const stale = upstream.fromPool && condition === "error";
  releaseServer(upstream, condition === "http_403" || condition === "http_404" ? "next" : "failed");
  if (stale) attempt.tries++;
  const status = condition === "timeout" ? 504 : condition.startsWith("http_") ? Number(condition.slice(5)) : 502;
  state.status = status;
  if (request.connection.closed && !upstream.target.settings.ignoreClientAbort) {
    finish(upstream, CLIENT_CLOSED_REQUEST);
  } else if (attempt.tries <= 0 || !mayRepeat(upstream, condition)) {
    finish(upstream, status);
  } else {
    connectNext(upstream);
  }
}
