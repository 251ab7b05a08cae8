import type { Address } from "../../net/address.ts";
import type { ProxyProtocol } from "../../net/proxy_protocol.ts";
import type { SlabQueue } from "../../net/slabs.ts";
import type { HeadText, HeadWord } from "../../wire/head_text.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import type { Request } from "./request.ts";
import type { TempFile } from "./temp_file.ts";

/**
 * What the parts of http/ see of one another; settings are in location.ts, what concerns upstreams in upstream.ts. Whoever
 * implements one of these imports this file, and never the other way round: so a request knows nothing of h1, upstreams or
 * modules.
 */

// ---- what runs for a request

/** A phase or content handler. Returns a code of codes.ts or an HTTP status. Never throws for what a client can cause. */
export type Handler = (request: Request) => number;

/** Changes the response before its head is sent. OK, or a status to answer instead (416, 412). */
export type HeaderFilter = (request: Request) => number;

/**
 * One link of a response body's way to the exchange, put there by a header filter (`addBodyFilter`), so that a response
 * that nobody filters goes straight to the exchange.
 */
export interface BodyFilter {
  /** Its place among the others, one of BODY_FILTER (filters.ts). */
  readonly place: number;
  /**
   * Takes bytes lent for the call and passes what it makes of them to `passBody(request, next, …)`, whose answer is its
   * own. One that makes much of little stops when that is false: it keeps the rest of what it was given, sets its bit
   * (`1 << place`) in `request.buffered`, and answers false until it has passed all on. It must take what is pushed
   * meanwhile, which is at most what the source has read already.
   */
  push(request: Request, bytes: Uint8Array | string, flags: number, next: number): boolean;
  /**
   * What is behind it takes bytes again: it passes on what it kept, and answers as `push`. Absent in a filter that never
   * keeps any.
   */
  drain?(request: Request, next: number): boolean;
}

// ---- the client

/** The connection a request came on. */
export interface ClientConnection {
  /** $connection */
  readonly number: number;
  /** $connection_requests: requests made so far, this one included. */
  readonly requests: number;
  /** $connection_time's start, ms of the monotonic clock. */
  readonly startedAt: number;
  readonly remote: Address;
  readonly local: Address;
  readonly proxyProtocol: ProxyProtocol | undefined;
  /** True once the client is gone. */
  readonly closed: boolean;
  /** Bytes that have left on this connection so far, heads included ($bytes_sent counts from `request.sentAtStart`). */
  readonly sent: number;
  /** The worker's words, by COUNTER. */
  readonly counters: Int32Array;
  /** The request came together with the one before it ($pipe). */
  readonly pipelined: boolean;
  /** The last of the subrequests that went on after their main request is over. */
  subrequestsEnded(): void;
}

/** Carries one request and its response. HTTP/1 has one at a time on a connection, HTTP/2 many. */
export interface Exchange {
  /** True while the client takes no more: wait for `request.onWritable`. */
  readonly blocked: boolean;
  /** Writes the response's head out of `request.response`; held back until the first body bytes or a flush. */
  sendHead(request: Request): void;
  /** Sends body bytes lent for the call, framed as the head said; `flags` are those of filters.ts. False: `blocked`. */
  sendBody(request: Request, bytes: Uint8Array | string, flags: number): boolean;
  /** Sends what is held back. */
  flush(): void;
  /** Sends 100 Continue if the client waits for it, once. */
  sendContinue(request: Request): void;
  /** Sends an informational response (1xx), before `sendHead`. */
  sendInformational(request: Request, status: number, fields: HeaderList): void;
  /**
   * Drops the request's body, now and as it comes. OK, or 400 when what is at hand of it is no body: the answer may then
   * still say so.
   */
  discardBody(request: Request): number;
  /** Starts to deliver the request's body to `request.bodySink`. Sends 100 Continue where asked for. */
  startBody(request: Request): void;
  pauseBody(): void;
  resumeBody(): void;
  /** The response is complete: frees the request once the client has it all, and goes on to the next or closes. */
  finalize(request: Request): void;
  /** An exception left code at work for this request: it is answered with 500 where that can still be. */
  onFault(error: unknown): void;
  /** Breaks the response off: frees the request, and closes without regard to what is queued. */
  terminate(request: Request): void;
  /** For a request that is upgraded; undefined where the protocol has no such thing, and in subrequests. */
  readonly tunnel: ClientTunnel | undefined;
}

/** The client's side of an upgraded connection (Upgrade): raw bytes in both directions. */
export interface ClientTunnel {
  /** The response's head is out: from now on `handler` gets what the client sends, what came behind the head first. */
  start(request: Request, handler: TunnelHandler): void;
  /** Takes bytes lent for the call. False: the client takes no more, `onClientDrain` follows. */
  write(bytes: Uint8Array): boolean;
  /** Nothing more will be written. */
  end(): void;
  /** Stops and resumes reading from the client. */
  pause(): void;
  resume(): void;
}

