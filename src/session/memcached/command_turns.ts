import { type Turn, Turns } from "../../sys/turns.ts";

/**
 * How many commands, and keys of a get, are answered in one turn of the event loop, for all clients together: one line may ask for
 * half a million keys, and nobody else would have a turn.
 */
const PER_TURN = 256;

let left = PER_TURN;

const turns = new Turns({
  renew() {
    left = PER_TURN;
  },
  isUsed: () => left <= 0,
});

/** Whether a client's next command may be answered now. If not, it calls `nextTurn`. */
export function mayAnswer(client: Turn): boolean {
  if (!turns.may(client)) return false;
  left--;
  turns.begun();
  return true;
}

/** Has the client called in a later turn, after those that wait already. Who waits must not call this again. */
export function nextTurn(client: Turn): void {
  turns.next(client);
}
