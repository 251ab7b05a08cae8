import type { Address } from "../../net/address.ts";
import type { ProxyProtocol } from "../../net/proxy_protocol.ts";
import { type HeadText, type HeadWord, headWord } from "../../wire/head_text.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import type { Location, Server } from "../conf/location.ts";
import type { BodyFilter } from "../conf/module.ts";
import type { RangePlan } from "../files/ranges.ts";
import type { UpstreamRequest } from "../upstream/request.ts";
import type { UpstreamState } from "../upstream/state.ts";
import type { RequestBody } from "./body.ts";

/** What a request needs of the connection it came on; h1 now, h2 beside it later. */
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
  /** True while the client takes no more: wait for `request.onWritable`. */
  readonly blocked: boolean;
  /** Bytes that have left on this connection so far, heads included ($bytes_sent counts from `request.sentAtStart`). */
  readonly sent: number;
  /** The request came together with the one before it ($pipe). */
  readonly pipelined: boolean;

  /** Writes the response's head out of `request.response`; held back until the first body bytes or a flush. */
  sendHead(request: Request): void;
  /** Sends body bytes lent for the call, framed as the head said. */
  sendBody(request: Request, bytes: Uint8Array | string, last: boolean): void;
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
  /** The response is complete (or cannot be): logs, then next request, lingering close or close. */
  finish(request: Request): void;
  /** An exception left code at work for this connection: the request is answered with 500 where that can still be. */
  onFault(error: unknown): void;
  /** Closes without regard to what is queued; still logs. */
  terminate(request: Request): void;
  /** Hands the raw stream over (Upgrade). What was read beyond the head comes first. */
  takeOver(request: Request, tunnel: Tunnel): void;
  /** Writes raw bytes of a tunnel; false when full. */
  writeTunnel(bytes: Uint8Array): boolean;
  endTunnel(): void;
  pauseRead(): void;
  resumeRead(): void;
}

/** Receiver of raw client bytes after an upgrade. */
export interface Tunnel {
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

/** The address part of the URL in proxy_pass. */
export interface PassedTo {
  /** Without the scheme's own port; "localhost" for a unix socket. */
  readonly hostHeader: HeadText;
  /** "" for a unix socket. */
  readonly port: string;
}

const NO_WORD = headWord("");
/** The method of an error page and of X-Accel-Redirect. */
export const GET = headWord("GET");

/** One request from its head to its log line. Fields are nginx's `ngx_http_request_t` under the RFCs' names. */
export class Request {
  readonly connection: ClientConnection;
  /** The client's address: the connection's peer, or who ngx_http_realip_module found behind it. */
  remote: Address;
  server: Server;
  location: Location;

  method: HeadWord = NO_WORD;
  requestLine = "";
  /** The target as received, with arguments ($request_uri). */
  unparsedUri: HeadWord = NO_WORD;
  /** Decoded and normalised path ($uri). */
  uri = "";
  args = "";
  exten = "";
  /** 9, 1000, 1001, 2000 */
  version = 1001;
  headers: HeaderList;
  /** $host: lower-case, without port. "" when the request has none. */
  host = "";
  port = 0;
  /** Content-Length of the request, -1 without one. */
  contentLength = -1;
  chunked = false;
  /** Expect: 100-continue awaits an answer. */
  expectContinue = false;
  /** The client may send another request on this connection. */
  keepalive = false;
  /** Raw target can be passed upstream as it is: no rewrite changed it (nginx's valid_unparsed_uri). */
  unparsedValid = true;
  /** The target held escapes or dot segments. */
  complexUri = false;

  /** The path held escapes. */
  quotedUri = false;
  /** The path held a `+`. */
  plusInUri = false;
  /** The URI is still the one the location was chosen by: `alias` and proxy_pass may cut the location's name off. */
  validLocation = true;
  /** try_files found the file beside an alias of a regex location: the URI is appended to it. */
  addUriToAlias = false;

  /** The path cannot be decoded: answered with 400. */
  badUri = false;
  /** A status to answer with before anything is looked at; 0 for none. */
  refused = 0;

  /** performance.now() at the first byte, ms; Date.now() beside it. */
  startedAt = 0;
  startedWall = 0;