/** Who gets what the client sends into a tunnel. */
export interface TunnelHandler {
  /** `bytes` are lent for the call. */
  onClientData(bytes: Buffer): void;
  onClientEnd(): void;
  onClientDrain(): void;
}

/** Receiver of a request's body. `data` is lent for the call. */
export interface BodySink {
  onBody(bytes: Buffer): void;
  onBodyEnd(): void;
  /** The client broke off or broke the framing; `status` is what to answer, or CLIENT_CLOSED_REQUEST. */
  onBodyError(status: number): void;
}

/** A request's body as it was read. */
export interface RequestBody {
  /** The body where there is no file. The request gives it back at its end. */
  readonly data: SlabQueue;
  readonly length: number;
  readonly file: TempFile | undefined;
  /** `data` is being written to the file and must stay unchanged. */
  lent: boolean;
  /** The request is over. */
  release(): void;
  /** The body when it is in memory, in one piece; what $request_body shows. */
  memory(): Buffer | undefined;
}

/** The response under construction. Header names and values are byte strings. */
export interface Response {
  status: number;
  /** The status line's text after the code when an upstream gave one ("200 Fine"); else the standard one. */
  statusLine: HeadText | undefined;
  headers: HeaderList;
  contentType: HeadText | undefined;
  /** charset added to text types later; kept apart as nginx does. */
  charset: HeadText | undefined;
  /** Content-Type as an upstream sent it: where contentType still is the same, it may have a charset in it. */
  upstreamType: HeadText | undefined;
  /** X-Accel-Charset: the charset an upstream wants the response in. */
  overrideCharset: HeadText | undefined;
  /** -1 when not known: chunked, or the connection's end. */
  contentLength: number;
  /** Seconds since 1970, or -1. */
  lastModified: number;
  /** Last-Modified as an upstream wrote it. */
  lastModifiedText: HeadText | undefined;
  etag: HeadText | undefined;
  /** An absolute or relative Location; made absolute by the codec as `absolute_redirect` asks. */
  location: string | undefined;
  /** Server and Date as an upstream sent them (proxy_pass_header); else ours. */
  server: HeadText | undefined;
  date: HeadText | undefined;
  allowRanges: boolean;
  trailers: HeaderList | undefined;
}

// ---- subrequests

export interface SubrequestOptions {
  /** Runs beside the main request; its answer goes nowhere (mirror). */
  readonly background?: boolean;
  /** Only its head is of interest (auth_request). */
  readonly headerOnly?: boolean;
  /** In place of GET. */
  readonly method?: HeadWord;
  /** It has no body, whatever the parent has. */
  readonly noBody?: boolean;
  /** Called with each code it is finalized with; returns the one to go on with (nginx's post_subrequest handler). */
  readonly finalized?: (subrequest: Request, code: number) => number;
  /** Called after it was freed, for a parent that waits for it. */
  readonly resume?: (parent: Request) => void;
}

/** What a subrequest has beyond a request. */
export interface Subrequest {
  readonly parent: Request;
  readonly options: SubrequestOptions;
  /** 1 where the parent is the main request. */
  readonly depth: number;
  /** What it answers becomes part of the client's response. */
  readonly inResponse: boolean;
  /**
   * finalizeRequest of it, `request`: what it answered stays with its parent, and an error that ends its connection ends the
   * main request.
   */
  finalize(request: Request, code: number): void;
  /**
   * An exception left code at work for it. It is answered with 500, as any error of a subrequest. Where that fails too, or
   * comes too late, it ends without an answer: a background subrequest alone, any other with the main request.
   */
  fail(request: Request, error: unknown): void;
}

/** The order of a response's parts: which request's output is passed on, and what is held until then (postpone.ts). */
export interface Postponement {
  /** Puts the output of `subrequest` behind what `parent` has sent so far. */
  add(subrequest: Request, parent: Request): void;
  /** Whether what the request makes would go on to the client, and nothing of it is held. */
  ready(request: Request): boolean;
  /** The same, and the client takes more. */
  open(request: Request): boolean;
  /** Takes body bytes, lent for the call; answers as passBody. */
  output(request: Request, bytes: Uint8Array | string, flags: number): boolean;
  /** A subrequest is over. */
  remove(subrequest: Request, parent: Request): void;
}

/** The subrequests of a main request that are under way. */
export interface Subrequests {
  /** Where the output of those that are part of the response goes. */
  postpone(): Postponement;
  readonly count: number;
  add(request: Request, subrequest: Subrequest): void;
  /** A subrequest is over. */
  remove(subrequest: Request): void;
  /** The client has gone. */
  abort(): void;
  /** Whether the main request's end has to wait for them; it is finalized with `code` once it has not. */
  finalizeLater(code: number): boolean;
  /**
   * The main request is over. Those whose answer it was waiting for end with it. Others go on if its response was
   * complete: true, and it is released after the last of them.
   */
  outlive(): boolean;
}
