/**
 * What is asked of the thread's event loop: guard.ts and timers.ts use it for everybody else. It is Node's own until an
 * engine (net/engine.ts) brings another.
 */
export interface EventLoop {
  /** Calls `callback(first, second)` in the next turn, after the I/O that is ready. */
  readonly defer: <A, B>(callback: (first: A, second: B) => void, first: A, second: B) => void;
  /** Calls `callback(first, second)` after the current event, before the next one. */
  readonly afterEvent: <A, B>(callback: (first: A, second: B) => void, first: A, second: B) => void;
  /** Calls `wake` once, not before `time` (ms of the monotonic clock). There is one such call: a later one replaces it. */
  readonly wakeAt: (time: number, wake: () => void) => void;
  /** Whether that call keeps the process alive; it does unless told otherwise. */
  readonly holdProcess: (hold: boolean) => void;
}

let timeout: NodeJS.Timeout | undefined;

/** libuv's, as Node shows it. */
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

/** Before anything was asked of the one before. */
export function useEventLoop(loop: EventLoop): void {
  current = loop;
}
