import type { Peer } from "../../balancer/peer.ts";
import type { HeadText } from "../../wire/head_text.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import type { Request } from "./request.ts";

/** The way through an upstream, as everyone but http/upstream sees it. */

/** One request on its way through an upstream. */
export interface UpstreamPassage {
  /** `http://127.0.0.1:8080/uri` for the error log while a server is at work. */
  readonly shown: string | undefined;
  /** The last answer's head and trailer, for $upstream_http_* and $upstream_trailer_*. */
  readonly head: { readonly headers: HeaderList; readonly setCookieAt: number } | undefined;
  readonly trailers: HeaderList | undefined;
  /** The server at work. */
  readonly server: Peer | undefined;
  /** The server was given back: nothing is left to do. */
  readonly ended: boolean;
  /** Nothing happened that forbids the server's connection another request. */
  keepalive: boolean;
  /** Ends the exchange with the server and answers `code`. */
  finalize(code: number): void;
  /** Gives the server back and answers nothing. */
  abandon(): void;
  /** The client takes bytes again. */
  writable(): void;
  /** The client has gone: so does the server's connection. */
  clientGone(): void;
  /** The client has gone, with proxy_ignore_client_abort. */
  clientLost(): void;
}

/** The servers of an upstream, before one of them is chosen. */
export interface PeerChoice {
  readonly peers: readonly Peer[];
  /** The index of the one that is to be tried first, if it can be had; -1: the balancing method's. */
  preferred: number;
  /** After a hook returned DONE: what it waited for is there, the choice goes on. Does nothing once the request has ended. */
  proceed(): void;
}

/**
 * What a module does on a request's way through an upstream: the cache, stickiness, sessions stand here. The codes are a
 * handler's: OK goes on; DONE has taken the request over; anything else ends it.
 */
export interface UpstreamHook {
  /** Before a server is chosen. DONE: `choice.proceed` follows, unless the request is answered in another way. */
  readonly peer?: (request: Request, choice: PeerChoice) => number;
  /** An answer is to be passed on: `request.upstream` has its head, `request.response` what the client will see of it. */
  readonly head?: (request: Request) => number;
  /** A piece of that answer's body, `bytes[from..until)`, lent for the call. */
  readonly body?: (request: Request, bytes: Buffer, from: number, until: number) => void;
  /** The passage is over. `complete`: all of the answer was read. */
  readonly end?: (request: Request, complete: boolean) => void;
}

/** The hooks of a location, by where they stand; undefined where there are none. */
export interface UpstreamHooks {
  readonly peer: readonly NonNullable<UpstreamHook["peer"]>[] | undefined;
  readonly head: readonly NonNullable<UpstreamHook["head"]>[] | undefined;
  readonly body: readonly NonNullable<UpstreamHook["body"]>[] | undefined;
  readonly end: readonly NonNullable<UpstreamHook["end"]>[] | undefined;
}

/**
 * What $upstream_* shows of one server tried; times in ms, -1 where it did not come so far. One whose peer is "" marks
 * the end of a passage and the start of the next one (X-Accel-Redirect, error_page).
 */
export interface UpstreamState {
  readonly peer: string;
  status: number;
  readonly startedAt: number;
  connectTime: number;
  headerTime: number;
  responseTime: number;
  /** Body bytes received. */
  responseLength: number;
  bytesSent: number;
  bytesReceived: number;
}

/** The address part of the URL in proxy_pass. */
export interface PassedTo {
  /** Without the scheme's own port; "localhost" for a unix socket. */
  readonly hostHeader: HeadText;
  /** "" for a unix socket. */
  readonly port: string;
}
