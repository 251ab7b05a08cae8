/** An event loop whose turns and whose time are the test's. */
import { type EventLoop, useEventLoop } from "../../src/sys/event_loop.ts";

type Call = () => void;

export class VirtualLoop {
  /** performance.now(), ms. */
  time = 1_000_000;
  #events: Call[] = [];
  #turns: Call[] = [];
  #wake: { readonly time: number; readonly call: Call } | undefined;

  /** To be called before anything is deferred. */
  install(): void {
    const loop: EventLoop = {
      defer: (callback, first, second) => void this.#turns.push(() => callback(first, second)),
      afterEvent: (callback, first, second) => void this.#events.push(() => callback(first, second)),
      wakeAt: (time, call) => {
        this.#wake = { time, call };
      },
      holdProcess: () => {},
    };
    useEventLoop(loop);
    performance.now = () => this.time;
  }

  /** What was to be called after the event that has just been. */
  endEvent(): void {
    for (let calls = this.#events; calls.length > 0; calls = this.#events) {
      this.#events = [];
      for (const call of calls) call();
    }
  }

  /** The next turn: what was deferred to it. */
  turn(): void {
    this.endEvent();
    const calls = this.#turns;
    this.#turns = [];
    for (const call of calls) {
      call();
      this.endEvent();
    }
  }

  /** Turns until nothing is deferred any more. */
  settle(): void {
    this.endEvent();
    for (let turns = 0; this.#turns.length > 0; turns++) {
      if (turns > 1000) throw new Error("something defers itself again and again");
      this.turn();
    }
  }

  /** Passes time: deadlines within it expire. */
  pass(ms: number): void {
    const until = this.time + ms;
    while (this.#wake !== undefined && this.#wake.time <= until) {
      const { time, call } = this.#wake;
      this.#wake = undefined;
      this.time = Math.max(this.time, time);
      call();
      this.settle();
    }
    this.time = until;
  }
}
