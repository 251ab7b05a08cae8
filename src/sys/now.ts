/**
 * The time, read once for all that one event does. Reading a clock costs some 60 ns, and a proxied request wants it a
 * dozen times. Whoever brings bytes into the thread (net/node/tcp.ts) wraps the event in `enterEvent` and `leaveEvent`;
 * outside of an event the clocks are read anew, so a time is never older than the event it belongs to.
 */

let inEvent = false;
let monotonic = 0;
/** What to add to the monotonic clock for the time of day; the time of day may be set meanwhile, so it is measured again. */
let offset = Date.now() - performance.now();
let measured = performance.now();
/** How often, in ms. */
const MEASURE = 200;

/** Fixes the time for the event that begins. */
export function enterEvent(): void {
  monotonic = performance.now();
  if (monotonic - measured > MEASURE) {
    measured = monotonic;
    offset = Date.now() - monotonic;
  }
  inEvent = true;
}

export function leaveEvent(): void {
  inEvent = false;
}

/** The monotonic clock (performance.now()), ms. */
export function now(): number {
  return inEvent ? monotonic : performance.now();
}

/** The same clock with an origin that all threads share: each has its own for performance.now(). */
export function sharedNow(): number {
  return now() + ORIGIN;
}

const ORIGIN = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** The time of day, whole ms since 1970. */
export function wallNow(): number {
  return inEvent ? Math.floor(monotonic + offset) : Date.now();
}
