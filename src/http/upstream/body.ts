import { HeaderList } from "../../wire/http1/header_list.ts";
import { NO_TRAILERS } from "../../wire/http1/hop_by_hop.ts";
import { logError } from "../core/log_context.ts";
import { finalize } from "./finish.ts";
import { complete, pass, settle } from "./passing.ts";
import { type AnswerReader, DATA, INVALID, LAST, MORE, OVER } from "./protocol.ts";
import type { ReadLimit } from "./read_limit.ts";
import type { UpstreamRequest } from "./request.ts";
import { BODY } from "./step.ts";

/** Bytes of the answer's body as they came. */
export function takeBody(upstream: UpstreamRequest, bytes: Buffer, from: number): void {
  const reader = upstream.connection?.reader;
  if (reader === undefined) return;
  let at = from;
  while (at < bytes.length) {
    const code = reader.readBody(bytes, at);
    if (code === MORE) break;
    if (code === DATA) {
      pass(upstream, bytes, reader.dataStart, reader.dataEnd, false);
      if (upstream.step !== BODY) return;
      at = reader.pos;
      continue;
    }
    if (code === INVALID) {
      logError(upstream.request, "error", `${reader.error} while reading upstream`);
      finalize(upstream, 502);
      return;
    }
    if (reader.excess !== "") logError(upstream.request, "warn", `${reader.excess} while reading upstream`);
    upstream.answerEnded = true;
    if (code === LAST) pass(upstream, bytes, reader.dataStart, reader.dataEnd, true);
    else if (code === OVER) takeTrailers(upstream, reader);
    complete(upstream, code === LAST);
    return;
  }
  settle(upstream);
}

function takeTrailers(upstream: UpstreamRequest, reader: AnswerReader): void {
  const trailers = reader.takeTrailers();
  if (trailers === undefined) return;
  upstream.trailers = trailers;
  const { response } = upstream.request;
  const { passTrailers, hidden } = upstream.target.settings;
  if (!passTrailers) return;
  const { named } = reader.head.headers;
  const out = response.trailers ?? new HeaderList();
  for (let i = 0; i < trailers.count; i++) {
    if (hidden.holds(trailers, i) || NO_TRAILERS.holds(trailers, i) || named?.has(trailers.key(i))) continue;
    out.copy(trailers, i);
  }
  if (out.count > 0) response.trailers = out;
}

/** As many bytes of the body as proxy_limit_rate allows by now; the server waits meanwhile. */
export function takeLimited(upstream: UpstreamRequest, limit: ReadLimit, bytes: Buffer, from: number): void {
  const allowed = limit.allow(bytes.length - from);
  if (allowed > 0) takeBody(upstream, bytes.subarray(from, from + allowed), 0);
  if (upstream.step !== BODY) return;
  if (from + allowed < bytes.length) limit.hold(bytes.subarray(from + allowed));
  else if (limit.delay === 0) return;
  upstream.limiting = true;
  upstream.pause();
  upstream.arm(limit.delay);
}

/** proxy_limit_rate's wait is over. */
export function readOn(upstream: UpstreamRequest): void {
  const { limit, spool } = upstream;
  const held = limit?.release();
  upstream.limiting = false;
  if (held !== undefined && limit !== undefined) takeLimited(upstream, limit, held, 0);
  if (upstream.step !== BODY || upstream.limiting) return;
  upstream.arm(upstream.target.settings.readTimeout);
  if (spool === undefined || !spool.full) upstream.resume();
}
