import type { Peer } from "../../balancer/peer.ts";
import type { Address } from "../../net/address.ts";
import type { ProxyProtocol } from "../../net/proxy_protocol.ts";
import type { SlabQueue } from "../../net/slabs.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import type { HeadText, HeadWord } from "../../wire/head_text.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import type { RequestLimits } from "../../wire/http1/request_fields.ts";
import type { LocationTree } from "../conf/location_tree.ts";
import type { MimeTypes } from "../conf/mime.ts";
import type { Request } from "./request.ts";
import type { Template } from "./script.ts";
import type { TempFile, TempPath } from "./temp_file.ts";

/**
 * What the parts of http/ see of one another. Whoever implements one of these imports this file, and never the other
 * way round: so a request knows nothing of h1, upstreams or modules.
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
  delay(code: number): boolean;
  /**
   * The main request is over. Those whose answer it was waiting for end with it. Others go on if its response was
   * complete: true, and it is released after the last of them.
   */
  outlive(): boolean;
}

// ---- the passage through an upstream, as everyone but http/upstream sees it

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

// ---- the configuration

/** One status of an `error_page`. */
export interface ErrorPage {
  readonly status: number;
  /** -1: keep the error's status; 0: take the page's; else this one. */
  readonly overwrite: number;
  readonly uri: Template;
  /** A constant URI split at its `?`. */
  readonly path: string | undefined;
  readonly args: string;
}

/** The `root` or `alias` in force in a location. */
export interface FileRoot {
  /** The absolute path when there is no variable in it. */
  readonly constant: string | undefined;
  /** The absolute path for a request; a byte string. */
  readonly render: (request: Request) => string;
  /** How many characters of the URI an `alias` replaces (0 for `root`), or WHOLE_URI. */
  readonly alias: number;
}

/** `disable_symlinks`: which symbolic links on the way to a file are refused, and from where on they are looked for. */
export interface SymlinkRule {
  readonly refuse: "all" | "of another owner";
  /** The leading part of the path that is not checked. */
  readonly from: Template | undefined;
}

/** The core's settings of a location under the names the code uses; times in ms, sizes in bytes. */
export interface CoreSettings {
  readonly clientMaxBodySize: number;
  readonly clientBodyBufferSize: number;
  readonly clientBodyTimeout: number;
  readonly clientBodyInFileOnly: "off" | "on" | "clean";
  /** Absolute. */
  readonly clientBodyTempPath: TempPath;
  readonly satisfy: "all" | "any";
  readonly authDelay: number;
  readonly internal: boolean;
  readonly sendTimeout: number;
  readonly resetTimedoutConnection: boolean;
  readonly keepaliveTimeout: number;
  readonly keepaliveHeader: number;
  readonly keepaliveRequests: number;
  readonly keepaliveTime: number;
  readonly keepaliveMinTimeout: number;
  /** keepalive_disable */
  readonly disableMsie6: boolean;
  readonly disableSafari: boolean;
  readonly tcpNodelay: boolean;
  readonly lingeringClose: "off" | "on" | "always";
  readonly lingeringTime: number;
  readonly lingeringTimeout: number;
  readonly errorPages: readonly ErrorPage[];
  readonly recursiveErrorPages: boolean;
  readonly logNotFound: boolean;
  readonly logSubrequest: boolean;
  readonly absoluteRedirect: boolean;
  readonly serverNameInRedirect: boolean;
  readonly portInRedirect: boolean;
  readonly serverTokens: "off" | "on" | "build";
  readonly msiePadding: boolean;
  readonly chunked: boolean;
  readonly maxRanges: number;
  readonly etag: boolean;
  readonly ifModifiedSince: "off" | "exact" | "before";
  readonly limitRate: Template | undefined;
  readonly limitRateAfter: Template | undefined;
  readonly root: FileRoot;
  readonly disableSymlinks: SymlinkRule | undefined;
  /** By `types`. */
  readonly types: MimeTypes;
  readonly defaultType: HeadText;
}

/**
 * A location with everything a request needs, resolved when the configuration is built: flat arrays of functions and
 * the settings of each module. A server's own level, an `if` block and `limit_except` are locations too.
 */
export interface Location {
  /** As written: `/path`, the regex, `@name`; "" for a server's own level and `if` blocks. */
  readonly name: string;
  readonly kind: "server" | "prefix" | "exact" | "regex" | "named" | "block";
  readonly server: Server;
  readonly core: CoreSettings;
  /** By module slot; read through `module.of(location)`. */
  readonly settings: unknown[];
  readonly errorLog: ErrorLog;
  /** Nested locations. */
  tree: LocationTree<Location> | undefined;
  /** `/x` is redirected to this `/x/` (a location with proxy_pass whose name ends with a slash). */
  autoRedirect: boolean;
  postRead: readonly Handler[];
  rewrite: readonly Handler[];
  preaccess: readonly Handler[];
  access: readonly Handler[];
  precontent: readonly Handler[];
  /** The handler that takes the location, such as proxy_pass. */
  content: Handler | undefined;
  contentPhase: readonly Handler[];
  headerFilters: readonly HeaderFilter[];
  upstreamHooks: UpstreamHooks | undefined;
  log: readonly Handler[];
  /** `limit_except`: what is in force for every method but these. */
  limitExcept: { readonly methods: ReadonlySet<string>; readonly location: Location } | undefined;
  /** No handler stands between the location's choice and its content: the phases are skipped. */
  direct: boolean;
}

export interface Server {
  /** ms; in force before a location is known, as the next three. */
  readonly clientHeaderTimeout: number;
  readonly limits: RequestLimits;
  readonly mergeSlashes: boolean;
  /** client_body_early_read */
  readonly earlyBody: readonly Template[] | undefined;
  /** The first `server_name`, what $server_name shows. */
  readonly name: string;
  /** The server's own level: settings in force before a location is chosen. */
  readonly root: Location;
  serverRewrite: readonly Handler[];
}
