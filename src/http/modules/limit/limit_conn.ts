import { directive, list, refuse } from "../../../config/directives.ts";
import { fail, valueIn } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { parseNumber } from "../../../config/values.ts";
import type { DeclaredZone } from "../../../shm/registry.ts";
import { HTTP, HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { registerSynced } from "../../conf/synced.ts";
import { DECLINED } from "../../core/codes.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { Handler } from "../../core/types.ts";
import { enterWorker, forgetWorker, giveBack, LINKS, NO_MEMORY, TAKEN, take } from "./connections.ts";
import { dryRun, type LimitZone, LimitZones, type LogLevel, logLevel, refusalStatus } from "./limit_zone.ts";
import { sharedConnections } from "./shared_connections.ts";

const zones = new LimitZones({ name: "limit_conn", version: 2 }, LINKS);

/** Values of `Request.limitConnStatus`; 0 before a limit was checked. */
const STATUS = { passed: 1, rejected: 2, rejectedDryRun: 3 } as const;
const STATUS_TEXTS = ["", "PASSED", "REJECTED", "REJECTED_DRY_RUN"];

const MAX_KEY = 255;
const MAX_CONNECTIONS = 65_535;

interface LimitSetting {
  readonly declared: DeclaredZone;
  readonly connections: number;
}

interface Limit {
  readonly zone: LimitZone;
  readonly connections: number;
}

interface Limits {
  readonly limits: readonly Limit[];
  readonly logLevel: LogLevel;
  readonly status: number;
  readonly dryRun: boolean;
}

const zoneSpec = list({
  in: HTTP,
  args: [2, 3],
  syntax: "key zone=name:size [sync]",
  doc: "A shared memory zone that keeps how many connections there are for each value of the key. All workers count in it, a reload keeps it, and what a worker that died had counted is taken back. Requests with an empty key are not limited. With `sync` the nodes of a `cluster` with a `store` share it: each tells the others about ten times a second how many it has, and `limit_conn` counts those of all; of a node that is not heard any more they count for 4 seconds.",
  item: (at, scope) => zones.read(at, scope),
});

/** ngx_http_limit_conn_module: limits the requests at work at a time for each value of a key. */
export const limitConn = defineModule({
  name: "http_limit_conn",
  directives: {
    limit_conn_zone: zoneSpec,
    limit_conn: directive<readonly LimitSetting[]>({
      in: HTTP_LOCATION,
      args: [2, 2],
      repeat: true,
      syntax: "zone number",
      doc: "How many connections there may be at a time for one value of the zone's key; more are refused. A connection counts from when the head of a request has been read until its response has been sent. A full zone refuses them too.",
      initial: () => [],
      read(at, scope, previous = []) {
        const declared = zones.name(at, scope, at.args[0]);
        if (previous.some((limit) => limit.declared === declared)) refuse(at, "is duplicate");
        return [...previous, { declared, connections: readConnections(at) }];
      },
    }),
    limit_conn_log_level: logLevel("At which level refused connections are logged."),
    limit_conn_status: refusalStatus("The status of the response to refused requests, 400 to 599."),
    limit_conn_dry_run: dryRun(
      "Counts and logs connections, but refuses none; `$limit_conn_status` says what would have been done.",
    ),
  },
  variables: {
    limit_conn_status: {
      get: ({ main }) => (main.limitConnStatus === 0 ? undefined : STATUS_TEXTS[main.limitConnStatus]),
    },
  },
  setup({ cycle, scope, workers }) {
    for (const zone of valueIn(scope, zoneSpec)) {
      zone.open(cycle, "limit_conn_zone");
      workers.push({ enter: enterWorker, forget: (slot) => forgetWorker(zone, slot) });
      const { sync } = zone;
      if (sync !== undefined) registerSynced(cycle, sharedConnections(zone, sync));
    }
  },
  build(settings): Limits | undefined {
    const limits: Limit[] = [];
    for (const { declared, connections } of settings.limit_conn) {
      const zone = zones.find(declared);
      if (zone !== undefined) limits.push({ zone, connections });
    }
    if (limits.length === 0) return undefined;
    return {
      limits,
      logLevel: settings.limit_conn_log_level,
      status: settings.limit_conn_status,
      dryRun: settings.limit_conn_dry_run,
    };
  },
  preaccess: (limits): Handler | undefined => limits && ((request) => limitConnections(request, limits)),
});

function readConnections(at: Directive): number {
  const [, text] = at.args;
  const connections = parseNumber(text);
  if (!connections) fail(at, `invalid number of connections "${text}"`);
  if (connections > MAX_CONNECTIONS) fail(at, "connection limit must be less 65536");
  return connections;
}

function limitConnections(request: Request, conf: Limits): number {
  const { main } = request;
  if (main.limitConnStatus !== 0) return DECLINED;
  const held = main.cleanup?.length ?? 0;
  for (const { zone, connections } of conf.limits) {
    const key = zone.keyOf(request, MAX_KEY);
    if (key === "") continue;
    main.limitConnStatus = STATUS.passed;
    const outcome = take(zone, key, connections);
    if (outcome === TAKEN) {
      main.cleanup ??= [];
      main.cleanup.push(() => giveBack(zone, key));
      continue;
    }
    logRefusal(request, conf, zone, outcome);
    // Releases what earlier limits counted.
    while (main.cleanup !== undefined && main.cleanup.length > held) main.cleanup.pop()?.();
    main.limitConnStatus = conf.dryRun ? STATUS.rejectedDryRun : STATUS.rejected;
    return conf.dryRun ? DECLINED : conf.status;
  }
  return DECLINED;
}

function logRefusal(request: Request, conf: Limits, { name }: LimitZone, outcome: number): void {
  if (outcome === NO_MEMORY) {
    logError(request, "crit", `ngx_slab_alloc() failed: no memory in limit_conn_zone "${name}"`);
    return;
  }
  const dry = conf.dryRun ? ", dry run," : "";
  logError(request, conf.logLevel, `limiting connections${dry} by zone "${name}"`);
}
