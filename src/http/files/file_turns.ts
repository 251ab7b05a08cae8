import { defer, guarded } from "../../sys/guard.ts";

/**
 * How many bytes of files one turn of the event loop reads, all readers together: a read from the page cache is cheap,
 * but three hundred of them would keep everybody else waiting. Who finds the turn's bytes used up goes on in a later
 * one, in the order in which they asked.
 */
const PER_TURN = 1024 * 1024;

/** Something that sends a file piece by piece. */
export interface FileReader {
  /** Its turn has come: it reads while `mayRead`, and asks for another turn (`nextTurn`) where it wants one. */
  readOn(): void;
  onFault(error: unknown): void;
}

let left = PER_TURN;
let waiting: FileReader[] = [];
/** Who may read although others wait: it is its turn. */
let present: FileReader | undefined;
let turnEnds = false;

/** Whether the reader may read a piece now. Where it may not, it asks for another turn. */
export function mayRead(reader: FileReader): boolean {
  return left > 0 && (waiting.length === 0 || present === reader);
}

/** So many bytes were read. */
export function spend(bytes: number): void {
  left -= bytes;
  if (!turnEnds) endTurn();
}

/** The reader goes on in a later turn, behind those that wait already. One that waits must not ask again. */
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
  // Whoever asks meanwhile comes behind those that wait: it finds them in `waiting`.
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
