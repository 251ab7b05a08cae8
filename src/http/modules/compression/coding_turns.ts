import { clockNow } from "../../../sys/clock.ts";
import { type Turn, Turns } from "../../../sys/turns.ts";

/**
 * How long coders work in one turn of the event loop, all together: compressing 64 KiB may take several ms, in which nobody
 * else would have a turn. Each may work on a first slice of what it is given (INPUT_BYTES), which is all of a small body and
 * is not measured.
 */
const PER_TURN_MS = 1;

/** When this turn's time is over, by the clock; 0 where nobody has asked in this turn. */
let until = 0;

const turns = new Turns({
  renew() {
    until = 0;
  },
  isUsed: () => until !== 0 && clockNow() >= until,
});

/** Whether it may work on another slice now. If not, it calls `nextTurn`. */
export function mayCode(work: Turn): boolean {
  if (!turns.may(work)) return false;
  if (until === 0) {
    until = clockNow() + PER_TURN_MS;
    turns.begun();
  }
  return true;
}

/** Has it called in a later turn, after those that wait already. What waits must not call this again. */
export function nextTurn(work: Turn): void {
  turns.next(work);
}
