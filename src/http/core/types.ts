import type { Address } from "../../net/address.ts";
import type { ProxyProtocol } from "../../net/proxy_protocol.ts";
import type { SlabQueue } from "../../net/slabs.ts";
import type { Stream } from "../../net/stream.ts";
import type { TlsContext } from "../../net/tls/context.ts";
import type { CompiledRegex } from "../../regex/regex.ts";
import type { SslConnection } from "../../sys/openssl/ssl.ts";
import type { HeadText, HeadWord } from "../../wire/head_text.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import type { Server } from "./location.ts";
import type { Request } from "./request.ts";
import type { TempFile } from "./temp_file.ts";

/**
 * What the parts of http/ see of one another; settings are in location.ts, what concerns upstreams in upstream.ts. Whoever
 * implements one of these imports this file, and never the other way round: so a request knows nothing of h1, upstreams or
 * modules.
 */

// ---- what runs for a request

/**
 * A phase or content handler. Returns a code of codes.ts or an HTTP status. Never throws for anything that a client can
 * cause.
 */
export type Handler = (request: Request) => number;

/** Changes the response before its head is sent. OK, or a status to answer instead (416, 412). */
export type HeaderFilter = (request: Request) => number;

/**
 * A filter of one response's body, put there by a header filter (`addBodyFilter`): a body that no filter wants goes
 * straight to the exchange.
 */
export interface BodyFilter {
  /** Its place in the order, one of BODY_FILTER (filters.ts). */
  readonly place: number;
  /**
   * Takes bytes lent for the call, passes its output to `passBody(request, next, …)` and returns what that returns. A
   * filter whose output is much larger than its input stops when that is false: it keeps the rest of its input, sets
   * its bit (`1 << place`) in `request.buffered`, and returns false until all is passed on. It must still take what is
   * pushed meanwhile, which is at most what the source has already read.
   */
  push(request: Request, bytes: Uint8Array | string, flags: number, next: number): boolean;
  /**
   * The next step takes bytes again: passes on what was kept, and returns as `push` does. Absent in a filter that never
   * keeps any.
   */
  drain?(request: Request, next: number): boolean;
}

/** What sends a response's body piece by piece, as the client takes it. */
export interface BodySender {
  /** Goes on, if the client takes more. */
  onTurn(): void;
  /** The request ends, however it ends. */
  close(): void;
}

// ---- the client

/** The connection a request came on. */
export interface ClientConnection {
  /** $connection */
  readonly number: number;
  /** $connection_requests: requests made so far, this one included. */
  readonly requests: number;
  /** $connection_time's start, whole ms of the monotonic clock. */
  readonly startedAt: number;
  readonly remote: Address;
  readonly local: Address;
  readonly proxyProtocol: ProxyProtocol | undefined;
  readonly tls: ClientTls | undefined;
  /** `listen … ssl`: without `tls` the client speaks no TLS where it should. */
  readonly secure: boolean;
  /** True once the client is gone. */
  readonly closed: boolean;
  /** Bytes sent on this connection so far, heads included ($bytes_sent counts from `request.sentAtStart`). */
  readonly sent: number;
  /** The worker's counters, by COUNTER. */
  readonly counters: Int32Array;
  /** The request was pipelined: it came together with the one before it ($pipe). */
  readonly pipelined: boolean;
  /** Called once the connection is closed. */
  atClose: (() => void)[] | undefined;
  /** The last of the subrequests that went on after their main request is over. */
  subrequestsEnded(): void;
}

/** What a connection's TLS handshake has agreed on. */
export interface ClientTls {
  readonly ssl: SslConnection;
  /** Of the name that the client asked for (SNI), else the address's default: in force until a request's host is known. */
  readonly server: Server;
  /** That name as a host, if a server has it, and the regex of a `server_name` that it matched. */
  readonly name: string | undefined;
  readonly regex: CompiledRegex | undefined;
  /** ssl_ocsp: why the client's certificate, although it was verified, is not accepted. */
  readonly certificateFailure: string | undefined;
  /** A reload has changed by what its certificate would be verified. */
  readonly outdated: boolean;
}

/** Answers handshakes of a protocol of its own (ALPN), in place of any server. No request comes of them. */
export interface HandshakeResponder {
  readonly protocol: string;
  /** What answers a client that asks for this name; undefined where there is nothing. */
  contextFor(name: string | undefined): TlsContext | undefined;
}

