import { sharedNow } from "../../../sys/clock.ts";
import type { LimitZone } from "./limit_zone.ts";

/** limit_req's leaky buckets: one for each key of a zone (ngx_http_limit_req_lookup, ngx_http_limit_req_account). */

/** An entry's value, two floats: when its last request came (ms of the shared clock), and its excess in thousandths. */
const LAST = 0;
const EXCESS = 1;
const VALUE_BYTES = 16;
/**
 * In a zone that nodes share, further words: how many requests the others have not been told of, and where the entry is in the
 * list of those that have some.
 */
const UNTOLD = 4;
export const LINKS = 5;
const SHARED_BYTES = 32;
/** An entry unused for this long may be removed if it has no excess. */
const IDLE_MS = 60_000;

/** One `limit_req`. */
export interface Limit {
  readonly zone: LimitZone;
  /** In thousandths of a request. */
  readonly burst: number;
  readonly delay: number;
}

/** The limits of a location. */
export interface Buckets {
  readonly limits: readonly Limit[];
  /** The limits' numbers in the order in which every location locks zones: two that differed could deadlock. */
  readonly locking: readonly number[];
}

/** Input of `countRequest`: the request's key for each limit, "" if that limit does not apply to it. */
export const keys: string[] = [];
/** The keys' entries. */
const found: number[] = [];
/**
 * Output of `countRequest`: how long the request has to wait (ms), the limit that delays or refuses it, and its excess.
 */
export const decision: { delay: number; limit: Limit | undefined; excess: number } = {
  delay: 0,
  limit: undefined,
  excess: 0,
};

/** Too many requests came. */
const BUSY = 1;
/** There is no memory to count it. */
export const NO_MEMORY = 2;

/**
 * Counts a request whose keys are in `keys`, unless a limit refuses it: 0, or BUSY or NO_MEMORY. All zones are locked
 * meanwhile, so that no other worker changes what was looked at.
 */
export function countRequest({ limits, locking }: Buckets): number {
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

function decide(limits: readonly Limit[]): number {
  const now = Math.floor(sharedNow());
  for (let i = 0; i < limits.length; i++) {
    if (keys[i] === "") continue;
    const refusal = look(limits[i], i, now);
    if (refusal !== 0) return refusal;
  }
  decision.delay = 0;
  // From the last limit to the first, as in nginx: of equal delays the last limit's is logged.
  for (let i = limits.length - 1; i >= 0; i--) if (keys[i] !== "") account(limits[i], found[i], now);
  return 0;
}

/** Finds the key's entry, or makes it, without counting the request. */
function look(limit: Limit, i: number, now: number): number {
  const { zone } = limit;
  const { entries } = zone;
  decision.limit = limit;
  const known = entries.find(keys[i]);
  if (known !== undefined) {
    entries.touch(known);
    found[i] = known;
    decision.excess = excessAt(zone, known, now);
    return decision.excess > limit.burst ? BUSY : 0;
  }
  const entry = make(zone, keys[i], now, true);
  if (entry === undefined) return NO_MEMORY;
  found[i] = entry;
  return 0;
}

/** An entry for a key that has none. `force`: another one may have to give way. */
function make(zone: LimitZone, key: string, now: number, force: boolean): number | undefined {
  const { entries } = zone;
  const bytes = zone.changed === undefined ? VALUE_BYTES : SHARED_BYTES;
  expire(zone, now, false);
  let entry = entries.insert(key, bytes);
  if (entry === undefined && force) {
    expire(zone, now, true);
    entry = entries.insert(key, bytes);
  }
  if (entry === undefined) return undefined;
  const { floats } = entries.zone;
  const value = entries.value(entry) >> 1;
  floats[value + LAST] = now;
  // Counting its first request makes that 0.
  floats[value + EXCESS] = -1000;
  return entry;
}

/** The excess if one more request is counted. */
function excessAt({ entries, rate }: LimitZone, entry: number, now: number): number {
  const { floats } = entries.zone;
  const value = entries.value(entry) >> 1;
  const ms = elapsed(floats[value + LAST], now);
  return Math.max(0, floats[value + EXCESS] - Math.floor((rate * ms) / 1000) + 1000);
}

/**
 * The ms since an entry's last request. Clocks of workers differ by little; a last request far in the future is not
 * credible.
 */
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
  if (zone.shared) noteUntold(zone, entry);
  if (counted <= limit.delay) return;
  const ms = Math.floor(((counted - limit.delay) * 1000) / rate);
  if (ms <= decision.delay) return;
  decision.delay = ms;
  decision.excess = counted;
  decision.limit = limit;
}

// ---- zones that nodes share

function noteUntold({ entries, changed }: LimitZone, entry: number): void {
  const { words } = entries.zone;
  if (words[entries.value(entry) + UNTOLD]++ === 0) changed?.add(entry);
}

/** The next key that others are to be told of, in `untold`. Returns false where there is none. Wants the lock. */
export function takeUntold({ entries, changed }: LimitZone): boolean {
  const entry = changed?.first;
  if (changed === undefined || entry === undefined) return false;
  const { words } = entries.zone;
  const count = entries.value(entry) + UNTOLD;
  untold.key = entries.key(entry);
  untold.count = words[count];
  words[count] = 0;
  changed.remove(entry);
  return true;
}

export const untold = { key: "", count: 0 };

/**
 * Counts requests that other nodes have had, as if they came now. Returns false where there is no room for the key: none gives way to
 * it. Wants the lock.
 */
export function countElsewhere(zone: LimitZone, key: string, requests: number): boolean {
  const { entries, rate } = zone;
  const now = Math.floor(sharedNow());
  const entry = entries.find(key) ?? make(zone, key, now, false);
  if (entry === undefined) return false;
  entries.touch(entry);
  const { floats } = entries.zone;
  const value = entries.value(entry) >> 1;
  const ms = elapsed(floats[value + LAST], now);
  const left = Math.max(-1000, floats[value + EXCESS] - Math.floor((rate * ms) / 1000));
  if (ms > 0) floats[value + LAST] = now;
  floats[value + EXCESS] = left + requests * 1000;
  return true;
}

/** Removes up to two idle entries; with `force` also the least recently used one, whatever its state. */
function expire({ entries, rate, changed }: LimitZone, now: number, force: boolean): void {
  const { floats } = entries.zone;
  for (let n = force ? 0 : 1; n < 3; n++) {
    const { oldest } = entries;
    if (oldest === undefined) return;
    if (n > 0) {
      const value = entries.value(oldest) >> 1;
      const ms = Math.abs(now - floats[value + LAST]);
      if (ms < IDLE_MS || floats[value + EXCESS] - Math.floor((rate * ms) / 1000) > 0) return;
    }
    changed?.remove(oldest);
    entries.remove(oldest);
  }
}
