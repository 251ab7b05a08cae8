import { directive, list, refuse } from "../../../config/directives.ts";
import { fail, type Scope, valueIn } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { parseNumber } from "../../../config/values.ts";
import type { DeclaredZone } from "../../../shm/registry.ts";
import { sharedNow } from "../../../sys/clock.ts";
import { HTTP, HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { DECLINED, DONE } from "../../core/codes.ts";
import { delayRequest, runPhases } from "../../core/engine.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { Handler } from "../../core/types.ts";
import {
  dryRun,
  type LimitZone,
  LimitZones,
  type LogLevel,
  logLevel,
  refusalStatus,
  withoutZone,
} from "./limit_zone.ts";

const zones = new LimitZones({ name: "limit_req", version: 1 });

/** What a request was found to be, in `Request.limitReqStatus`; 0 as long as no limit was looked at. */
const STATUS = { passed: 1, delayed: 2, rejected: 3, delayedDryRun: 4, rejectedDryRun: 5 } as const;
const STATUS_TEXTS = ["", "PASSED", "DELAYED", "REJECTED", "DELAYED_DRY_RUN", "REJECTED_DRY_RUN"];

const MAX_KEY = 65_535;

/** An entry's value, two floats: when its last request came (ms of the shared clock), and its excess in thousandths. */
const LAST = 0;
const EXCESS = 1;
const VALUE_BYTES = 16;
/** An entry that has been out of use for this long may go if it has no excess. */
const IDLE_MS = 60_000;

interface LimitSetting {
  readonly declared: DeclaredZone;
  /** In thousandths of a request. */
  readonly burst: number;
  readonly delay: number;
}

interface Limit extends Omit<LimitSetting, "declared"> {
  readonly zone: LimitZone;
}

interface Limits {
  readonly limits: readonly Limit[];
  /** The limits' numbers in the order in which every location locks zones. */
  readonly locking: readonly number[];
  readonly logLevel: LogLevel;
  readonly delayLogLevel: LogLevel;
  readonly status: number;
  readonly dryRun: boolean;
}

const zoneSpec = list({
  in: HTTP,
  args: [3, 3],
  syntax: "key zone=name:size rate=rate",
  doc: "A shared memory zone that keeps how fast requests with each value of the key come, and how fast they may: `rate=10r/s` or `rate=30r/m`. All workers count in it, and a reload keeps it. Requests with an empty key are not limited. When it is full, the keys longest out of use give way.",
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

/** Of the request being looked at, by limit: its key, "" where that limit does not apply, and its entry. */
const keys: string[] = [];
const found: number[] = [];
/** What `decide` found: the limit that it is about, and its excess. */
let decisive: Limit | undefined;
let excess = 0;
let delay = 0;

/** `decide` refuses the request: too many came, or there is no memory to count it. */
const BUSY = 1;
const NO_MEMORY = 2;

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
  const refusal = decideLocked(conf);
  if (refusal !== 0) {
    logRefusal(request, conf, refusal);
    main.limitReqStatus = conf.dryRun ? STATUS.rejectedDryRun : STATUS.rejected;
    return conf.dryRun ? DECLINED : conf.status;
  }
  if (delay === 0) {
    main.limitReqStatus = STATUS.passed;
    return DECLINED;
  }
  const dry = conf.dryRun ? ", dry run" : "";
  const zone = decisive?.zone.name;
  logError(request, conf.delayLogLevel, `delaying request${dry}, excess: ${thousandths(excess)}, by zone "${zone}"`);
  main.limitReqStatus = conf.dryRun ? STATUS.delayedDryRun : STATUS.delayed;
  if (conf.dryRun) return DECLINED;
  delayRequest(request, delay, runPhases);
  return DONE;
}

function logRefusal(request: Request, conf: Limits, refusal: number): void {
  const zone = decisive?.zone.name;
  if (refusal === NO_MEMORY) {
    logError(request, "alert", `could not allocate node in limit_req zone "${zone}"`);
    return;
  }
  const dry = conf.dryRun ? ", dry run" : "";
  logError(request, conf.logLevel, `limiting requests${dry}, excess: ${thousandths(excess)} by zone "${zone}"`);
}

function thousandths(value: number): string {
  return `${Math.floor(value / 1000)}.${String(value % 1000).padStart(3, "0")}`;
}

/** Frees the lock, should the worker that has exited have held it. */
function recover(zone: LimitZone): void {
  zone.lock();
  zone.unlock();
}

/** Decides with all its zones locked, always in the same order, so that no other worker changes what was looked at. */
function decideLocked({ limits, locking }: Limits): number {
  let locked = 0;
  try {
    for (; locked < locking.length; locked++) {
      const i = locking[locked];
      if (keys[i] !== "") limits[i].zone.lock();
    }
    return decide(limits);
  } finally {
    for (let at = locked - 1; at >= 0; at--) {
      const i = locking[at];
      if (keys[i] !== "") limits[i].zone.unlock();
    }
  }
}

/** 0 and, if no limit refuses the request, `delay`; it is then counted by all of them. Else BUSY or NO_MEMORY. */
function decide(limits: readonly Limit[]): number {
  const now = Math.floor(sharedNow());
  for (let i = 0; i < limits.length; i++) {
    if (keys[i] === "") continue;
    const refusal = look(limits[i], i, now);
    if (refusal !== 0) return refusal;
  }
  delay = 0;
  // The last limit first, as nginx does: of equal delays it is the one that is logged.
  for (let i = limits.length - 1; i >= 0; i--) if (keys[i] !== "") account(limits[i], found[i], now);
  return 0;
}

/** Finds the key's entry, or makes it, without counting the request. */
function look(limit: Limit, i: number, now: number): number {
  const { zone } = limit;
  const { entries } = zone;
  decisive = limit;
  const known = entries.find(keys[i]);
  if (known !== undefined) {
    entries.touch(known);
    found[i] = known;
    excess = excessAt(zone, known, now);
    return excess > limit.burst ? BUSY : 0;
  }
  expire(zone, now, false);
  let entry = entries.insert(keys[i], VALUE_BYTES);
  if (entry === undefined) {
    expire(zone, now, true);
    entry = entries.insert(keys[i], VALUE_BYTES);
  }
  if (entry === undefined) return NO_MEMORY;
  const { floats } = entries.zone;
  const value = entries.value(entry) >> 1;
  floats[value + LAST] = now;
  // Its first request, to be counted yet, makes that 0.
  floats[value + EXCESS] = -1000;
  found[i] = entry;
  return 0;
}

/** The excess with one more request. */
function excessAt({ entries, rate }: LimitZone, entry: number, now: number): number {
  const { floats } = entries.zone;
  const value = entries.value(entry) >> 1;
  const ms = elapsed(floats[value + LAST], now);
  return Math.max(0, floats[value + EXCESS] - Math.floor((rate * ms) / 1000) + 1000);
}

/** The ms since an entry's last request. Clocks of threads differ by little; one that is far off is not to be trusted. */
function elapsed(last: number, now: number): number {
  const ms = now - last;
  return ms < -IDLE_MS ? 1 : Math.max(0, ms);
}

function account(limit: Limit, entry: number, now: number): void {
  const { zone } = limit;
  const { entries, rate } = zone;
  const { floats } = entries.zone;
  const value = entries.value(entry) >> 1;
  const counted = excessAt(zone, entry, now);
  if (elapsed(floats[value + LAST], now) > 0) floats[value + LAST] = now;
  floats[value + EXCESS] = counted;
  if (counted <= limit.delay) return;
  const ms = Math.floor(((counted - limit.delay) * 1000) / rate);
  if (ms <= delay) return;
  delay = ms;
  excess = counted;
  decisive = limit;
}

/** Removes up to two entries that are idle, and before them, if `force` says so, the one longest out of use. */
function expire({ entries, rate }: LimitZone, now: number, force: boolean): void {
  const { floats } = entries.zone;
  for (let n = force ? 0 : 1; n < 3; n++) {
    const { oldest } = entries;
    if (oldest === undefined) return;
    if (n > 0) {
      const value = entries.value(oldest) >> 1;
      const ms = Math.abs(now - floats[value + LAST]);
      if (ms < IDLE_MS || floats[value + EXCESS] - Math.floor((rate * ms) / 1000) > 0) return;
    }
    entries.remove(oldest);
  }
}