/** Carries one request and its response. HTTP/1 has one at a time on a connection, HTTP/2 many. */
export interface Exchange {
  /** True while the client takes no more: wait for `request.onWritable`. */
  readonly blocked: boolean;
  /** Writes the head of `request.response`; it is held back until the first body bytes or a flush. */
  sendHead(request: Request): void;
  /**
   * Sends body bytes, lent for the call, framed as the head announced; `flags` are those of filters.ts. False:
   * `blocked`.
   */
  sendBody(request: Request, bytes: Uint8Array | string, flags: number): boolean;
  /**
   * Where the connection has it: sends bytes of a file as the body, as `Stream.sendFile` does, unframed. Not with LAST:
   * `sendBody` ends the body. NOT_THIS_FILE: they are to be read and sent by `sendBody`, for this request or at least now.
   */
  sendFile?(request: Request, file: number, offset: number, length: number): number;
  /** Sends what is held back, if that is at least so many bytes. */
  flush(least?: number): void;
  /** Sends 100 Continue if the client waits for it and has not got it. */
  sendContinue(request: Request): void;
  /** Sends an informational response (1xx), before `sendHead`. */
  sendInformational(request: Request, status: number, fields: HeaderList): void;
  /**
   * Drops the request's body, what has been received and what follows. OK, or 400 if what has been received is
   * malformed: that can then still be answered.
   */
  discardBody(request: Request): number;
  /**
   * Starts to deliver the request's body to `request.bodySink`, with 100 Continue if the client waits for it. `whole`: it is
   * taken as fast as it comes.
   */
  startBody(request: Request, whole?: boolean): void;
  pauseBody(): void;
  resumeBody(): void;
  /**
   * The response is complete: frees the request once the client has all of it; the connection then goes on or closes.
   */
  finalize(request: Request): void;
  /** Code running for this request threw: it is answered with 500 if nothing has been sent yet. */
  onFault(error: unknown): void;
  /** Breaks the response off: frees the request, and closes the connection without sending what is queued. */
  terminate(request: Request): void;
  /** For a request that is upgraded; undefined where the protocol has no such thing, and in subrequests. */
  readonly tunnel: ClientTunnel | undefined;
}

/** The client's side of an upgraded connection (Upgrade): raw bytes in both directions. */
export interface ClientTunnel {
  /**
   * The response's head has been sent: from now on `handler` gets what the client sends, first what came behind the
   * request's head.
   */
  start(request: Request, handler: TunnelHandler): void;
  /** Takes bytes lent for the call. False: the client takes no more, `onClientDrain` follows. */
  write(bytes: Uint8Array): boolean;
  /** Writes what has come on `source` behind the bytes just written: see Stream.spliceTo. Returns how many bytes. */
  spliceFrom(source: Stream): number;
  /** The same in the other direction: passes on what follows the bytes that the handler has just written to `target`. */
  spliceTo(target: Stream): number;
  /** Nothing more will be written. */
  end(): void;
  /** Stops and resumes reading from the client. */
  pause(): void;
  resume(): void;
}

/** Receiver of what the client sends into a tunnel. */
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
  /** The body is incomplete or malformed; `status` is what to answer, or CLIENT_CLOSED_REQUEST. */
  onBodyError(status: number): void;
}

/** A request's body after it was read. */
export interface RequestBody {
  /** The body if it is not in a file. Released with the request. */
  readonly data: SlabQueue;
  readonly length: number;
  /** All of it has come, and is here. */
  readonly whole: boolean;
  readonly file: TempFile | undefined;
  /** `data` is being written to the file and must stay unchanged. */
  lent: boolean;
  /** The request is over: gives the memory back. */
  release(): void;
  /** The body in one piece if it is in memory ($request_body). */
  memory(): Buffer | undefined;
}

