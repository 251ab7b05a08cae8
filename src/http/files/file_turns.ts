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

/** What the kernel sends is not copied: so many bytes of it take a turn as much time as one that is read, or less. */
const SENT_FOR_READ = 4;

/** Counts bytes that the kernel has sent from a file. */
export function spendSent(bytes: number): void {
  spend(bytes / SENT_FOR_READ);
}

/** Has the reader called in a later turn, after those that wait already. A reader that waits must not call this again. */
export function nextTurn(reader: Turn): void {
  turns.next(reader);
}
