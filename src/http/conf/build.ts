import os from "node:os";
import { NameService } from "../../balancer/name_service.ts";
import { type Refusals, refusalsOf, warn } from "../../config/errors.ts";
import { type Scope, valueIn } from "../../config/schema.ts";
import { ConfigError } from "../../config/types.ts";
import { compileRegex } from "../../regex/regex.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import { coreDirectives as processDirectives } from "../../runtime/directives.ts";
import { openMainLog } from "../../runtime/log/directive.ts";
import { type ErrorLogTarget, openErrorLog } from "../../runtime/log/error_log.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import { declareCaptures } from "../../script/captures.ts";
import { bindVariables } from "../../script/template.ts";
import { Variables } from "../../script/variables.ts";
import { refuseZonesWithoutSize } from "../../shm/registry.ts";
import type { Sliced } from "../../sys/sliced.ts";
import type { RequestLimits } from "../../wire/http1/request_fields.ts";
import type { Location, Server } from "../core/location.ts";
import type { Request } from "../core/request.ts";
import type { HandshakeResponder } from "../core/types.ts";
import { declareCoreVariables } from "../variables/core.ts";
import { coreDirectives } from "./core_directives.ts";
import { coreSettings } from "./core_settings.ts";
import { ModuleHandlers } from "./handlers.ts";
import { type LocationName, nestingError, parseLocationName } from "./location_name.ts";
import { buildLocationTree, type LocationEntry } from "./location_tree.ts";
import type { CheckerShare, HttpBuild, HttpModule, WorkerShare } from "./module.ts";
import { ModuleSettings } from "./module_settings.ts";
import type { ServerSettings } from "./server_directives.ts";
import { serverDirectives } from "./server_directives.ts";
import { type NamedServer, parseServerName, primaryServerName, type ServerName } from "./server_names.ts";
import { Upstreams } from "./upstreams.ts";

/** A server and its scope, before it is assigned to listening addresses. */
export interface BuiltServer extends NamedServer<Server> {
  readonly scope: Scope;
}

export interface BuiltHttp {
  readonly servers: readonly BuiltServer[];
  readonly variables: number;
  readonly logFiles: ReadonlySet<string>;
  readonly directories: ReadonlySet<string>;
  readonly upstreams: Upstreams;
  readonly workers: readonly WorkerShare[];
  readonly checkers: readonly CheckerShare[];
  readonly responders: readonly HandshakeResponder[];
}

/**
 * Builds all servers and locations of an http block. Errors, in nginx's words, are noted in `refusalsOf(scope)`; after
 * one, the result only serves to find more of them.
 */
export function* buildHttp(scope: Scope, cycle: Cycle, modules: readonly HttpModule[]): Sliced<BuiltHttp> {
  const refusals = refusalsOf(scope);
  const variables = new Variables<Request>((error) => refusals.note(error, "complete"));
  const later: (() => void)[] = [];
  const upstreams = new Upstreams(cycle);
  yield* upstreams.declare(scope);
  const logFiles = new Set<string>();
  const directories = new Set<string>();
  const http: HttpBuild = {
    cycle,
    scope,
    variables,
    upstreams,
    later: (work) => later.push(work),
    workers: [],
    checkers: [],
    responders: [],
    certificates: [],
    logFiles,
    directories,
  };
  resolveNames(http);
  declareCoreVariables(variables);
  for (const { definition } of modules) {
    for (const [name, spec] of Object.entries(definition.variables ?? {})) variables.declare(name, spec);
  }
  for (const { definition } of modules) refusals.attempt(() => definition.setup?.(http));
  const builder = new LocationBuilder(http, modules);
  const servers: BuiltServer[] = [];
  for (const child of scope.children) {
    if (child.context !== "server") continue;
    const server = yield* refusals.attemptSliced(builder.server(child));
    if (server !== undefined) servers.push(server);
  }
  for (const work of later) {
    refusals.attempt(work);
    yield;
  }
  bindVariables(scope, variables);
  refuseZonesWithoutSize(scope);
  const { workers, checkers, responders } = http;
  return { servers, variables: variables.count, logFiles, directories, upstreams, workers, checkers, responders };
}

