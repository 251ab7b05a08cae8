import { directive, list, refuse } from "../../../config/directives.ts";
import { fail, type Scope, valueIn } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { parseNumber } from "../../../config/values.ts";
import type { DeclaredZone } from "../../../shm/registry.ts";
import { HTTP, HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { registerSynced } from "../../conf/synced.ts";
import { DECLINED, DONE } from "../../core/codes.ts";
import { delayRequest, runPhases } from "../../core/engine.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { Handler } from "../../core/types.ts";
import { type Buckets, countRequest, decision, keys, LINKS, type Limit, NO_MEMORY } from "./buckets.ts";
import {
  dryRun,
  type LimitZone,
  LimitZones,
  type LogLevel,
  logLevel,
  refusalStatus,
  withoutZone,
} from "./limit_zone.ts";
import { sharedBuckets } from "./shared_buckets.ts";

const zones = new LimitZones({ name: "limit_req", version: 2 }, LINKS);

/** Values of `Request.limitReqStatus`; 0 before a limit was checked. */
const STATUS = { passed: 1, delayed: 2, rejected: 3, delayedDryRun: 4, rejectedDryRun: 5 } as const;
const STATUS_TEXTS = ["", "PASSED", "DELAYED", "REJECTED", "DELAYED_DRY_RUN", "REJECTED_DRY_RUN"];

const MAX_KEY = 65_535;

interface LimitSetting {
  readonly declared: DeclaredZone;
  /** In thousandths of a request. */
  readonly burst: number;
  readonly delay: number;
}

interface Limits extends Buckets {
  readonly logLevel: LogLevel;
  readonly delayLogLevel: LogLevel;
  readonly status: number;
  readonly dryRun: boolean;
}

const zoneSpec = list({
  in: HTTP,
  args: [3, 4],
  syntax: "key zone=name:size rate=rate [sync]",
  doc: "A shared memory zone that keeps how fast requests with each value of the key come, and how fast they may: `rate=10r/s` or `rate=30r/m`. All workers count in it, and a reload keeps it. Requests with an empty key are not limited. When it is full, the keys longest out of use give way. With `sync` (NGINX Plus) the nodes of a `cluster` with a `store` share it: each tells the others what it has let pass, about ten times a second, so that the rate is kept by all together; meanwhile, and while the store is away, each keeps it by itself.",
  item: (at, scope) => zones.read(at, scope),
});

/** ngx_http_limit_req_module: limits the rate of requests by a leaky bucket for each value of a key. */
export const limitReq = defineModule({
  name: "http_limit_req",
  directives: {
    limit_req_zone: zoneSpec,
    limit_req: directive<readonly LimitSetting[]>({
      in: HTTP_LOCATION,
      args: [1, 3],
      repeat: true,
      syntax: "zone=name [burst=number] [nodelay | delay=number]",
      doc: "Limits requests to the rate of a zone. Up to `burst` (0) requests ahead of it are delayed until their time has come, all that are more than `delay` (0) ahead or, with `nodelay`, none; what is beyond is refused. With several limits, all must allow a request, and it is delayed by the longest.",
      initial: () => [],
      read(at, scope, previous = []) {
        const limit = readLimit(at, scope);
        if (previous.some(({ declared }) => declared === limit.declared)) refuse(at, "is duplicate");
        return [...previous, limit];
      },
    }),
    limit_req_log_level: logLevel(
      "At which level refused requests are logged; delayed ones are logged one level below.",
    ),
    limit_req_status: refusalStatus("The status of the response to refused requests, 400 to 599."),
    limit_req_dry_run: dryRun(
      "Counts and logs requests, but neither refuses nor delays any; `$limit_req_status` says what would have been done.",
    ),
  },
  variables: {
    limit_req_status: {
      get: ({ main }) => (main.limitReqStatus === 0 ? undefined : STATUS_TEXTS[main.limitReqStatus]),
    },
  },
  setup({ cycle, scope, workers }) {
    for (const zone of valueIn(scope, zoneSpec)) {
      zone.open(cycle, "limit_req");
      workers.push({ enter() {}, forget: () => recover(zone) });
      const { sync } = zone;
      if (sync !== undefined) registerSynced(cycle, sharedBuckets(zone, sync));
    }
  },
  build(settings): Limits | undefined {
    const limits: Limit[] = [];
    for (const { declared, burst, delay } of settings.limit_req) {
      const zone = zones.find(declared);
      if (zone !== undefined) limits.push({ zone, burst, delay });
    }
    if (limits.length === 0) return undefined;
    const { limit_req_log_level: level, limit_req_status: status, limit_req_dry_run: dry } = settings;
    const names = limits.map(({ zone }) => zone.name);
    return {
      limits,
      locking: [...names.keys()].sort((one, other) => (names[one] < names[other] ? -1 : 1)),
      logLevel: level,
      delayLogLevel: level === "error" ? "warn" : level === "warn" ? "notice" : "info",
      status,
      dryRun: dry,
    };
  },
  preaccess: (limits): Handler | undefined => limits && ((request) => limitRequest(request, limits)),
});

function readLimit(at: Directive, scope: Scope): LimitSetting {
  let declared: DeclaredZone | undefined;
  let burst = 0;
  let delay = 0;
  for (const parameter of at.args) {
    if (parameter.startsWith("zone=")) declared = zones.name(at, scope, parameter.slice(5));
    else if (parameter.startsWith("burst=")) burst = positive(at, parameter, "burst");
    else if (parameter.startsWith("delay=")) delay = positive(at, parameter, "delay");
    else if (parameter === "nodelay") delay = Number.POSITIVE_INFINITY;
    else fail(at, `invalid parameter "${parameter}"`);
  }
  return { declared: declared ?? withoutZone(at), burst: burst * 1000, delay: delay * 1000 };
}

function positive(at: Directive, parameter: string, name: "burst" | "delay"): number {
  return parseNumber(parameter.slice(name.length + 1)) || fail(at, `invalid ${name} value "${parameter}"`);
}

// ---- requests

function limitRequest(request: Request, conf: Limits): number {
  const { main } = request;
  if (main.limitReqStatus !== 0) return DECLINED;
  const { limits } = conf;
  let applies = false;
  for (let i = 0; i < limits.length; i++) {
    keys[i] = limits[i].zone.keyOf(request, MAX_KEY);
    if (keys[i] !== "") applies = true;
  }
  if (!applies) return DECLINED;
  const refusal = countRequest(conf);
  if (refusal !== 0) {
    logRefusal(request, conf, refusal);
    main.limitReqStatus = conf.dryRun ? STATUS.rejectedDryRun : STATUS.rejected;
    return conf.dryRun ? DECLINED : conf.status;
  }
  if (decision.delay === 0) {
    main.limitReqStatus = STATUS.passed;
    return DECLINED;
  }
  const dry = conf.dryRun ? ", dry run" : "";
  const zone = decision.limit?.zone.name;
  logError(
    request,
    conf.delayLogLevel,
    `delaying request${dry}, excess: ${thousandths(decision.excess)}, by zone "${zone}"`,
  );
  main.limitReqStatus = conf.dryRun ? STATUS.delayedDryRun : STATUS.delayed;
  if (conf.dryRun) return DECLINED;
  delayRequest(request, decision.delay, runPhases);
  return DONE;
}

function logRefusal(request: Request, conf: Limits, refusal: number): void {
  const zone = decision.limit?.zone.name;
  if (refusal === NO_MEMORY) {
    logError(request, "alert", `could not allocate node in limit_req zone "${zone}"`);
    return;
  }
  const dry = conf.dryRun ? ", dry run" : "";
  logError(
    request,
    conf.logLevel,
    `limiting requests${dry}, excess: ${thousandths(decision.excess)} by zone "${zone}"`,
  );
}

function thousandths(value: number): string {
  return `${Math.floor(value / 1000)}.${String(value % 1000).padStart(3, "0")}`;
}

/** Takes over the lock if the worker that has exited held it. */
function recover(zone: LimitZone): void {
  zone.lock();
  zone.unlock();
}
