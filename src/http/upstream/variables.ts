import { now } from "../../sys/clock.ts";
import type { Request } from "../core/request.ts";
import type { VariableSpec } from "../core/script.ts";
import { fieldText } from "../variables/field_text.ts";

/**
 * One server tried, for $upstream_*; times in ms, -1 if that step was not reached. An entry without a peer separates
 * two passages (X-Accel-Redirect, error_page).
 */
export class UpstreamState {
  readonly peer: string;
  status = 0;
  connectTime = -1;
  headerTime = -1;
  responseTime = -1;
  /** Body bytes received. */
  responseLength = 0;
  bytesSent = 0;
  bytesReceived = 0;
  readonly startedAt = Math.floor(now());

  constructor(peer: string) {
    this.peer = peer;
  }

  /** Whole ms, as nginx counts them: V8 keeps a number with a fraction in an object of its own. */
  elapsed(): number {
    return Math.floor(now()) - this.startedAt;
  }
}

/** The state before a server was tried. */
export const NO_STATE = new UpstreamState("");

/** Begins a passage: separates it from the servers of an earlier one. */
export function markPassage(request: Request): void {
  request.upstreamStates?.push(new UpstreamState(""));
}

/** Notes a passage that does not reach any server. */
export function markEmptyPassage(request: Request): void {
  if (request.upstreamStates === undefined) request.upstreamStates = [];
  else markPassage(request);
}

/** Adds a server that is tried. */
export function addState(request: Request, state: UpstreamState): void {
  // An array made with its elements has exactly their size; one that grows from nothing has room for 17 at once.
  if (request.upstreamStates === undefined) request.upstreamStates = [state];
  else request.upstreamStates.push(state);
}

/**
 * The values of a variable for the servers tried, in order: servers of one passage are joined by ", ", passages of one
 * request (after X-Accel-Redirect or error_page) by " : ". Not found if the request was not passed on.
 */
function joined(show: (state: UpstreamState) => string): VariableSpec {
  return {
    get({ upstreamStates: states }) {
      if (states === undefined || states.length === 0) return undefined;
      let text = show(states[0]);
      for (let i = 1; i < states.length; i++) {
        if (states[i].peer !== "") {
          text += `, ${show(states[i])}`;
          continue;
        }
        // Between two passages; the second one may not have reached a server.
        text += " : ";
        i++;
        if (i < states.length) text += show(states[i]);
      }
      return text;
    },
  };
}

/** Seconds with milliseconds; "-" if that step was not reached. */
function seconds(ms: number): string {
  return ms < 0 ? "-" : (Math.round(ms) / 1000).toFixed(3);
}

/** $upstream_… of ngx_http_upstream_module. */
export const UPSTREAM_VARIABLES: Readonly<Record<string, VariableSpec>> = {
  upstream_addr: joined((state) => state.peer),
  upstream_status: joined((state) => (state.status === 0 ? "-" : String(state.status))),
  upstream_connect_time: joined((state) => seconds(state.connectTime)),
  upstream_header_time: joined((state) => seconds(state.headerTime)),
  upstream_response_time: joined((state) => seconds(state.responseTime)),
  upstream_response_length: joined((state) => String(state.responseLength)),
  upstream_bytes_received: joined((state) => String(state.bytesReceived)),
  upstream_bytes_sent: joined((state) => String(state.bytesSent)),
  upstream_cache_status: { get: ({ cache }) => cache?.status },
  upstream_cache_age: { get: ({ cache }) => (cache?.age === undefined ? undefined : String(cache.age)) },
  upstream_cache_last_modified: { get: ({ cache }) => cache?.lastModified },
  upstream_cache_etag: { get: ({ cache }) => cache?.etag },
};

/** `$upstream_http_NAME`: a field of the last server's answer, even if it is not passed on. */
export function upstreamHeader(name: string): VariableSpec {
  return {
    get({ upstream, cache }) {
      const head = cache?.head ?? upstream?.head;
      return head === undefined ? undefined : fieldText(head.headers, name);
    },
  };
}

/** `$upstream_trailer_NAME`: known once the body has been read. */
export function upstreamTrailer(name: string): VariableSpec {
  return {
    get({ upstream }) {
      const trailers = upstream?.trailers;
      return trailers === undefined ? undefined : fieldText(trailers, name);
    },
  };
}

/** `$upstream_cookie_NAME`: the value of a cookie that the last server's response sets. */
export function upstreamCookie(name: string): VariableSpec {
  return { get: (request) => setCookieValue(request, name) };
}

function setCookieValue({ upstream, cache }: Request, name: string): string | undefined {
  const head = cache?.head ?? upstream?.head;
  if (head === undefined || head.setCookieAt < 0) return undefined;
  const { headers } = head;
  for (let at = head.setCookieAt; at >= 0; at = headers.indexOf("set-cookie", at + 1)) {
    const value = headers.value(at);
    if (value.length <= name.length || value.slice(0, name.length).toLowerCase() !== name) continue;
    const rest = /^ *= *([^;]*)/.exec(value.slice(name.length));
    if (rest !== null) return rest[1];
  }
  return undefined;
}
