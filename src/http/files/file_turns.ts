import { defer, guarded } from "../../sys/guard.ts";

/**
 * How many bytes of files are read in one turn of the event loop, by all readers together. A read from the page cache
 * is cheap, but three hundred in a row would block everybody else. Readers that find the turn's share used up continue
 * in a later turn, in the order in which they asked.
 */
const PER_TURN = 1024 * 1024;

/** Something that sends a file piece by piece. */
export interface FileReader {
  /** Called in its turn: reads while `mayRead`, and calls `nextTurn` if it is not done. */
  readOn(): void;
  onFault(error: unknown): void;
}

let left = PER_TURN;
let waiting: FileReader[] = [];
/** The reader whose turn it is: it may read although others wait. */
let present: FileReader | undefined;
let turnEnds = false;

/** Whether the reader may read a piece now. If not, it calls `nextTurn`. */
export function mayRead(reader: FileReader): boolean {
  return left > 0 && (waiting.length === 0 || present === reader);
}

/** Counts bytes that were read. */
export function spend(bytes: number): void {
  left -= bytes;
  if (!turnEnds) endTurn();
}

/**
 * Has the reader called in a later turn, after those that wait already. A reader that waits must not call this again.
 */
export function nextTurn(reader: FileReader): void {
  waiting.push(reader);
  if (!turnEnds) endTurn();
}

function endTurn(): void {
  turnEnds = true;
  defer(turn, undefined);
}

function turn(): void {
  turnEnds = false;
  left = PER_TURN;
  const readers = waiting;
  if (readers.length === 0) return;
  let next = 0;
  // Readers that call nextTurn meanwhile come after those that still wait.
  waiting = [];
  while (next < readers.length && left > 0) {
    present = readers[next++];
    guarded(readOn, present);
  }
  present = undefined;
  if (next < readers.length) waiting = readers.slice(next).concat(waiting);
  if (waiting.length > 0 && !turnEnds) endTurn();
}

function readOn(reader: FileReader): void {
  reader.readOn();
}
