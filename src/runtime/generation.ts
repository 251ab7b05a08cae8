import { type ConfigWarning, refusalsOf, warningsOf } from "../config/errors.ts";
import { readConfig } from "../config/load.ts";
import { type Directives, type Scope, type Specs, valueIn } from "../config/schema.ts";
import { buildingScopes } from "../config/scopes.ts";
import { ConfigError, type ConfigTree } from "../config/types.ts";
import { fullName } from "../sys/paths.ts";
import { inSlices, type Sliced } from "../sys/sliced.ts";
import type { Application, Cycle, CycleData, HostWanted, Program } from "./cycle.ts";
import { coreDirectives, eventsDirectives } from "./directives.ts";
import { resolveHosts } from "./hosts.ts";
import { type ErrorLogTarget, openErrorLog } from "./log/error_log.ts";
import type { ErrorLog } from "./log/log.ts";
import type { Paths } from "./options.ts";

/** A configuration that was read. What was refused until now is in `refusalsOf(root)`. */
export interface Loaded {
  readonly tree: ConfigTree;
  readonly root: Scope;
  readonly warnings: readonly ConfigWarning[];
}

/** A configuration that is ready to be given to the threads. */
export interface Generation extends Loaded {
  readonly data: CycleData;
  readonly cycle: Cycle;
  readonly application: Application;
}

/** Every table of directives: those of the process itself, and the program's. */
export function tablesOf(program: Program): readonly Directives<Specs>[] {
  return [coreDirectives, eventsDirectives, ...program.directives];
}

/** Reads a configuration; `buildGeneration` throws what is wrong with it. */
export function loadGeneration(program: Program, paths: Paths, globals: string | undefined): Loaded {
  const { tree, root, complete } = readConfig(
    { confFile: paths.confFile, confPrefix: paths.confPrefix, ...(globals === undefined ? {} : { globals }) },
    tablesOf(program),
  );
  if (complete && !tree.directives.some(({ name }) => name === "events")) {
    refusalsOf(root).note(new ConfigError('no "events" section in configuration'), "end");
  }
  return { tree, root, warnings: warningsOf(root) };
}

/**
 * Resolves names and builds the tree once in the supervisor, which finds what is wrong and makes the shared zones:
 * those of `previous` live on where name and size are the same. They are in use, so what is built here has blank ones
 * in their place: a generation that may yet be refused leaves no trace in them. Once it is to be taken,
 * `rebuildGeneration` enters it into the real ones. Throws the ConfigError that nginx would have found first, with all
 * others in its `others`.
 */
export async function buildGeneration(
  program: Program,
  paths: Paths,
  loaded: Loaded,
  previous: CycleData | undefined,
): Promise<Generation> {
  const { tree, root } = loaded;
  const refusals = refusalsOf(root);
  const wanted = refusals.attempt(() => [...syslogHosts(root), ...program.hosts(root)]) ?? [];
  const { hosts, missing } = await resolveHosts(wanted);
  for (const { error, stage, ...place } of missing) refusals.note(new ConfigError(error, place), stage);
  const zones: Record<string, SharedArrayBuffer> = {};
  const blank = new Map<string, SharedArrayBuffer>();
  const data: CycleData = {
    generation: (previous?.generation ?? 0) + 1,
    tree: loaded.tree,
    prefix: paths.prefix,
    confPrefix: paths.confPrefix,
    errorLog: paths.errorLog,
    zones,
    hosts,
  };
  const cycle = cycleOf(data, root, (name, bytes, migrate) => {
    if (zones[name]?.byteLength === bytes) return blank.get(name) ?? zones[name];
    const kept = zones[name] ?? previous?.zones[name];
    if (kept?.byteLength === bytes) {
      zones[name] = kept;
      const stand = new SharedArrayBuffer(bytes);
      blank.set(name, stand);
      return stand;
    }
    const zone = new SharedArrayBuffer(bytes);
    if (kept !== undefined) migrate?.(kept, zone);
    zones[name] = zone;
    return zone;
  });
  const application = await inSlices(refusals.attemptSliced(program.build(cycle)));
  refusals.throwAll(tree);
  if (application === undefined) throw new Error("nothing was built, and nothing was refused");
  return { ...loaded, warnings: warningsOf(root), data, cycle, application };
}

/** The same in another thread, which serves meanwhile, from what the supervisor posted. Throws ConfigError. */
export async function rebuildGeneration(program: Program, data: CycleData): Promise<Generation> {
  return inSlices(rebuilding(program, data));
}

function* rebuilding(program: Program, data: CycleData): Sliced<Generation> {
  const root = yield* buildingScopes(data.tree, tablesOf(program));
  const cycle = cycleOf(data, root, (name, bytes) => {
    const zone = data.zones[name];
    if (zone === undefined) throw new Error(`the shared zone "${name}" was not made by the supervisor`);
    if (zone.byteLength !== bytes) throw new Error(`the shared zone "${name}" has another size than the supervisor's`);
    return zone;
  });
  const application = yield* program.build(cycle);
  refusalsOf(root).throwAll(data.tree);
  return { tree: data.tree, root, warnings: [], data, cycle, application };
}

function cycleOf(data: CycleData, root: Scope, zone: Cycle["zone"]): Cycle {
  return {
    data,
    root,
    zone,
    path: (path, base) => fullName(path, base === "conf" ? data.confPrefix : data.prefix),
  };
}

/** The syslog servers given by name, in any scope. */
function syslogHosts(scope: Scope): HostWanted[] {
  const wanted: HostWanted[] = [];
  const place = scope.places.get(coreDirectives.specs.error_log) ?? scope.directive;
  for (const target of ownErrorLogs(scope)) {
    if (target.to !== "syslog" || target.server.server.family !== "name") continue;
    const error = `host not found in syslog server "${target.server.name}"`;
    wanted.push({ host: target.server.server.host, file: place.file, line: place.line, error });
  }
  return [...wanted, ...scope.children.flatMap(syslogHosts)];
}

/**
 * The log of the main block, of the process and its threads. As in nginx there is always a file: where `error_log`
 * names none (nor stderr), the one of `-e` has what is [error] or worse.
 */
export function openMainLog({ root, cycle }: Pick<Generation, "root" | "cycle">): ErrorLog {
  return openErrorLog(mainTargets(root, cycle), cycle);
}

function mainTargets(root: Scope, { data }: Cycle): readonly ErrorLogTarget[] {
  const targets = coreDirectives.in(root).error_log;
  if (targets.some((target) => target.to !== "syslog")) return targets;
  const { errorLog } = data;
  return [
    ...targets,
    errorLog === "" ? { to: "stderr", level: "error" } : { to: "file", path: errorLog, level: "error" },
  ];
}

/** Every file that error logs of a configuration write to, absolute. */
export function errorLogFiles({ root, cycle }: Pick<Generation, "root" | "cycle">): string[] {
  const targets = [...mainTargets(root, cycle)];
  const visit = (scope: Scope): void => {
    targets.push(...ownErrorLogs(scope));
    scope.children.forEach(visit);
  };
  visit(root);
  return targets.flatMap((target) => (target.to === "file" ? [cycle.path(target.path)] : []));
}

function ownErrorLogs(scope: Scope): readonly ErrorLogTarget[] {
  const spec = coreDirectives.specs.error_log;
  return scope.values.has(spec) ? valueIn(scope, spec) : [];
}
