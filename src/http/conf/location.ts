import type { ErrorLog } from "../../runtime/log/log.ts";
import type { CoreSettings } from "./core_settings.ts";
import type { LocationTree } from "./location_tree.ts";
import type { Handler, HeaderFilter } from "./module.ts";
import type { ServerSettings } from "./server_directives.ts";

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
  log: readonly Handler[];
  /** `limit_except`: what is in force for every method but these. */
  limitExcept: { readonly methods: ReadonlySet<string>; readonly location: Location } | undefined;
  /** No handler stands between the location's choice and its content: the phases are skipped. */
  direct: boolean;
}

export interface Server {
  readonly settings: ServerSettings;
  /** The first `server_name`, what $server_name shows. */
  readonly name: string;
  /** The server's own level: settings in force before a location is chosen. */
  readonly root: Location;
  serverRewrite: readonly Handler[];
}
