import { clockNow } from "../../../sys/clock.ts";
import { defer, guarded } from "../../../sys/guard.ts";

/**
 * How long coders work in one turn of the event loop, all together: compressing 64 KiB may take several ms, in which nobody
 * else would have a turn. Each may work on a first slice of what it is given (INPUT_BYTES), which is all of a small body and
 * is not measured. Those with more continue in later turns, in the order in which they asked.
 */
const PER_TURN_MS = 1;

export interface CodingWork {
  /** Called in its turn: works while `mayCode`, and calls `nextTurn` if it is not done. */
  codeOn(): void;
  onFault(error: unknown): void;
}

/** When this turn's time is over, by the clock; 0 where nobody has asked in this turn. */
let until = 0;
let waiting: CodingWork[] = [];
/** The one whose turn it is: it may work although others wait. */
let present: CodingWork | undefined;
let turnEnds = false;

/** Whether it may work on another slice now. If not, it calls `nextTurn`. */
export function mayCode(work: CodingWork): boolean {
  if (waiting.length > 0 && present !== work) return false;
  if (until === 0) {
    until = clockNow() + PER_TURN_MS;
    endTurn();
    return true;
  }
  return clockNow() < until;
}

/** Has it called in a later turn, after those that wait already. What waits must not call this again. */
export function nextTurn(work: CodingWork): void {
  waiting.push(work);
  endTurn();
}

function endTurn(): void {
  if (turnEnds) return;
  turnEnds = true;
  defer(turn, undefined);
}

function turn(): void {
  turnEnds = false;
  until = 0;
  if (waiting.length === 0) return;
  const now = waiting;
  let next = 0;
  // What calls nextTurn meanwhile comes after what still waits.
  waiting = [];
  do {
    present = now[next++];
    guarded(codeOn, present);
  } while (next < now.length && (until === 0 || clockNow() < until));
  present = undefined;
  if (next < now.length) waiting = now.slice(next).concat(waiting);
  if (waiting.length > 0) endTurn();
}

function codeOn(work: CodingWork): void {
  work.codeOn();
}
