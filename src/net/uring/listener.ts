import { errnoName } from "../../sys/errno.ts";
import { contain } from "../../sys/guard.ts";
import { CQE_MORE } from "../../sys/io_uring.ts";
import { libc } from "../../sys/libc.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import { setNonBlocking } from "../../sys/write.ts";
import { type Address, addressText } from "../address.ts";
import { isLate, reserveDescriptors } from "../descriptors.ts";
import type { Listener, ListenOptions } from "../engine.ts";
import { streamError } from "../errors.ts";
import { bindSocket } from "../listening_socket.ts";
import { setSocketOptions } from "../socket_options.ts";
import { IGNORE, type Stream, type StreamError, type StreamHandler } from "../stream.ts";
import type { Context } from "./context.ts";
import type { Operator } from "./owners.ts";
import { KIND } from "./ring.ts";
import { acceptedFrom, acceptFrom } from "./socket_address.ts";
import { UringStream } from "./stream.ts";

const BACKLOG = 511;
const POLLIN = 1;
const EAGAIN = -11;
const ECONNABORTED = -103;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const ONE = Buffer.from([1, 0, 0, 0]);
/** Connections accepted before others have their turn. */
const AT_ONCE = 64;
/** After a failure to accept, such as ENOMEM, it is tried again in so many ms. */
const RETRY_MS = 100;

/**
 * Accepts connections, by accept(2) whenever a poll of the socket tells that some wait. IORING_OP_ACCEPT would take them in
 * the kernel, but waits exclusively: while several processes accept from one socket, a new connection wakes up one of them.
 * When that one has just been killed (its ring outlives it for a while) or is canceling its accept, nobody gets the
 * connection before the next one comes.
 */
class UringListener implements Listener, Operator {
  readonly address: Address;
  readonly notes: readonly string[];
  private readonly context: Context;
  private readonly fd: number;
  private readonly id: number;
  private readonly accept: (stream: Stream) => StreamHandler;
  private readonly failed: (error: StreamError) => void;
  private closed = false;
  private polling = false;
  /** `goOn` will be called. */
  private goingOn = false;
  private retry: Timer | undefined = undefined;
  private readonly goOn = (): void => {
    this.goingOn = false;
    this.acceptAll();
  };

  constructor(
    context: Context,
    fd: number,
    address: Address,
    notes: readonly string[],
    accept: (stream: Stream) => StreamHandler,
    failed: (error: StreamError) => void,
  ) {
    this.context = context;
    this.fd = fd;
    this.address = address;
    this.notes = notes;
    this.accept = accept;
    this.failed = failed;
    this.id = context.ring.owners.add(this);
    context.loop.hold();
    this.poll();
  }

  private poll(): void {
    if (this.closed || this.polling) return;
    this.polling = true;
    this.context.ring.poll(this.id, this.fd, POLLIN, true);
  }

  complete(kind: number, result: number, flags: number): void {
    const { ring } = this.context;
    if (kind === KIND.poll) {
      if ((flags & CQE_MORE) === 0) this.polling = false;
      if (result < 0) {
        if (!this.closed) this.refused(result);
      } else if (!this.goingOn) {
        this.acceptAll();
      }
    }
    if (this.closed && !ring.owners.busy(this.id)) {
      ring.owners.remove(this.id);
      this.context.loop.letGo();
    }
  }

  /** Until none waits: the poll tells only of those that come afterwards. */
  private acceptAll(): void {
    const { calls, loop } = this.context;
    for (let i = 0; i < AT_ONCE; i++) {
      if (this.closed) return;
      const fd = acceptFrom(calls, this.fd);
      if (fd >= 0) {
        this.accepted(fd, acceptedFrom());
      } else if (fd === EAGAIN) {
        this.poll();
        return;
      } else {
        this.refused(fd);
        if (fd !== ECONNABORTED) return;
      }
    }
    this.goingOn = true;
    loop.loop.defer(this.goOn, undefined, undefined);
  }

  private accepted(fd: number, remote: Address): void {
    const { address, context } = this;
    const local = address.family === "unix" ? address : undefined;
    const stream = new UringStream(context, fd, remote, local, IGNORE, true);
    try {
      stream.handler = this.accept(stream);
    } catch (error) {
      contain(undefined, error);
      stream.destroy();
    }
    stream.start();
    if (isLate(fd)) this.tell("EMFILE");
  }

  private refused(result: number): void {
    this.tell(errnoName(result));
    if (this.closed || result === ECONNABORTED) return;
    this.retry?.clear();
    this.retry = startTimer(RETRY_MS, this.goOn);
  }

  private tell(code: string): void {
    try {
      this.failed(streamError({ code }));
    } catch (error) {
      contain(undefined, error);
    }
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.retry?.clear();
    const { ring } = this.context;
    if (this.polling) ring.cancel(this.id, KIND.poll);
    ring.closeFile(this.id, this.fd);
  }

  /** The process ends. */
  abandon(): void {
    this.context.calls.close(this.fd);
  }
}

/** Listens: `Engine.listen`. Throws the StreamError. */
export function listen(
  context: Context,
  options: ListenOptions,
  accept: (stream: Stream) => StreamHandler,
  failed: (error: StreamError) => void,
): Listener {
  const { address, ipv6only, reusePort, backlog = BACKLOG } = options;
  const c = libc();
  reserveDescriptors();
  let { fd } = options;
  let notes: readonly string[] = [];
  if (fd === undefined) {
    const bound = bindSocket({ address, ipv6only, join: reusePort === true });
    if (!("fd" in bound)) throw streamError({ code: bound.code });
    ({ fd } = bound);
    notes = setSocketOptions(fd, options, addressText(address));
  }
  setNonBlocking(fd);
  // Accepted sockets inherit it.
  if (address.family !== "unix") c.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, ONE);
  if (c.listen(fd, backlog) < 0) {
    const code = c.errnoName();
    context.calls.close(fd);
    throw streamError({ code });
  }
  return new UringListener(context, fd, address, notes, accept, failed);
}
