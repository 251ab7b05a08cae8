import { contain } from "../../sys/guard.ts";
import { CQE_MORE, errnoName } from "../../sys/io_uring.ts";
import { libc } from "../../sys/libc.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import { type Address, addressText } from "../address.ts";
import { isLate, reserveDescriptors } from "../descriptors.ts";
import type { Listener, ListenOptions } from "../engine.ts";
import { streamError } from "../errors.ts";
import { bindSocket } from "../listening_socket.ts";
import { setSocketOptions } from "../socket_options.ts";
import { IGNORE, type Stream, type StreamError, type StreamHandler } from "../stream.ts";
import type { Context } from "./context.ts";
import { KIND, type Operator } from "./ring.ts";
import { remoteAddress } from "./socket_address.ts";
import { UringStream } from "./stream.ts";

const BACKLOG = 511;
const ECANCELED = -125;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const ONE = Buffer.from([1, 0, 0, 0]);
/** After a failure to accept, such as ENOMEM, it is tried again in so many ms. */
const RETRY_MS = 100;

/**
 * Accepts connections. A multishot accept takes all that wait; where so many could need descriptors that are reserved, they
 * are accepted one at a time.
 */
class UringListener implements Listener, Operator {
  readonly address: Address;
  readonly notes: readonly string[];
  private readonly context: Context;
  private readonly fd: number;
  private readonly id: number;
  private readonly backlog: number;
  private readonly accept: (stream: Stream) => StreamHandler;
  private readonly failed: (error: StreamError) => void;
  private closed = false;
  private armed = false;
  private multishot = true;
  private retry: Timer | undefined = undefined;

  constructor(
    context: Context,
    fd: number,
    { address, backlog = BACKLOG }: ListenOptions,
    notes: readonly string[],
    accept: (stream: Stream) => StreamHandler,
    failed: (error: StreamError) => void,
  ) {
    this.context = context;
    this.fd = fd;
    this.address = address;
    this.backlog = backlog;
    this.notes = notes;
    this.accept = accept;
    this.failed = failed;
    this.id = context.ring.add(this);
    this.multishot = !isLate(fd + backlog);
    context.loop.hold();
    this.arm();
  }

  private arm(): void {
    if (this.closed || this.armed) return;
    this.armed = true;
    this.context.ring.accept(this.id, this.fd, this.multishot);
  }

  complete(kind: number, result: number, flags: number): void {
    const { ring } = this.context;
    if (kind === KIND.accept) {
      if ((flags & CQE_MORE) === 0) this.armed = false;
      if (result >= 0) this.accepted(result);
      else if (result !== ECANCELED && !this.closed) this.refused(result);
      else this.arm();
    }
    if (this.closed && ring.pending(this.id) === 0) {
      ring.remove(this.id);
      this.context.loop.letGo();
    }
  }

  /** Also after `close`: the connection was taken from the queue, and nobody else would get it. */
  private accepted(fd: number): void {
    const { address, context } = this;
    const unix = address.family === "unix";
    const stream = new UringStream(
      context,
      fd,
      unix ? { family: "unix", path: "" } : remoteAddress(context.calls, fd),
      unix ? address : undefined,
      IGNORE,
      true,
    );
    try {
      stream.handler = this.accept(stream);
    } catch (error) {
      contain(undefined, error);
      stream.destroy();
    }
    stream.start();
    if (this.multishot === isLate(fd + this.backlog)) {
      this.multishot = !this.multishot;
      if (this.armed && !this.closed) context.ring.cancel(this.id, KIND.accept);
    }
    this.arm();
    if (isLate(fd)) this.tell("EMFILE");
  }

  private refused(result: number): void {
    this.tell(errnoName(result));
    if (this.closed || this.armed) return;
    this.retry?.clear();
    this.retry = startTimer(RETRY_MS, () => this.arm());
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
    if (this.armed) ring.cancel(this.id, KIND.accept);
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
  if (c === undefined) throw streamError({ code: "ENOTSUP" });
  reserveDescriptors();
  let { fd } = options;
  let notes: readonly string[] = [];
  if (fd === undefined) {
    const bound = bindSocket({ address, ipv6only, join: reusePort === true });
    if (!("fd" in bound)) throw streamError({ code: bound.code });
    ({ fd } = bound);
    notes = setSocketOptions(fd, options, addressText(address));
  }
  // Accepted sockets inherit it.
  if (address.family !== "unix") c.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, ONE);
  if (c.listen(fd, backlog) < 0) {
    const code = errnoName(-c.errno());
    context.calls.close(fd);
    throw streamError({ code });
  }
  return new UringListener(context, fd, options, notes, accept, failed);
}
