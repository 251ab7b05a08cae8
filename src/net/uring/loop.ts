import { enterEvent, leaveEvent } from "../../sys/clock.ts";
import { errnoName, errnoText } from "../../sys/errno.ts";
import { type EventLoop, nodeLoop } from "../../sys/event_loop.ts";
import { openUvLoop, type UvLoop } from "../../sys/libuv.ts";
import type { Operator } from "./owners.ts";
import { KIND, type Ring } from "./ring.ts";

/** Completions handled before deferred calls, timers and the rest of Node have their turn. */
const AT_ONCE = 256;
const POLLIN = 1;

/** Calls whose arguments are kept beside them, so that none needs a closure. */
class Calls {
  private functions: ((first: unknown, second: unknown) => void)[] = [];
  private firsts: unknown[] = [];
  private seconds: unknown[] = [];

  get length(): number {
    return this.functions.length;
  }

  add<A, B>(callback: (first: A, second: B) => void, first: A, second: B): void {
    this.functions.push(callback as (first: unknown, second: unknown) => void);
    this.firsts.push(first);
    this.seconds.push(second);
  }

  call(index: number): void {
    this.functions[index](this.firsts[index], this.seconds[index]);
  }

  clear(): void {
    this.functions.length = 0;
    this.firsts.length = 0;
    this.seconds.length = 0;
  }
}

/** process.nextTick's queue and the microtasks: what Node runs between two callbacks. Not in its manual. */
interface TickingProcess {
  _tickCallback?: () => void;
}

/**
 * Waits in io_uring_enter where libuv would wait in epoll_wait, so that a turn of the ring costs one system call. libuv's
 * epoll descriptor is polled through the ring: when it is ready, or a timer or immediate is due, libuv has its turn. A turn
 * of the ring is an immediate, in which rounds of completions follow each other as long as libuv has nothing to do. Ticks and
 * microtasks run after a round's completions, not after each: what a request needs is neither, and to ask costs a call into
 * V8.
 */
export class RingLoop implements Operator {
  readonly loop: EventLoop;
  private readonly ring: Ring;
  private readonly uv: UvLoop;
  private readonly ticks: () => void;
  private readonly id: number;
  /** The ring polls libuv's descriptor; when that is done, libuv has events. */
  private polling = false;
  private uvReady = false;
  private inTurn = false;
  private after = new Calls();
  private deferred = new Calls();
  private due = new Calls();
  /** Called before each wait. */
  private readonly beforeWait: () => void;
  private holders = 0;
  private readonly turn = (): void => this.run();
  private readonly settle = (): void => this.callAfter();

  private constructor(ring: Ring, uv: UvLoop, ticks: () => void, beforeWait: () => void) {
    this.ring = ring;
    this.uv = uv;
    this.ticks = ticks;
    this.beforeWait = beforeWait;
    this.id = ring.owners.add(this);
    ring.onWork = () => this.wake();
    this.loop = {
      ...nodeLoop,
      defer: (callback, first, second) => {
        if (this.inTurn) this.deferred.add(callback, first, second);
        else nodeLoop.defer(callback, first, second);
      },
      afterEvent: (callback, first, second) => {
        if (this.inTurn) this.after.add(callback, first, second);
        else nodeLoop.afterEvent(callback, first, second);
      },
    };
  }

  /** Returns a sentence if this Node is not as expected. */
  static open(ring: Ring, beforeWait: () => void): RingLoop | string {
    const ticks = (process as TickingProcess)._tickCallback;
    if (typeof ticks !== "function") return "this Node has no process._tickCallback";
    let ticked = false;
    process.nextTick(() => {
      ticked = true;
    });
    ticks();
    if (!ticked) return "this Node's process._tickCallback is not as expected";
    const uv = openUvLoop();
    return typeof uv === "string" ? uv : new RingLoop(ring, uv, ticks, beforeWait);
  }

  /** A stream or listener keeps the process alive; so it does until `letGo`. */
  hold(): void {
    if (this.holders++ === 0) this.uv.hold(true);
  }

  letGo(): void {
    if (--this.holders === 0) this.uv.hold(false);
  }

  /** Sees to it that there is a turn. */
  wake(): void {
    if (!this.ring.asleep) return;
    this.ring.asleep = false;
    this.schedule();
  }

  /** The immediate does not keep libuv from waiting, nor the process alive: `spin` and `hold` do. */
  private schedule(): void {
    this.uv.spin(true);
    setImmediate(this.turn).unref();
  }

  private run(): void {
    const { ring, uv } = this;
    this.uvReady = false;
    uv.spin(false);
    if (!this.polling) {
      this.polling = true;
      ring.poll(this.id, uv.fd, POLLIN, false);
    }
    this.inTurn = true;
    try {
      // Whatever libuv has to do, there is one round.
      for (let wait = 0; ; ) {
        this.round(wait);
        wait = this.uvReady || uv.hasNewWatchers ? 0 : uv.timeout();
        if (wait === 0) break;
        if (this.deferred.length > 0 || ring.queues.completed) wait = 0;
        else if (ring.inFlight === 1 && this.polling) break;
      }
    } finally {
      this.inTurn = false;
      // Only libuv's descriptor is polled: there is nothing to wait for.
      if (ring.inFlight === 1 && this.polling && this.deferred.length === 0) ring.asleep = true;
      else this.schedule();
    }
  }

  private round(wait: number): void {
    const { ring } = this;
    this.beforeWait();
    const failed = ring.queues.wait(wait);
    if (failed < 0) throw new Error(`io_uring_enter() failed ${errnoText(errnoName(failed))}`);
    enterEvent();
    if (ring.dispatch(AT_ONCE, this.settle) > 0) this.runTicks();
    // As with Node's immediates, what these defer has its turn in the next round.
    const { deferred } = this;
    this.deferred = this.due;
    this.due = deferred;
    for (let i = 0; i < deferred.length; i++) {
      deferred.call(i);
      this.callAfter();
    }
    if (deferred.length > 0) this.runTicks();
    deferred.clear();
    leaveEvent();
    this.beforeWait();
  }

  /** Calls that wait for the end of an event. */
  private callAfter(): void {
    const { after } = this;
    if (after.length === 0) return;
    for (let i = 0; i < after.length; i++) after.call(i);
    after.clear();
  }

  private runTicks(): void {
    try {
      this.ticks();
    } catch (error) {
      // As in Node, an exception that nobody has caught.
      setImmediate(() => {
        throw error;
      });
    }
  }

  /** libuv's descriptor is ready. */
  complete(kind: number): void {
    if (kind !== KIND.poll) return;
    this.polling = false;
    this.uvReady = true;
  }
}
