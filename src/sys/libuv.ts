/**
 * What an engine that waits by itself has to know of the libuv loop under Node. Such an engine blocks where libuv would, as
 * long as libuv would, and goes back to it when one of its descriptors is ready. libuv's epoll
 * descriptor tells that; but libuv passes new watchers to epoll only when it polls, and has no function to ask whether any
 * are waiting for that. So the queue of those is looked at in the uv_loop_t, whose layout is part of libuv's ABI; where it is
 * is found by trial when the process starts.
 */
import { bind, functionAddress, memoryAt, uvLoopAddress } from "./ffi.ts";
import { libc } from "./libc.ts";
import { mapMemory } from "./memory.ts";

export interface UvLoop {
  /** Its epoll descriptor. */
  readonly fd: number;
  /** How long libuv would wait for events now, ms; -1 is for ever, and 0 means that it has something to do. */
  timeout(): number;
  /** libuv has watchers that epoll does not know yet: it must poll before anybody waits. */
  readonly hasNewWatchers: boolean;
  /** While it is on, libuv does not wait, but only looks. */
  spin(on: boolean): void;
  /** Whether the loop, and with it the process, goes on although nothing of libuv's is active. */
  hold(on: boolean): void;
}

/** More than any uv_handle_t has. */
const HANDLE_SIZE = 1024;
const UV_READABLE = 1;
/** EFD_NONBLOCK and EFD_CLOEXEC. */
const EVENTFD_FLAGS = 0o2004000;

/** Returns a sentence if it cannot be had. */
export function openUvLoop(): UvLoop | string {
  try {
    const c = bind(null, {
      uv_loop_size: { return: "uint64", arguments: [] },
      uv_backend_fd: { return: "int32", arguments: ["pointer"] },
      uv_backend_timeout: { return: "int32", arguments: ["pointer"] },
      uv_update_time: { return: "void", arguments: ["pointer"] },
      uv_idle_init: { return: "int32", arguments: ["pointer", "pointer"] },
      uv_idle_start: { return: "int32", arguments: ["pointer", "pointer"] },
      uv_idle_stop: { return: "int32", arguments: ["pointer"] },
      uv_prepare_init: { return: "int32", arguments: ["pointer", "pointer"] },
      uv_prepare_start: { return: "int32", arguments: ["pointer", "pointer"] },
      uv_prepare_stop: { return: "int32", arguments: ["pointer"] },
      uv_poll_init: { return: "int32", arguments: ["pointer", "pointer", "int32"] },
      uv_poll_start: { return: "int32", arguments: ["pointer", "int32", "pointer"] },
      uv_poll_stop: { return: "int32", arguments: ["pointer"] },
      uv_unref: { return: "void", arguments: ["pointer"] },
      uv_close: { return: "void", arguments: ["pointer", "pointer"], nullable: [1] },
      eventfd: { return: "int32", arguments: ["uint32", "int32"] },
    });
    // libuv keeps pointers to these handles for ever.
    const handles = mapMemory(3 * HANDLE_SIZE);
    if (handles === undefined) return "there is no memory for handles";
    const idle = handles.address;
    const trial = idle + BigInt(HANDLE_SIZE);
    const prepare = trial + BigInt(HANDLE_SIZE);
    const loop = uvLoopAddress();
    /** A function of libuv's that does nothing with a handle: these handles' callback. */
    const nothing = functionAddress("uv_is_active");
    /** The loop's own memory, which lives as long as the process. */
    const words = new BigUint64Array(memoryAt(loop, Number(c.uv_loop_size()) & ~7));

    const descriptor = c.eventfd(0, EVENTFD_FLAGS);
    if (descriptor < 0) return "eventfd() failed";
    c.uv_poll_init(loop, trial, descriptor);
    c.uv_poll_start(trial, UV_READABLE, nothing);
    const started = [...words];
    const handle = new BigUint64Array(handles.buffer.slice(HANDLE_SIZE, 2 * HANDLE_SIZE));
    c.uv_poll_stop(trial);
    const stopped = [...words];
    c.uv_close(trial, 0n);
    libc().close(descriptor);
    const queue = queueIn(started, stopped, handle, loop, trial);
    if (queue === undefined) return "this libuv's loop is not as expected";

    c.uv_idle_init(loop, idle);
    c.uv_prepare_init(loop, prepare);
    c.uv_unref(idle);
    const next = new Uint32Array(words.buffer, words.byteOffset + queue * 8, 2);
    const self = loop + BigInt(queue * 8);
    const [low, high] = [Number(self & 0xffffffffn), Number(self >> 32n)];
    return {
      fd: c.uv_backend_fd(loop),
      timeout() {
        c.uv_update_time(loop);
        return c.uv_backend_timeout(loop);
      },
      get hasNewWatchers() {
        return next[0] !== low || next[1] !== high;
      },
      spin(on) {
        if (on) c.uv_idle_start(idle, nothing);
        else c.uv_idle_stop(idle);
      },
      hold(on) {
        if (on) c.uv_prepare_start(prepare, nothing);
        else c.uv_prepare_stop(prepare);
      },
    };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/**
 * The index of the watcher queue's head, `struct uv__queue { next, prev }`: a circular list, whose last element was a field
 * of the handle while that was started, and whose head was the next of that field.
 */
function queueIn(
  started: readonly bigint[],
  stopped: readonly bigint[],
  handle: BigUint64Array,
  loop: bigint,
  address: bigint,
): number | undefined {
  const found: number[] = [];
  for (let i = 0; i + 1 < started.length; i++) {
    const field = started[i + 1] - address;
    if (field < 0n || field >= BigInt(HANDLE_SIZE) || field % 8n !== 0n) continue;
    if (stopped[i + 1] === started[i + 1]) continue;
    if (handle[Number(field / 8n)] === loop + BigInt(i * 8)) found.push(i);
  }
  return found.length === 1 ? found[0] : undefined;
}
