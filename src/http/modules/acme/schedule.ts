import { randomInt32 } from "../../../sys/random.ts";

/** When certificates are ordered, renewed and asked about: nginx's times. All are ms since 1970. */

const SECOND = 1000;
const DAY = 86_400 * SECOND;

/** How long after the first, second, third failure it is tried again, and after each further one. */
const RETRIES = [60 * SECOND, 600 * SECOND, 6000 * SECOND];
const LAST_RETRY = DAY;
const LAST_INFO_RETRY = 6 * 3600 * SECOND;

/** How long a certificate is in use at least, or a quarter of its lifetime; ms. */
const LEAST_LIFE = 3600 * SECOND;

/** The server's renewal information (RFC 9773) is asked for again after what it says, within these bounds. */
const INFO_INTERVAL = { least: 60 * SECOND, usual: 12 * 3600 * SECOND, most: DAY } as const;

export interface Interval {
  readonly start: number;
  readonly end: number;
}

/**
 * What is next for an order: its first certificate, a renewal, to ask the server when to renew; "invalid": nothing, until
 * the configuration is another.
 */
export interface Schedule {
  readonly phase: "request" | "renewal" | "renewal info" | "invalid";
  readonly next: number;
  /** How often it has failed in a row. */
  readonly fails: number;
}

export const AT_ONCE: Schedule = { phase: "request", next: 0, fails: 0 };
export const INVALID: Schedule = { phase: "invalid", next: Number.POSITIVE_INFINITY, fails: 0 };
/** A certificate from an earlier run: whether the server has renewal information is not known yet. */
export const ASK_FIRST: Schedule = { phase: "renewal info", next: 0, fails: 0 };

/**
 * When to renew where the server does not say: when a third of the lifetime is left, or half of it where that is 10 days or
 * less, give or take 2 %.
 */
export function renewalWindow({ start, end }: Interval): Interval {
  const lifetime = end - start;
  const at = start + (lifetime > 10 * DAY ? (lifetime * 2) / 3 : lifetime / 2);
  const give = (lifetime * 2) / 100;
  return { start: at - give, end: at + give };
}

export function renewWithin(window: Interval): Schedule {
  return { phase: "renewal", next: randomIn(window), fails: 0 };
}

/** After the server has said when. `retryAfter`: in how many ms it wants to be asked again. */
export function renewAsTold(window: Interval, retryAfter: number | undefined): Schedule {
  const { least, usual, most } = INFO_INTERVAL;
  const again = Date.now() + Math.min(Math.max(retryAfter ?? usual, least), most);
  const next = randomIn(window);
  return next < again ? { phase: "renewal", next, fails: 0 } : { phase: "renewal info", next: again, fails: 0 };
}

/**
 * Of a certificate just issued. A clock that is wrong, or a CA that always wants it to be replaced at once, is not to order one
 * after the other.
 */
export function notAtOnce(schedule: Schedule, { start, end }: Interval): Schedule {
  const earliest = Date.now() + Math.min(LEAST_LIFE, Math.max(0, end - start) / 4);
  return { ...schedule, next: Math.max(schedule.next, earliest) };
}

/** After a failure. `window`: when the certificate in use is to be renewed at the latest. */
export function retryLater({ phase, fails }: Schedule, window: Interval | undefined): Schedule {
  if (phase === "invalid") return INVALID;
  const next = Date.now() + retryInterval(fails, phase === "renewal info" ? LAST_INFO_RETRY : LAST_RETRY);
  if (phase === "renewal info" && window !== undefined && next >= window.end) return renewWithin(window);
  return { phase, next, fails: fails + 1 };
}

/** How long to wait after so many failures before, ms. */
export function retryInterval(fails: number, last = LAST_RETRY): number {
  const interval = RETRIES[fails] ?? last;
  // Not all at the same time: give or take 2 %.
  return interval * (0.98 + 0.04 * random());
}

function randomIn({ start, end }: Interval): number {
  return start + Math.max(0, end - start) * random();
}

function random(): number {
  return (randomInt32() >>> 0) / 2 ** 32;
}
