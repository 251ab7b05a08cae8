import { startTimer, type Timer } from "../../sys/timers.ts";

/** How often a child is asked within the time that it has. */
const ASKED = 4;

/** What the watchdog does to the child. */
interface Watched {
  ping(): void;
  /** It has not answered for so many ms. */
  expired(ms: number): void;
}

/** Finds out whether a child still handles events, by asking it now and then. */
export class Watchdog {
  readonly #timeout: () => number;
  readonly #child: Watched;
  #timer: Timer | undefined;
  #answeredAt = 0;

  /** `timeout`: ms that a child has to answer, 0 for no end; a reload may change it. */
  constructor(timeout: () => number, child: Watched) {
    this.#timeout = timeout;
    this.#child = child;
  }

  /** Begins to ask, or goes on with another timeout. */
  watch(): void {
    this.stop();
    if (this.#timeout() > 0) this.#ask(performance.now());
  }

  #ask(answeredAt: number): void {
    this.#answeredAt = answeredAt;
    this.#child.ping();
    const timeout = this.#timeout();
    this.#timer = startTimer(timeout / ASKED, () => this.#look(timeout), { background: true });
  }

  #look(timeout: number): void {
    if (performance.now() - this.#answeredAt < timeout) {
      this.#ask(this.#answeredAt);
      return;
    }
    this.#child.expired(timeout);
    // In case that it survives.
    this.#ask(performance.now());
  }

  answered(): void {
    this.#answeredAt = performance.now();
  }

  stop(): void {
    this.#timer?.clear();
    this.#timer = undefined;
  }
}
