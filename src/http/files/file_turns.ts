import { type Turn, Turns } from "../../sys/turns.ts";

/**
 * How many bytes of files are read in one turn of the event loop, by all readers together. A read from the page cache
 * is cheap, but three hundred in a row would block everybody else.
 */
const PER_TURN = 1024 * 1024;

let left = PER_TURN;

const turns = new Turns({
  renew() {
    left = PER_TURN;
  },
  isUsed: () => left <= 0,
});

/** Whether the reader may read a piece now. If not, it calls `nextTurn`. */
export function mayRead(reader: Turn): boolean {
  return turns.may(reader);
}

/** Counts bytes that were read. */
export function spend(bytes: number): void {
  left -= bytes;
  turns.begun();
}

/** Has the reader called in a later turn, after those that wait already. A reader that waits must not call this again. */
export function nextTurn(reader: Turn): void {
  turns.next(reader);
}