/** The response under construction. Header names and values are byte strings. */
export interface Response {
  status: number;
  /** What an upstream sent as status code and text ("200 Fine"); undefined for the standard one. */
  statusLine: HeadText | undefined;
  headers: HeaderList;
  contentType: HeadText | undefined;
  /** Appended to the content type; kept apart as in nginx. */
  charset: HeadText | undefined;
  /** Content-Type as an upstream sent it: as long as contentType is the same, it may have a charset parameter. */
  upstreamType: HeadText | undefined;
  /** X-Accel-Charset: the charset an upstream wants the response in. */
  overrideCharset: HeadText | undefined;
  /** -1 when not known: chunked, or the connection's end. */
  contentLength: number;
  /** Where in what is to be ranged the body begins: above 0 where it is a slice. */
  contentOffset: number;
  /** Seconds since 1970, or -1. */
  lastModified: number;
  /** Last-Modified as an upstream wrote it. */
  lastModifiedText: HeadText | undefined;
  etag: HeadText | undefined;
  /** Location, absolute or relative; the exchange makes it absolute as `absolute_redirect` says. */
  location: string | undefined;
  /** Server and Date as an upstream sent them (proxy_pass_header), "" where it sent none; undefined for our own. */
  server: HeadText | undefined;
  date: HeadText | undefined;
  allowRanges: boolean;
  trailers: HeaderList | undefined;
  /** Set where the head is the same for many requests: the exchange keeps its lines there. */
  lines: HeadLines | undefined;
}

/** Lines of an HTTP/1 head, around those about the connection; "" as long as they were not written yet. */
export interface HeadLines {
  before: string;
  after: string;
}

// ---- subrequests

export interface SubrequestOptions {
  /** The main request does not wait for it, and its response goes nowhere (mirror). */
  readonly background?: boolean;
  /** Only the response's head is needed (auth_request). */
  readonly headerOnly?: boolean;
  /** The body of its response is put here, as a byte string of at most subrequest_output_buffer_size. */
  readonly memory?: { body: string | undefined };
  /** In place of GET. */
  readonly method?: HeadWord;
  /** It begins where its parent is, in the same phase and location (NGX_HTTP_SUBREQUEST_CLONE). */
  readonly clone?: boolean;
  /** It has no request body even if the parent has one. */
  readonly noBody?: boolean;
  /** Called with each code it is finalized with; returns the code to use (nginx's post_subrequest handler). */
  readonly finalized?: (subrequest: Request, code: number) => number;
  /** Called after it was freed, for a parent that waits for it. */
  readonly resume?: (parent: Request) => void;
}

/** What a subrequest has besides a request's fields. */
export interface Subrequest {
  readonly parent: Request;
  readonly options: SubrequestOptions;
  /** 1 where the parent is the main request. */
  readonly depth: number;
  /** Its response becomes part of the client's response. */
  readonly inResponse: boolean;
  /**
   * finalizeRequest of this subrequest, `request`. Errors that end a connection (ERROR, 408, 444, 499) end the main
   * request.
   */
  finalize(request: Request, code: number): void;
  /**
   * Code running for it threw. It is answered with 500, as for any error of a subrequest. If that fails too, or comes
   * too late, it ends without a response: a background subrequest alone, any other with the main request.
   */
  fail(request: Request, error: unknown): void;
}

/** Orders the parts of a response: whose output is passed on, and what is held until then (postpone.ts). */
export interface Postponement {
  /** Puts the output of `subrequest` behind what `parent` has sent so far. */
  add(subrequest: Request, parent: Request): void;
  /** Whether the request's output would be passed on, and none of it is held. */
  ready(request: Request): boolean;
  /** Whether it takes more of the request's output: the client does, or it may be held. */
  open(request: Request): boolean;
  /** Takes body bytes, lent for the call; answers as passBody. */
  output(request: Request, bytes: Uint8Array | string, flags: number): boolean;
  /** A subrequest is over. */
  remove(subrequest: Request, parent: Request): void;
}

/** The subrequests of a main request that are under way. */
export interface Subrequests {
  /** Where the output of those in the response goes. */
  postpone(): Postponement;
  readonly count: number;
  add(request: Request, subrequest: Subrequest): void;
  /** A subrequest is over. */
  remove(subrequest: Request): void;
  /** The client has gone. */
  abort(): void;
  /** Output of the main request waits for its turn. */
  readonly holds: boolean;
  /** Whether subrequests are still under way; the main request is then finalized with `code` after the last of them. */
  finalizeLater(code: number): boolean;
  /**
   * The main request is over, and subrequests that its response waited for end with it. If the response was complete,
   * background ones go on: true, and the main request is released after the last of them.
   */
  outlive(): boolean;
}
