import { constants } from "node:os";
import { boundary, guarded } from "../sys/guard.ts";
import { libc } from "../sys/libc.ts";

/** Signals that come before there is anything to do about them wait, each once; unheeded, they would end the process. */
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

  /** From now on they are answered, and those that waited first. */
  answer(answer: (name: Name) => void): void {
    this.#answer = answer;
    for (const name of this.#waiting) guarded(answer, name);
    this.#waiting.clear();
  }
}

/**
 * Lets a signal through that bin/holdfast has had blocked until there is a handler (SIGUSR1, for which Node's own would
 * be the debugger); one that was sent before comes now. Nothing to do where it is not blocked.
 */
function unblock(signal: NodeJS.Signals): void {
  const bit = constants.signals[signal] - 1;
  // A sigset_t: 1024 bits on Linux, 32 on macOS.
  const set = Buffer.alloc(128);
  set[bit >> 3] = 1 << (bit & 7);
  libc()?.unblockSignals(set);
}

/** Signal and name as nginx's log has them: `signal 1 (SIGHUP)`. */
export function signalText(signal: NodeJS.Signals): string {
  return `signal ${constants.signals[signal]} (${signal})`;
}
