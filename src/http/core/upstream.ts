import type { Binding } from "../../balancer/attempt.ts";
import type { Peer } from "../../balancer/peer.ts";
import type { HeadText } from "../../wire/head_text.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import type { Request } from "./request.ts";

/** A request's passage through an upstream, as everybody but http/upstream sees it. */

/** One request's passage through an upstream. */
export interface UpstreamPassage {
  /** `http://127.0.0.1:8080/uri` for the error log while a server is connected to. */
  readonly shown: string | undefined;
  /** What is being done, for the error log. */
  readonly doing: string;
  /** The last answer's head and trailer, for $upstream_http_* and $upstream_trailer_*. */
  readonly head: AnswerHead | undefined;
  readonly trailers: HeaderList | undefined;
  /** The server that was chosen. */
  readonly server: Peer | undefined;
  /** The passage is over: the server was released. */
  readonly ended: boolean;
  /** The server's connection may be kept for another request. */
  keepalive: boolean;
  /**
   * Called once, later, by a hook of the head that returned DONE, on the passage that it has to do with: the hooks behind it are
   * called, and the response is sent. Does nothing once the passage is over.
   */
  proceed(): void;
  /** Ends the exchange with the server and answers `code`. */
  finalize(code: number): void;
  /** The last answer's head is still needed when the server's connection is used for another request. */
  keepHead(): void;
  /** Releases the server without answering anything. */
  abandon(): void;
  /** The client takes bytes again. */
  writable(): void;
  /** The client has gone: closes the server's connection. */
  clientGone(): void;
  /** The client has gone; proxy_ignore_client_abort is set. */
  clientLost(): void;
}

/** An answer's head, whatever the protocol. Valid until the reader begins another one. */
export interface AnswerHead {
  /** 9 without a head (HTTP/0.9): the client gets none either. */
  readonly version: number;
  readonly status: number;
  /** The code and its text, as sent; undefined for the usual text. */
  readonly statusLine: HeadText | undefined;
  readonly headers: HeaderList;
  /** -1 if it is not announced. */
  readonly contentLength: number;
  /** Bytes of the head. */
  readonly length: number;
  /** Where in `headers` the first Set-Cookie is, -1 without. */
  readonly setCookieAt: number;
  /** Log messages about fields that were left out (level warn). */
  readonly ignored: readonly string[] | undefined;
  readonly xAccelRedirect: string | undefined;
  readonly xAccelBuffering: string | undefined;
  readonly xAccelLimitRate: string | undefined;
  readonly xAccelCharset: HeadText | undefined;
}

/** What keeps an answer's body as it comes: the cache, or `…_store`. Whatever fails is logged, and the client gets its response all the same. */
export interface BodyKeeper {
  /** Nothing more is kept: all of it has been, or something failed. */
  readonly ended: boolean;
  /** So much waits to be written that reading from the server pauses. */
  readonly full: boolean;
  /** Takes bytes lent for the call. */
  push(bytes: Uint8Array): void;
  /** The answer is whole. Once it is kept, `onKept` is called, unless `ended` is true at once. */
  finish(): void;
  /** Forgets what was kept, unless it is whole. */
  close(): void;
}

/** The pipe whose answer is kept. */
export interface KeeperOwner {
  readonly request: Request;
  /** The answer has no body, whatever its head announces. */
  readonly bodiless: boolean;
  /** Bytes were written, or keeping has ended. */
  onKept(): void;
  onFault(error: unknown): void;
}

/** $upstream_cache_status */
export type CacheStatus = "MISS" | "BYPASS" | "EXPIRED" | "STALE" | "UPDATING" | "REVALIDATED" | "HIT";

