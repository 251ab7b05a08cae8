import type { Address } from "../../net/address.ts";
import { type HeadWord, headWord } from "../../wire/head_text.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import type { RangePlan } from "../files/ranges.ts";
import type { Location, Server } from "./location.ts";
import type {
  BodyFilter,
  BodySender,
  BodySink,
  ClientConnection,
  Exchange,
  RequestBody,
  Response,
  Subrequest,
  Subrequests,
} from "./types.ts";
import type { PassedTo, RequestCache, UpstreamPassage, UpstreamState } from "./upstream.ts";

const NO_WORD = headWord("");
/** The method of an error page and of X-Accel-Redirect. */
export const GET = headWord("GET");

/** One request from its head to its log line. Fields are nginx's `ngx_http_request_t` under the RFCs' names. */
export class Request {
  readonly connection: ClientConnection;
  readonly exchange: Exchange;
  /** The client's request; this one, unless it is a subrequest. */
  main: Request;
  /** A subrequest's parent and options; undefined for a main request. */
  subrequest: Subrequest | undefined = undefined;
  /** Of a main request: its subrequests, once it has made one. */
  subrequests: Subrequests | undefined = undefined;
  /** The client's address: the connection's peer, or the address that ngx_http_realip_module found. */
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
  /** The client waits for 100 Continue. */
  expectContinue = false;
  /** The client may send another request on this connection. */
  keepalive = false;
  /** The raw target can be passed upstream: no rewrite has changed it (nginx's valid_unparsed_uri). */
  unparsedValid = true;
  /** The path held escapes. */
  quotedUri = false;
  /** The path held a `+`. */
  plusInUri = false;
  /**
   * The URI is still the one by which the location was chosen, so `alias` and proxy_pass may replace the location's
   * name in it.
   */
  validLocation = true;
  /** try_files found the file under the alias of a regex location: the URI is appended to the alias. */
  addUriToAlias = false;

  /** The path cannot be decoded: answered with 400. */
  badUri = false;
  /** A status to answer before the first phase; 0 for none. */
  refused = 0;

  /** When its first byte came, whole ms of the monotonic clock (sys/clock.ts). */
  startedAt = 0;

  phase = 0;
  step = 0;
  internal = false;
  uriChanges = 11;
  uriChanged = false;
  /** An error_page is being served: a further one only with recursive_error_pages. */
  errorPage = false;
  /** Status of the error that is being answered; 0 when none. Wins over response.status. */
  errorStatus = 0;
  /** The last error, whatever status error_page gives the response; 0 when none. */
  failure = 0;
  /** The body is dropped as it comes: no handler gets it. */
  discardBody = false;
  headerOnly = false;
  headerSent = false;
  /** The last bytes of the response were passed to the exchange. */
  responseEnded = false;
  finalized = false;
  /** The response is over, and this request serves `post_action`. */
  postAction = false;
  logged = false;
  /** The client has gone. */
  aborted = false;
  /** The client was too slow; with reset_timedout_connection its connection is reset. */
  timedOut = false;
  /** What limit_req and limit_conn decided, as their $…_status shows it; 0 before. Of a main request. */
  limitReqStatus = 0;
  limitConnStatus = 0;
  accessCode = 0;

  /** Captures of the last regex that matched: [0] the whole. */
  captures: readonly (string | undefined)[] = NO_CAPTURES;
  /** undefined: not computed; null: not found. */
  variables: (string | null | undefined)[];
  /** What modules keep for one request, by module slot; made when first used. */
  contexts: unknown[] | undefined = undefined;
  /** The same for what an internal redirect does not drop. */
  lasting: unknown[] | undefined = undefined;

  readonly response: Response;
  bodyFilters: BodyFilter[] = NO_FILTERS;
  /** Which body filters hold bytes back until the client takes them: the bits `1 << place`. */
  buffered = 0;
  /** The response must not become a 304 or 412 here: the server it comes from has seen the conditions. */
  disableNotModified = false;
  /** What gzipQuality() has found, which is asked once (nginx's gzip_tested and gzip_ok); -1 before that. */
  gzipQuality = -1;
  /** The response depends on Accept-Encoding: it says so with `gzip_vary`. */
  gzipVary = false;
  /** The handler can send any part of its body, and sends those in `ranges` itself. */
  seekable = false;
  ranges: RangePlan | undefined = undefined;
  /** Chunked framing of the response, decided by the codec. */
  chunkedResponse = false;
  /** Bytes of the response's head; what is sent beyond it is $body_bytes_sent, chunked framing included. */
  headSize = 0;
  /** connection.sent when the request began. */
  sentAtStart = 0;
  /** limit_rate in bytes a second; -1 until computed. */
  limitRate = -1;
  limitRateAfter = -1;
  /** Called when the client takes bytes again after `blocked`. */
  onWritable: ((request: Request) => void) | undefined = undefined;
  /**
   * Sends the body out of a file, if it was not sent at once. A field of its own: closures in `onWritable` and `cleanup` would
   * cost more, and until V8 has optimized them, its scavenges take what they hold for reachable.
   */
  sender: BodySender | undefined = undefined;
  /**
   * Called once if the client goes away while a handler waits. The handler finalizes the request; if `aborted`, at once, or
   * later if it goes on without a client.
   */
  onAbort: ((request: Request) => void) | undefined = undefined;
  /** Called when the request ends, however it ends: files are closed, peers freed. */
  cleanup: (() => void)[] | undefined = undefined;

  /** The passage through an upstream, kept for $upstream_*. */
  upstream: UpstreamPassage | undefined = undefined;
  /** Its dealings with the cache, where a location that has one was reached. */
  cache: RequestCache | undefined = undefined;
  /** Where the request is passed on to: $proxy_host, $proxy_port. */
  passedTo: PassedTo | undefined = undefined;
  /** Servers tried, of all passages; an entry without a peer separates two passages. */
  upstreamStates: UpstreamState[] | undefined = undefined;
  /** The response was broken off: the client would take what follows for its rest, so the connection must close. */
  incomplete = false;

  bodySink: BodySink | undefined = undefined;
  body: RequestBody | undefined = undefined;
  /** The beginning of a body that is passed on unbuffered. */
  preread: RequestBody | undefined = undefined;
  /** Bytes of the request: head and body ($request_length). */
  length = 0;
  bodyLength = 0;
  bodyEnded = false;
  /** Somebody reads or drops the body: nobody else may. */
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
    this.variables = unset(variables);
  }

  /** An exception left a callback that was deferred for this request. */
  onFault(error: unknown): void {
    this.exchange.onFault(error);
  }
}

/** Slots of values that are not computed yet. Copying an array costs less than filling one. */
function unset(count: number): (string | null | undefined)[] {
  if (unsetSlots.length !== count) unsetSlots = new Array<undefined>(count).fill(undefined);
  return unsetSlots.slice();
}

let unsetSlots: (string | null | undefined)[] = [];

const NO_CAPTURES: readonly (string | undefined)[] = [];
export const NO_FILTERS: BodyFilter[] = [];
