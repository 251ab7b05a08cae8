import { constants } from "node:os";
import { boundary, guarded } from "../sys/guard.ts";
import { libc } from "../sys/libc.ts";

/** Handles signals whose default action would kill the process. Until there is a handler they are kept, each once. */
export class Signals<Name extends NodeJS.Signals> {
  readonly #waiting = new Set<Name>();
  #answer: ((name: Name) => void) | undefined;

  constructor(names: readonly Name[]) {
    for (const name of names) {
      const received = boundary(undefined, () => {
        if (this.#answer === undefined) this.#waiting.add(name);
        else this.#answer(name);
      });
      process.on(name, received);
    }
    unblock("SIGUSR1");
  }

  /** Sets the handler, and calls it for those that were kept. */
  answer(answer: (name: Name) => void): void {
    this.#answer = answer;
    for (const name of this.#waiting) guarded(answer, name);
    this.#waiting.clear();
  }
}

/**
 * Unblocks SIGUSR1, which bin/holdfast starts Node with blocked, since Node's own handler starts the debugger. If one is
 * pending it is delivered now.
 */
function unblock(signal: NodeJS.Signals): void {
  const bit = constants.signals[signal] - 1;
  // A sigset_t: 1024 bits.
  const set = Buffer.alloc(128);
  set[bit >> 3] = 1 << (bit & 7);
  libc().unblockSignals(set);
}

/** Signal and name as nginx's log has them: `signal 1 (SIGHUP)`. */
export function signalText(signal: NodeJS.Signals): string {
  return `signal ${constants.signals[signal]} (${signal})`;
}
