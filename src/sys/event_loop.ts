/**
 * The functions of the process's event loop that guard.ts and timers.ts are built on. They are Node's own unless the
 * engine (net/engine.ts) has others.
 */
export interface EventLoop {
  /** Calls `callback(first, second)` in the next turn, after the I/O that is ready. */
  readonly defer: <A, B>(callback: (first: A, second: B) => void, first: A, second: B) => void;
  /** Calls `callback(first, second)` after the current event, before the next one. */
  readonly afterEvent: <A, B>(callback: (first: A, second: B) => void, first: A, second: B) => void;
  /** Calls `wake` once, not before `time` (ms of the monotonic clock). Only the last `wakeAt` counts. */
  readonly wakeAt: (time: number, wake: () => void) => void;
  /** Whether a pending `wakeAt` keeps the process alive; by default it does. */
  readonly holdProcess: (hold: boolean) => void;
}

let timeout: NodeJS.Timeout | undefined;

/** libuv, through Node. */
export const nodeLoop: EventLoop = {
  defer: (callback, first, second) => void setImmediate(callback, first, second),
  afterEvent: (callback, first, second) => process.nextTick(callback, first, second),
  wakeAt(time, wake) {
    clearTimeout(timeout);
    timeout = setTimeout(wake, Math.max(1, Math.ceil(time - performance.now())));
  },
  holdProcess(hold) {
    if (hold) timeout?.ref();
    else timeout?.unref();
  },
};

let current = nodeLoop;

export function eventLoop(): EventLoop {
  return current;
}

/** To be called before any function of the former loop was. */
export function useEventLoop(loop: EventLoop): void {
  current = loop;
}