/** Has the checker resolve the names of upstreams' servers. */
function resolveNames({ upstreams: { resolving }, checkers, cycle }: HttpBuild): void {
  if (resolving.length === 0) return;
  const log = openMainLog(cycle);
  checkers.push({
    name: "http_upstream_zone",
    check(previous) {
      const service = previous instanceof NameService ? previous : new NameService(log);
      service.update(resolving, log);
      return service;
    },
  });
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
  readonly name: string;
  serverRewrite: Server["serverRewrite"] = [];
  private built: Location | undefined = undefined;

  constructor(settings: ServerSettings, name: string) {
    this.clientHeaderTimeout = settings.client_header_timeout;
    this.limits = requestLimits(settings);
    this.mergeSlashes = settings.merge_slashes;
    this.earlyBody = settings.client_body_early_read;
    this.name = name;
  }

  get root(): Location {
    if (this.built === undefined) throw new Error("server used before it was built");
    return this.built;
  }

  setRoot(root: Location): void {
    this.built = root;
    this.serverRewrite = root.rewrite;
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

class LocationBuilder {
  private readonly http: HttpBuild;
  private readonly settings: ModuleSettings;
  private readonly handlers: ModuleHandlers;
  private readonly refusals: Refusals;
  private readonly logs = new Map<readonly ErrorLogTarget[], ErrorLog>();
  private defaultLog: ErrorLog | undefined;

  constructor(http: HttpBuild, modules: readonly HttpModule[]) {
    this.http = http;
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
          const parsed = parseServerName(arg, os.hostname());
          if ("error" in parsed) throw new ConfigError(parsed.error, at);
          if (parsed.warning !== undefined) warn(at, scope, parsed.warning);
          if (parsed.serverName.regex !== undefined) declareCaptures(parsed.serverName.regex, this.http.variables, at);
          names.push(parsed.serverName);
        });
      }
    }
    const server = new ServerLevel(settings, primaryServerName(names));
    const root = this.location(scope, { kind: "server", name: "" }, server, undefined);
    server.setRoot(root);
    root.tree = yield* this.tree(scope, server, root, undefined);
    return { server, names, scope };
  }

  private *tree(
    scope: Scope,
    server: Server,
    parent: Location,
    outer: LocationName | undefined,
  ): Sliced<Location["tree"]> {
    const entries: LocationEntry<Location>[] = [];
    for (const child of scope.children) {
      if (child.context !== "location") continue;
      const entry = yield* this.refusals.attemptSliced(this.entry(child, server, parent, outer));
      if (entry !== undefined) entries.push(entry);
      yield;
    }
    if (entries.length === 0) return undefined;
    const tree = buildLocationTree(entries);
    if (!("error" in tree)) return tree;
    const { location } = tree.second;
    const place = scope.children.find((child) => this.built.get(child) === location) ?? scope;
    this.refusals.note(new ConfigError(tree.error, place.directive), "complete");
    return undefined;
  }

  private *entry(
    scope: Scope,
    server: Server,
    parent: Location,
    outer: LocationName | undefined,
  ): Sliced<LocationEntry<Location>> {
    const at = scope.directive;
    const name = parseLocationName(at.args);
    if ("error" in name) throw new ConfigError(name.error, at);
    const wrong = nestingError(name, outer);
    if (wrong !== undefined) throw new ConfigError(wrong, at);
    const compiled = name.kind === "regex" ? compileRegex(name.name, name.caseless) : undefined;
    if (compiled !== undefined && "error" in compiled) throw new ConfigError(compiled.error, at);
    if (compiled !== undefined) declareCaptures(compiled, this.http.variables, at);
    const location = this.location(scope, name, server, parent);
    const nested = yield* this.tree(scope, server, location, name);
    location.tree = nested;
    return { ...name, location, regex: compiled, autoRedirect: location.autoRedirect, nested };
  }

  private readonly built = new Map<Scope, Location>();

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
      settings: [],
      errorLog: this.errorLog(scope),
      tree: undefined,
      autoRedirect: false,
      postRead: [],
      rewrite: [],
      preaccess: [],
      access: [],
      precontent: [],
      content: undefined,
      contentPhase: [],
      headerFilters: [],
      upstreamHooks: undefined,
      log: [],
      limitExcept: undefined,
      direct: false,
    };
    this.built.set(scope, location);
    const block = (child: Scope) => this.location(child, { kind: "block", name }, server, location);
    const before = this.refusals.count;
    this.settings.build({ http: this.http, scope, location, server, parent, block });
    if (this.refusals.count === before) this.handlers.put(location);
    const limited = scope.children.find((child) => child.context === "limit_except");
    const methods = valueIn(scope, coreDirectives.specs.limit_except);
    if (limited !== undefined && methods !== undefined)
      location.limitExcept = this.limitExcept(location, methods, block(limited));
    return location;
  }

  /** Requests that the block's rules let through get the content handler of the location around it. */
  private limitExcept(
    { content }: Location,
    methods: ReadonlySet<string>,
    location: Location,
  ): Location["limitExcept"] {
    location.content ??= content;
    return { methods, location };
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
