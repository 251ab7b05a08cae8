import { type ConfigWarning, refusalsOf, warningsOf } from "../../config/errors.ts";
import { readConfig, textLength } from "../../config/load.ts";
import { type Scope, sealable } from "../../config/schema.ts";
import { serializeDirectives } from "../../config/serialize.ts";
import { ConfigError, type ConfigTree, placeText } from "../../config/types.ts";
import type { Address } from "../../net/address.ts";
import { systemAddresses } from "../../net/system_names.ts";
import { NewZones } from "../../shm/registry.ts";
import { openFilesLimit } from "../../sys/limits.ts";
import { inSlices } from "../../sys/sliced.ts";
import { beginBuilding } from "../../sys/v8_flags.ts";
import type { HostWanted, Program } from "../application.ts";
import { type BuiltCycle, tablesOf } from "../build_cycle.ts";
import { type CycleData, cycleOf } from "../cycle.ts";
import { coreDirectives, eventsOf } from "../directives.ts";
import { syslogHosts } from "../log/directive.ts";
import type { ErrorLog } from "../log/log.ts";
import type { Paths } from "../options.ts";
import { readConfigurationFile } from "./configuration_files.ts";

/** A configuration that was read. The errors found so far are in `refusalsOf(root)`. */
export interface Loaded {
  readonly tree: ConfigTree;
  readonly root: Scope;
}

export interface ValidCycle extends BuiltCycle {
  readonly warnings: readonly ConfigWarning[];
}

/** Reads a configuration; `validateCycle` throws the errors in it. */
export function loadConfiguration(program: Program, paths: Paths, globals: string | undefined): Loaded {
  const { tree, root, complete } = readConfig(
    { confFile: paths.confFile, confPrefix: paths.confPrefix, ...(globals === undefined ? {} : { globals }) },
    tablesOf(program),
  );
  if (complete && !tree.directives.some(({ name }) => name === "events")) {
    refusalsOf(root).note(new ConfigError('no "events" section in configuration'), "end");
  }
  return { tree, root };
}

export function logWarnings({ warnings }: ValidCycle, log: ErrorLog): void {
  for (const { message, file, line } of warnings) log.write("warn", `${message} in ${placeText(file, line)}`);
}

/**
 * ngx_event_module_init: whether a worker would run out of descriptors before it runs out of connections. As in nginx a
 * worker_rlimit_nofile below the master's own limit is not looked at.
 */
export function logFileLimit({ cycle: { root } }: BuiltCycle, log: ErrorLog): void {
  const { worker_connections } = eventsOf(root);
  const { worker_rlimit_nofile: wanted } = coreDirectives.in(root);
  const own = openFilesLimit();
  if (worker_connections <= Math.max(own, wanted ?? 0)) return;
  log.write("warn", `${worker_connections} worker_connections exceed open file resource limit: ${wanted ?? own}`);
}

/**
 * Resolves the names in a configuration and builds it, which finds its errors and makes its shared zones. Zones of
 * `previous` that are kept (see NewZones) are not written to; `buildCycle` then does that. Throws the ConfigError that nginx
 * would report, with all others in its `others`.
 */
export async function validateCycle(
  program: Program,
  paths: Paths,
  { tree, root }: Loaded,
  previous: (Pick<CycleData, "generation" | "zones"> & Partial<CycleData>) | undefined,
): Promise<ValidCycle> {
  const refusals = refusalsOf(root);
  const wanted = refusals.attempt(() => [...syslogHosts(root), ...program.hosts(root)]) ?? [];
  const { hosts, missing } = await resolveHosts(wanted);
  for (const { error, stage, ...place } of missing) refusals.note(new ConfigError(error, place), stage);
  const zones = new NewZones(previous?.zones ?? {});
  const data: CycleData = {
    generation: (previous?.generation ?? 0) + 1,
    directives: [],
    prefix: paths.prefix,
    confPrefix: paths.confPrefix,
    errorLog: paths.errorLog,
    zones: zones.handles,
    files: new Map(),
    hosts,
  };
  const inherited = coreDirectives.in(root).ssl_object_cache_inheritable ? previous?.files : undefined;
  const readFile = (path: string) => readConfigurationFile(path, inherited);
  const cycle = cycleOf(data, root, { zone: (wanted) => zones.take(wanted), readFile });
  const built = beginBuilding(textLength(tree));
  const application = await inSlices(refusals.attemptSliced(program.build(cycle))).finally(built);
  refusals.throwAll(tree);
  if (application === undefined) throw new Error("nothing was built, and nothing was refused");
  // Only now is it known which blocks the children may read when they need them.
  data.directives = serializeDirectives(tree.directives, sealable(root));
  return { cycle, application, warnings: warningsOf(root) };
}

/**
 * Looks up every name at once. `missing`: those without an address, in the order wanted.
 */
async function resolveHosts(
  wanted: readonly HostWanted[],
): Promise<{ readonly hosts: CycleData["hosts"]; readonly missing: readonly HostWanted[] }> {
  const names = [...new Set(wanted.map((want) => want.host))];
  const found = new Map(
    await Promise.all(
      names.map(async (host): Promise<[string, readonly Address[]]> => [host, await systemAddresses(host)]),
    ),
  );
  const missing = wanted.filter(({ host }) => found.get(host)?.length === 0);
  return { hosts: Object.fromEntries(found), missing };
}