  phase = 0;
  step = 0;
  internal = false;
  uriChanges = 11;
  uriChanged = false;
  /** An error_page is being served: a further one only with recursive_error_pages. */
  errorPage = false;
  /** Status of the error that is being answered; 0 when none. Wins over response.status. */
  errorStatus = 0;
  /** The error met last, whatever status error_page gives its answer; 0 when none. */
  failure = 0;
  /** error_page without `=`: keep the original status over the page's. */
  discardBody = false;
  headerOnly = false;
  headerSent = false;
  /** Final body bytes were passed to the codec. */
  responseEnded = false;
  finalized = false;
  logged = false;
  /** The client has gone. */
  aborted = false;
  /** A deadline of the client's ended it (reset_timedout_connection). */
  timedOut = false;
  satisfied = false;
  accessCode = 0;

  /** Captures of the last regex that matched: [0] the whole. */
  captures: readonly (string | undefined)[] = NO_CAPTURES;
  /** undefined: not computed; null: not found. */
  readonly variables: (string | null | undefined)[];
  /** What modules keep for one request, by module slot; made when first used. */
  contexts: unknown[] | undefined = undefined;

  readonly response: Response;
  bodyFilters: BodyFilter[] = NO_FILTERS;
  /** The response is not to become a 304 or 412 by our own doing (a proxied one that is not cached). */
  disableNotModified = false;
  /** The handler can begin anywhere in its body: it sends the parts that `ranges` asks for by itself. */
  seekable = false;
  ranges: RangePlan | undefined = undefined;
  /** Chunked framing of the response, decided by the codec. */
  chunkedResponse = false;
  /** Bytes of the response's head. What was sent beyond it is $body_bytes_sent, chunked framing included. */
  headSize = 0;
  /** connection.sent when the request began. */
  sentAtStart = 0;
  /** limit_rate in bytes a second; -1 until computed. */
  limitRate = -1;
  limitRateAfter = -1;
  /** Called when the client takes bytes again after `blocked`. */
  onWritable: ((request: Request) => void) | undefined = undefined;
  /** Called once if the client goes away while a handler is at work; the handler finalizes. */
  onAbort: ((request: Request) => void) | undefined = undefined;
  /** Called when the request ends in any way, to free files and peers. */
  cleanup: (() => void)[] | undefined = undefined;

  /** The passage through an upstream, kept for $upstream_*. */
  upstream: UpstreamRequest | undefined = undefined;
  /** Where the request is passed on to: $proxy_host, $proxy_port. */
  passedTo: PassedTo | undefined = undefined;
  /** Servers tried, over all passages; one without a peer stands between two of them. */
  upstreamStates: UpstreamState[] | undefined = undefined;
  /** The response broke off: what follows would be taken for its rest, so the connection must close. */
  incomplete = false;

  bodySink: BodySink | undefined = undefined;
  body: RequestBody | undefined = undefined;
  /** The beginning of a body that is passed on as it comes. */
  preread: RequestBody | undefined = undefined;
  /** Bytes of the request: head and body ($request_length). */
  length = 0;
  bodyLength = 0;
  bodyEnded = false;
  /** The body was read or dropped by someone: nobody else may. */
  bodyStarted = false;
  lingering = false;
  /** When the rest of a body nobody wants must have come, on the monotonic clock; 0 until the answer was sent. */
  discardUntil = 0;

  constructor(
    connection: ClientConnection,
    server: Server,
    headers: HeaderList,
    response: Response,
    variables: number,
  ) {
    this.connection = connection;
    this.remote = connection.remote;
    this.server = server;
    this.location = server.root;
    this.headers = headers;
    this.response = response;
    this.variables = variables === 0 ? NO_VARIABLES : new Array<string | null | undefined>(variables).fill(undefined);
  }

  /** An exception left a callback that was deferred for this request. */
  onFault(error: unknown): void {
    this.connection.onFault(error);
  }
}

const NO_CAPTURES: readonly (string | undefined)[] = [];
const NO_VARIABLES: (string | null | undefined)[] = [];
export const NO_FILTERS: BodyFilter[] = [];
