import type { Address } from "../../net/address.ts";
import { type HeadWord, headWord } from "../../wire/head_text.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import type { RangePlan } from "../files/ranges.ts";
import type { Location, Server } from "./location.ts";
import type {
  BodyFilter,
  BodySink,
  ClientConnection,
  Exchange,
  RequestBody,
  Response,
  Subrequest,
  Subrequests,
} from "./types.ts";
import type { PassedTo, UpstreamPassage, UpstreamState } from "./upstream.ts";

const NO_WORD = headWord("");
/** The method of an error page and of X-Accel-Redirect. */
export const GET = headWord("GET");

/** One request from its head to its log line. Fields are nginx's `ngx_http_request_t` under the RFCs' names. */
export class Request {
  readonly connection: ClientConnection;
  readonly exchange: Exchange;
  /** The client's request: itself, where this is no subrequest. */
  main: Request;
  /** A subrequest's parent and options; undefined for a main request. */
  subrequest: Subrequest | undefined = undefined;
  /** The subrequests under way, where it is a main request that has some. */
  subrequests: Subrequests | undefined = undefined;
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
  /** What limit_req and limit_conn made of it; 0 as long as they have not looked at it. Of a main request. */
  limitReqStatus = 0;
  limitConnStatus = 0;
  accessCode = 0;

  /** Captures of the last regex that matched: [0] the whole. */
  captures: readonly (string | undefined)[] = NO_CAPTURES;
  /** undefined: not computed; null: not found. */
  variables: (string | null | undefined)[];
  /** What modules keep for one request, by module slot; made when first used. */
  contexts: unknown[] | undefined = undefined;

  readonly response: Response;
  bodyFilters: BodyFilter[] = NO_FILTERS;
  /** Which of them keep bytes back until the client takes them: a bit for each, `1 << place`. */
  buffered = 0;
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
  upstream: UpstreamPassage | undefined = undefined;
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

  constructor(
    connection: ClientConnection,
    exchange: Exchange,
    server: Server,
    headers: HeaderList,
    response: Response,
    variables: number,
  ) {
    this.connection = connection;
    this.exchange = exchange;
    this.main = this;
    this.remote = connection.remote;
    this.server = server;
    this.location = server.root;
    this.headers = headers;
    this.response = response;
    this.variables = variables === 0 ? NO_VARIABLES : new Array<string | null | undefined>(variables).fill(undefined);
  }

  /** An exception left a callback that was deferred for this request. */
  onFault(error: unknown): void {
    this.exchange.onFault(error);
  }
}

const NO_CAPTURES: readonly (string | undefined)[] = [];
const NO_VARIABLES: (string | null | undefined)[] = [];
export const NO_FILTERS: BodyFilter[] = [];
