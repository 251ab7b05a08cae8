import { NameService } from "../../balancer/name_service.ts";
import { refusalsOf } from "../../config/errors.ts";
import { reachesOut, type Scope } from "../../config/schema.ts";
import type { Command } from "../../runtime/control/protocol.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import { openMainLog } from "../../runtime/log/directive.ts";
import { bindVariables } from "../../script/template.ts";
import { Variables } from "../../script/variables.ts";
import { refuseZonesWithoutSize } from "../../shm/registry.ts";
import { type Sliced, whole } from "../../sys/sliced.ts";
import type { Request } from "../core/request.ts";
import type { HandshakeResponder } from "../core/types.ts";
import { declareCoreVariables } from "../variables/core.ts";
import { type BuiltServer, LocationBuilder } from "./location_builder.ts";
import type { CheckerShare, HttpBuild, HttpModule, MasterShare, ModuleListener, WorkerShare } from "./module.ts";
import { refuseSharedPaths } from "./paths.ts";
import { Upstreams } from "./upstreams.ts";

export interface BuiltHttp {
  readonly servers: readonly BuiltServer[];
  readonly variables: Variables<Request>;
  readonly logFiles: ReadonlySet<string>;
  readonly directories: ReadonlySet<string>;
  readonly upstreams: Upstreams;
  readonly masters: readonly MasterShare[];
  readonly workers: readonly WorkerShare[];
  readonly checkers: readonly CheckerShare[];
  readonly listeners: readonly ModuleListener[];
  readonly responders: readonly HandshakeResponder[];
  readonly commands: ReadonlyMap<string, Command>;
}

/**
 * Builds all servers and locations of an http block. Errors, in nginx's words, are noted in `refusalsOf(scope)`; after
 * one, the result only serves to find more of them.
 */
export function* buildHttp(scope: Scope, cycle: Cycle, modules: readonly HttpModule[]): Sliced<BuiltHttp> {
  const refusals = refusalsOf(scope);
  const variables = new Variables<Request>(
    (error) => refusals.note(error, "complete"),
    (at) => reachesOut(scope, at),
  );
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
    masters: [],
    workers: [],
    checkers: [],
    listeners: [],
    responders: [],
    commands: new Map(),
    certificates: [],
    logFiles,
    directories,
    hiddenFields: new Set(),
  };
  resolveNames(http);
  declareCoreVariables(variables);
  for (const { definition } of modules) {
    for (const [name, spec] of Object.entries(definition.variables ?? {})) variables.declare(name, spec);
  }
  for (const { definition } of modules) refusals.attempt(() => definition.setup?.(http));
  const complete = function* (): Sliced<void> {
    for (const work of later.splice(0)) {
      refusals.attempt(work);
      yield;
    }
    bindVariables(scope, variables);
  };
  const builder = new LocationBuilder(http, modules, () => whole(complete()));
  const servers: BuiltServer[] = [];
  for (const child of scope.children) {
    if (child.context !== "server") continue;
    const server = yield* refusals.attemptSliced(builder.server(child));
    if (server !== undefined) servers.push(server);
  }
  yield* complete();
  refuseSharedPaths(scope, cycle);
  refuseZonesWithoutSize(scope);
  const { masters, workers, checkers, listeners, responders, commands } = http;
  const shares = { masters, workers, checkers, listeners };
  return { servers, variables, logFiles, directories, upstreams, ...shares, responders, commands };
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
