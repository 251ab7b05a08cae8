import os from "node:os";
import { type Refusals, refusalsOf, warn } from "../../config/errors.ts";
import { isSelfContained, reachesOut, type Scope, valueIn } from "../../config/schema.ts";
import { isRead } from "../../config/scopes.ts";
import { ConfigError } from "../../config/types.ts";
import { type CompiledRegex, compileRegex } from "../../regex/regex.ts";
import { coreDirectives as processDirectives } from "../../runtime/directives.ts";
import { type ErrorLogTarget, openErrorLog } from "../../runtime/log/error_log.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import { declareCaptures } from "../../script/captures.ts";
import { type Sliced, whole } from "../../sys/sliced.ts";
import type { RequestLimits } from "../../wire/http1/request_fields.ts";
import type { Location, Server } from "../core/location.ts";
import { coreDirectives } from "./core_directives.ts";
import { coreSettings } from "./core_settings.ts";
import { ModuleHandlers, NO_FILTERS, NO_HANDLERS } from "./handlers.ts";
import { http2Directives, http2Settings } from "./http2_directives.ts";
import { type LocationName, nestingError, parseLocationName } from "./location_name.ts";
import { buildLocationTree, type LocationEntry, type LocationTree } from "./location_tree.ts";
import type { HttpBuild, HttpModule } from "./module.ts";
import { ModuleSettings } from "./module_settings.ts";
import { type ServerSettings, serverDirectives } from "./server_directives.ts";
import { type NamedServer, parseServerName, primaryServerName, type ServerName } from "./server_names.ts";

/** A server and its scope, before it is assigned to listening addresses. */
export interface BuiltServer extends NamedServer<Server> {
  readonly scope: Scope;
}

const NO_TLS: Server["tls"] = {
  context: undefined,
  certify: undefined,
  certified: false,
  rejects: false,
  verify: "off",
  verification: "",
};

/** A server's own level. Its root comes last: that and the locations in it refer to their server. */
class ServerLevel implements Server {
  readonly clientHeaderTimeout: number;
  readonly limits: RequestLimits;
  readonly mergeSlashes: boolean;
  readonly earlyBody: Server["earlyBody"];
  tls: Server["tls"] = NO_TLS;
  readonly http2: Server["http2"];
  readonly name: string;
  serverRewrite: Server["serverRewrite"] = [];
  private built: Location | undefined = undefined;
  private locate: (() => Location) | undefined = undefined;

  constructor(settings: ServerSettings, limits: RequestLimits, http2: Server["http2"], name: string) {
    this.clientHeaderTimeout = settings.client_header_timeout;
    this.limits = limits;
    this.mergeSlashes = settings.merge_slashes;
    this.earlyBody = settings.client_body_early_read;
    this.http2 = http2;
    this.name = name;
  }

  get root(): Location {
    return this.built ?? this.first();
  }

  /** `locate` completes it, before the first request. */
  setRoot(locate: () => Location): void {
    this.locate = locate;
  }

  private first(): Location {
    if (this.locate === undefined) throw new Error("server used before it was built");
    this.built = this.locate();
    this.serverRewrite = this.built.rewrite;
    return this.built;
  }
}

function requestLimits(settings: ServerSettings): RequestLimits {
  return {
    headerBufferSize: settings.client_header_buffer_size,
    largeBuffers: settings.large_client_header_buffers.count,
    largeBufferSize: settings.large_client_header_buffers.size,
    maxHeaders: settings.max_headers,
    ignoreInvalid: settings.ignore_invalid_headers,
    underscores: settings.underscores_in_headers,
    allowConnect: false,
  };
}

/** A location of a tree, complete when it is first asked for. */
class Entry implements LocationEntry<Location> {
  readonly kind: LocationName["kind"];
  readonly name: string;
  readonly noRegex: boolean;
  readonly caseless: boolean;
  readonly regex: CompiledRegex | undefined;
  readonly nested: LocationTree<Location> | undefined;
  private built: Location | undefined = undefined;
  private readonly locate: () => Location;

  /** `locate` builds the location, or completes it. */
  constructor(
    name: LocationName,
    regex: CompiledRegex | undefined,
    nested: LocationTree<Location> | undefined,
    locate: () => Location,
  ) {
    this.kind = name.kind;
    this.name = name.name;
    this.noRegex = name.noRegex;
    this.caseless = name.caseless;
    this.regex = regex;
    this.nested = nested;
    this.locate = locate;
  }

  get location(): Location {
    return this.built ?? this.first();
  }

