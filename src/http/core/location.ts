import type { TlsContext } from "../../net/tls/context.ts";
import type { CompiledRegex } from "../../regex/regex.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import type { SslConnection } from "../../sys/openssl/ssl.ts";
import type { HeadText } from "../../wire/head_text.ts";
import type { RequestLimits } from "../../wire/http1/request_fields.ts";
import type { LocationTree } from "../conf/location_tree.ts";
import type { MimeTypes } from "../conf/mime.ts";
import type { OpenFileCaching } from "../files/open_file_cache.ts";
import type { Request } from "./request.ts";
import type { Template } from "./script.ts";
import type { TempPath } from "./temp_file.ts";
import type { Handler, HeaderFilter } from "./types.ts";
import type { UpstreamHooks } from "./upstream.ts";

/** Servers and locations as requests use them; http/conf builds them from the configuration. */

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

/** `disable_symlinks`: which symbolic links are refused on the way to a file, and from where on the path is checked. */
export interface SymlinkRule {
  readonly refuse: "all" | "of another owner";
  /** The leading part of the path that is not checked. */
  readonly from: Template | undefined;
}

/** Words of `gzip_proxied`. */
export const GZIP_PROXIED = [
  "off",
  "expired",
  "no-cache",
  "no-store",
  "private",
  "no_last_modified",
  "no_etag",
  "auth",
  "any",
] as const;

export type GzipProxied = (typeof GZIP_PROXIED)[number];

/** `gzip_disable`: clients that get nothing compressed. */
export interface GzipDisable {
  readonly msie6: boolean;
  /** Of User-Agent. */
  readonly patterns: readonly CompiledRegex[];
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
  readonly sendfile: boolean;
  /** sendfile_max_chunk in bytes; 0 for no limit. */
  readonly sendfileMaxChunk: number;
  readonly resetTimedoutConnection: boolean;
  readonly keepaliveTimeout: number;
  readonly keepaliveHeader: number;
  readonly keepaliveRequests: number;
  readonly http2ChunkSize: number;
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
  readonly postAction: string | undefined;
  readonly logNotFound: boolean;
  readonly logSubrequest: boolean;
  readonly subrequestOutputBufferSize: number;
  readonly postponeOutput: number;
  readonly absoluteRedirect: boolean;
  readonly serverNameInRedirect: boolean;
  readonly portInRedirect: boolean;
  readonly serverTokens: "off" | "on" | "build";
  readonly msiePadding: boolean;
  readonly msieRefresh: boolean;
  readonly chunked: boolean;
  readonly maxRanges: number;
  readonly etag: boolean;
  readonly ifModifiedSince: "off" | "exact" | "before";
  readonly gzipVary: boolean;
  /** gzip_http_version: 1000 or 1001. */
  readonly gzipHttpVersion: number;
  readonly gzipProxied: ReadonlySet<GzipProxied>;
  readonly gzipDisable: GzipDisable;
  readonly limitRate: Template | undefined;
  readonly limitRateAfter: Template | undefined;
  readonly root: FileRoot;
  readonly disableSymlinks: SymlinkRule | undefined;
  readonly openFileCache: OpenFileCaching | undefined;
  /** By `types`. */
  readonly types: MimeTypes;
  readonly defaultType: HeadText;
}

/**
 * A location with everything a request needs, resolved when the configuration is built: flat arrays of functions, and
 * each module's settings. The server level, `if` blocks and `limit_except` are locations too.
 */
export interface Location {
  /** As written: `/path`, the regex, `@name`; "" for the server level and `if` blocks. */
  readonly name: string;
  readonly kind: "server" | "prefix" | "exact" | "regex" | "named" | "block";
  readonly server: Server;
  readonly core: CoreSettings;
  /** By module slot; read through `module.of(location)`. */
  readonly settings: unknown[];
  readonly errorLog: ErrorLog;
  /** Nested locations. */
  tree: LocationTree<Location> | undefined;
  /** `/x` is redirected to this location `/x/`: it has proxy_pass and its name ends with a slash. */
  autoRedirect: boolean;
  postRead: readonly Handler[];
  rewrite: readonly Handler[];
  preaccess: readonly Handler[];
  access: readonly Handler[];
  precontent: readonly Handler[];
  /** The handler that replaces all others of the phase, such as proxy_pass's. */
  content: Handler | undefined;
  contentPhase: readonly Handler[];
  headerFilters: readonly HeaderFilter[];
  /** All of them are CONDITIONAL_FILTERS. */
  filtersConditions: boolean;
  upstreamHooks: UpstreamHooks | undefined;
  log: readonly Handler[];
  /** `limit_except`: the location in force for all methods but these. */
  limitExcept: { readonly methods: ReadonlySet<string>; readonly location: Location } | undefined;
  /** It has a content handler and no other: the phases between are skipped. */
  direct: boolean;
}

/** What the directives of ngx_http_ssl_module come to. */
export interface ServerTls {
  /** Undefined where no handshake can be made: there is no certificate, and none is rejected. */
  readonly context: TlsContext | undefined;
  /**
   * Sets the certificates of a connection, where their names have variables: those of the request, which is one that has not
   * come yet. Throws CertificateError.
   */
  readonly certify: ((request: Request, ssl: SslConnection) => void) | undefined;
  /** It has ssl_certificate. */
  readonly certified: boolean;
  /** ssl_reject_handshake */
  readonly rejects: boolean;
  /** ssl_verify_client */
  readonly verify: "off" | "on" | "optional" | "optional_no_ca";
  /** By what clients are verified; another text where that is something else, "" where they are not. */
  readonly verification: string;
}

/** Of a server; sizes in bytes. */
export interface Http2Settings {
  readonly enabled: boolean;
  readonly maxConcurrentStreams: number;
  readonly bodyPrereadSize: number;
  /** http2_connect_protocol */
  readonly connectProtocol: boolean;
}

export interface Server {
  /** ms; in force before a location is known, as the next three. */
  readonly clientHeaderTimeout: number;
  readonly limits: RequestLimits;
  readonly mergeSlashes: boolean;
  /** client_body_early_read */
  readonly earlyBody: readonly Template[] | undefined;
  tls: ServerTls;
  readonly http2: Http2Settings;
  /** The first `server_name`, what $server_name shows. */
  readonly name: string;
  /** The server level: settings in force before a location is chosen. */
  readonly root: Location;
  serverRewrite: readonly Handler[];
}