/** A request's dealings with the cache, as its passage and the modules see them; http/cache implements it. */
export interface RequestCache {
  readonly status: CacheStatus;
  /** The response comes out of the cache. */
  readonly cached: boolean;
  /** What the server answers may be kept: it is asked for all of the resource, and read to the end though the client has gone. */
  readonly cacheable: boolean;
  /** The server is asked with GET in place of HEAD. */
  readonly convertsHead: boolean;
  /** The head of the stored response, for $upstream_http_*. */
  readonly head: AnswerHead | undefined;
  /** How old the response is, in seconds, where it comes out of the cache (RFC 9111, section 4.2.3). */
  readonly age: number | undefined;
  /** The validators with which an expired response is asked for again; undefined where it is not, or has none. */
  readonly lastModified: string | undefined;
  readonly etag: string | undefined;
  /** Cache-Status, where it was asked for, of the response whose head is about to be sent. */
  statusField(): HeadText | undefined;
  /** The head of an answer has come. */
  takeHead(head: AnswerHead): void;
  /** Whether a stale response takes the place of the error, or of the answer, that `condition` of proxy_next_upstream names. */
  replaces(condition: string): boolean;
  /** Whether the answer taken last confirms the stored response (304). */
  confirmed(): boolean;
  /** Sends the stored response instead: one of the two above said so, and the passage is over. */
  serve(): void;
  /** An error page takes the place of the answer taken last. */
  intercepted(): void;
  /** What keeps the body of the answer taken last, whose head was sent; undefined where it is not kept. */
  keep(owner: KeeperOwner): BodyKeeper | undefined;
  /**
   * The answer is not kept, or the passage is over: others that wait for it go on. `code` goes to the client; 0 where the answer
   * does.
   */
  end(code: number): void;
}

/** What binds the requests of one upstream to its servers (`sticky`, `session_sticky`). Its module sets it (`UpstreamEntry`). */
export interface Stickiness {
  /** A request's passage begins. */
  begin(request: Request): Binding;
}

/** A choice among an upstream's servers that has not been made yet. */
export interface PeerChoice {
  readonly peers: readonly Peer[];
  /** The index of the server to try first, if it is usable; -1: as the balancing method chooses. */
  preferred: number;
  /** Called by a hook that returned DONE, to go on with the choice. Does nothing once the request has ended. */
  proceed(): void;
}

/**
 * Called during a request's passage, by location; what binds requests to servers is by upstream (`Stickiness`). The codes are a handler's: OK goes
 * on, DONE has taken the request over, anything else ends it.
 */
export interface UpstreamHook {
  /** Before a server is chosen. DONE: `choice.proceed` follows, unless the request is answered in another way. */
  readonly peer?: (request: Request, choice: PeerChoice) => number;
  /**
   * A response is about to be passed on: `request.upstream` has the server's head, `request.response` what the client
   * will get; or nothing yet, where an error page takes its place (…_intercept_errors) or X-Accel-Redirect names another. DONE: it waits, and the server with it, until `request.upstream` is told to proceed, to be finalized or to be
   * abandoned.
   */
  readonly head?: (request: Request) => number;
  /** A piece of that response's body, `bytes[from..until)`, lent for the call. */
  readonly body?: (request: Request, bytes: Buffer, from: number, until: number) => void;
  /** The passage is over. `complete`: the whole response was read. */
  readonly end?: (request: Request, complete: boolean) => void;
}

/** A location's hooks by kind; undefined for a kind it has none of. */
export interface UpstreamHooks {
  readonly peer: readonly NonNullable<UpstreamHook["peer"]>[] | undefined;
  readonly head: readonly NonNullable<UpstreamHook["head"]>[] | undefined;
  readonly body: readonly NonNullable<UpstreamHook["body"]>[] | undefined;
  readonly end: readonly NonNullable<UpstreamHook["end"]>[] | undefined;
}

/**
 * One server tried, for $upstream_*; times in ms, -1 if that step was not reached. An entry without a peer separates
 * two passages (X-Accel-Redirect, error_page).
 */
export interface UpstreamState {
  readonly peer: string;
  readonly startedAt: number;
  status: number;
  /** ms since the server was chosen. */
  elapsed(): number;
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