  get autoRedirect(): boolean {
    return this.location.autoRedirect;
  }

  private first(): Location {
    this.built = this.locate();
    return this.built;
  }
}

const NOTHING = { blocks: [], work: [] };

/** Builds servers and locations. */
export class LocationBuilder {
  private readonly http: HttpBuild;
  private readonly settings: ModuleSettings;
  private readonly handlers: ModuleHandlers;
  private readonly refusals: Refusals;
  private readonly complete: () => void;
  /** The `if` and `limit_except` blocks of a location, and what is to be done when all have their handlers. */
  private readonly unequipped = new WeakMap<Location, { readonly blocks: Location[]; readonly work: (() => void)[] }>();
  private readonly limits = new Map<string, RequestLimits>();
  private readonly hostname = os.hostname();
  private readonly logs = new Map<readonly ErrorLogTarget[], ErrorLog>();
  private defaultLog: ErrorLog | undefined;

  /** `complete`: does what waits for all locations, for one that is built late. */
  constructor(http: HttpBuild, modules: readonly HttpModule[], complete: () => void) {
    this.http = http;
    this.complete = complete;
    this.settings = new ModuleSettings(modules);
    this.handlers = new ModuleHandlers(modules);
    this.refusals = refusalsOf(http.scope);
  }

  *server(scope: Scope): Sliced<BuiltServer> {
    const settings = serverDirectives.in(scope);
    const names: ServerName[] = [];
    for (const at of settings.server_name) {
      for (const arg of at.args) {
        this.refusals.attempt(() => {
          const parsed = parseServerName(arg, this.hostname);
          if ("error" in parsed) throw new ConfigError(parsed.error, at);
          if (parsed.warning !== undefined) warn(at, scope, parsed.warning);
          if (parsed.serverName.regex !== undefined) declareCaptures(parsed.serverName.regex, this.http.variables, at);
          names.push(parsed.serverName);
        });
      }
    }
    const listens = settings.listen.some(({ args }) => args.includes("http2"));
    const http2 = http2Settings(http2Directives.in(scope), listens);
    const server = new ServerLevel(settings, this.limitsOf(settings), http2, primaryServerName(names));
    if (isRead(scope)) {
      const root = yield* this.serverRoot(scope, server);
      server.setRoot(() => this.equip(root));
    } else {
      server.setRoot(() => this.equip(this.late(() => whole(this.serverRoot(scope, server)))));
    }
    return { server, names, scope };
  }

  private *serverRoot(scope: Scope, server: Server): Sliced<Location> {
    const root = this.location(scope, { kind: "server", name: "" }, server, undefined);
    // TLS is spoken before a request comes.
    const { certified, rejects, verify } = server.tls;
    if (certified || rejects || verify !== "off") reachesOut(scope, scope.directive);
    root.tree = yield* this.tree(scope, server, root, undefined);
    return root;
  }

  /** One object for all servers that have the same. */
  private limitsOf(settings: ServerSettings): RequestLimits {
    const limits = requestLimits(settings);
    const key = Object.values(limits).join(" ");
    const known = this.limits.get(key);
    if (known !== undefined) return known;
    this.limits.set(key, limits);
    return limits;
  }

  private *tree(
    scope: Scope,
    server: Server,
    parent: Location,
    outer: LocationName | undefined,
  ): Sliced<Location["tree"]> {
    const entries: Entry[] = [];
    const places = new Map<LocationEntry<Location>, Scope>();
    for (const child of scope.children) {
      if (child.context !== "location") continue;
      const entry = yield* this.refusals.attemptSliced(this.entry(child, server, parent, outer));
      if (entry !== undefined) {
        entries.push(entry);
        places.set(entry, child);
      }
      yield;
    }
    if (entries.length === 0) return undefined;
    const tree = buildLocationTree<Location>(entries);
    if (!("error" in tree)) return tree;
    const place = places.get(tree.second) ?? scope;
    this.refusals.note(new ConfigError(tree.error, place.directive), "complete");
    return undefined;
  }

  private *entry(scope: Scope, server: Server, parent: Location, outer: LocationName | undefined): Sliced<Entry> {
    const at = scope.directive;
    const name = parseLocationName(at.args);
    if ("error" in name) throw new ConfigError(name.error, at);
    const wrong = nestingError(name, outer);
    if (wrong !== undefined) throw new ConfigError(wrong, at);
    const compiled = name.kind === "regex" ? compileRegex(name.name, name.caseless) : undefined;
    if (compiled !== undefined && "error" in compiled) throw new ConfigError(compiled.error, at);
    if (compiled !== undefined) declareCaptures(compiled, this.http.variables, at);
    const location = isRead(scope) ? this.location(scope, name, server, parent) : undefined;
    // Of one that is complete in itself the master wants to know what is wrong, and no more. Where it serves, it builds it again.
    if (location === undefined || isSelfContained(scope)) return this.lateEntry(scope, name, compiled, server, parent);
    location.tree = yield* this.tree(scope, server, location, name);
    return this.builtEntry(location, name, compiled);
  }

  private lateEntry(
    scope: Scope,
    name: LocationName,
    regex: CompiledRegex | undefined,
    server: Server,
    parent: Location,
  ): Entry {
    return new Entry(name, regex, undefined, () =>
      this.equip(this.late(() => this.location(scope, name, server, parent))),
    );
  }

  private builtEntry(location: Location, name: LocationName, regex: CompiledRegex | undefined): Entry {
    return new Entry(name, regex, location.tree, () => this.equip(location));
  }

  /** Gives a location that is built its handlers. The master, which serves nothing, never comes here. */
  private equip(location: Location): Location {
    this.handlers.put(location);
    const { blocks, work } = this.unequipped.get(location) ?? NOTHING;
    for (const block of blocks) this.equip(block);
    // Requests that the rules of `limit_except` let through get the content handler of the location around.
    if (location.limitExcept !== undefined) location.limitExcept.location.content ??= location.content;
    for (const one of work) one();
    return location;
  }

  /** Builds a location when the first request comes for it. The master has built it too, so nothing is wrong with it. */
  private late(build: () => Location): Location {
    const before = this.refusals.count;
    try {
      return build();
    } finally {
      this.complete();
      this.refusals.throwSince(before);
    }
  }

  private location(
    scope: Scope,
    { kind, name }: { kind: Location["kind"]; name: string },
    server: Server,
    parent: Location | undefined,
  ): Location {
    const { cycle, directories } = this.http;
    const core = coreSettings(scope, (path) => cycle.path(path));
    directories.add(core.clientBodyTempPath.path);
    const location: Location = {
      name,
      kind,
      server,
      core,
      settings: this.settings.begun(kind, parent, scope),
      errorLog: this.errorLog(scope),
      tree: undefined,
      autoRedirect: false,
      postRead: NO_HANDLERS,
      rewrite: NO_HANDLERS,
      preaccess: NO_HANDLERS,
      access: NO_HANDLERS,
      precontent: NO_HANDLERS,
      content: undefined,
      contentPhase: NO_HANDLERS,
      headerFilters: NO_FILTERS,
      filtersConditions: true,
      upstreamHooks: undefined,
      log: NO_HANDLERS,
      limitExcept: undefined,
      direct: false,
    };
    const block = (child: Scope) => {
      const made = this.location(child, { kind: "block", name }, server, location);
      this.waitingIn(location).blocks.push(made);
      return made;
    };
    const equipped = (work: () => void) => void this.waitingIn(location).work.push(work);
    const shares = this.shares;
    this.settings.build({ http: this.http, scope, location, server, parent, block, equipped });
    if (this.shares > shares) reachesOut(scope, scope.directive);
    const limited = scope.children.find((child) => child.context === "limit_except");
    const methods = valueIn(scope, coreDirectives.specs.limit_except);
    if (limited !== undefined && methods !== undefined) location.limitExcept = { methods, location: block(limited) };
    return location;
  }

  private waitingIn(location: Location): { readonly blocks: Location[]; readonly work: (() => void)[] } {
    const known = this.unequipped.get(location);
    if (known !== undefined) return known;
    const fresh = { blocks: [], work: [] };
    this.unequipped.set(location, fresh);
    return fresh;
  }

  /** What locations have put into effect elsewhere so far. */
  private get shares(): number {
    const { workers, checkers, responders, certificates } = this.http;
    return workers.length + checkers.length + responders.length + certificates.length;
  }

  private errorLog(scope: Scope): ErrorLog {
    const targets = valueIn(scope, processDirectives.specs.error_log);
    if (targets.length === 0) {
      this.defaultLog ??= openErrorLog(targets, this.http.cycle);
      return this.defaultLog;
    }
    const known = this.logs.get(targets);
    if (known !== undefined) return known;
    const log = openErrorLog(targets, this.http.cycle);
    this.logs.set(targets, log);
    return log;
  }
}
