import {
  CQE_MORE,
  type IoUring,
  OP_ASYNC_CANCEL,
  OP_CLOSE,
  OP_CONNECT,
  OP_NOP,
  OP_POLL_ADD,
  OP_READ,
  OP_RECV,
  OP_SEND,
  POLL_ADD_MULTI,
  POLL_FIRST,
  RECV_MULTISHOT,
  SQE_ASYNC,
  SQE_BUFFER_SELECT,
  SQE_CQE_SKIP_SUCCESS,
} from "../../sys/io_uring.ts";
import { Owners } from "./owners.ts";
import { Queues } from "./queues.ts";

/** What an operation was submitted for. With its owner's id it makes the lower half of its user_data. */
export const KIND = { receive: 0, send: 1, connect: 2, close: 3, poll: 4, cancel: 5, room: 6, file: 7 } as const;
const KIND_BITS = 3;
const KIND_MASK = (1 << KIND_BITS) - 1;
const KINDS = 1 << KIND_BITS;

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** <poll.h> */
const POLLOUT = 4;

/**
 * Operations that the kernel carries out for their owners. An operation's user_data is its owner's id, what it is for, and the
 * generation of the id.
 */
export class Ring {
  readonly fd: number;
  readonly calls: IoUring;
  readonly queues: Queues;
  readonly owners: Owners = new Owners();
  /** Nobody comes to look: `onWork` is to be called when an operation is prepared. */
  asleep = true;
  onWork: () => void = () => {};
  /** How many operations are prepared or under way. */
  inFlight = 0;
  private readonly sqes: Uint32Array;

  private constructor(queues: Queues) {
    this.queues = queues;
    this.fd = queues.fd;
    this.calls = queues.calls;
    this.sqes = queues.sqes;
  }

  /** Returns a sentence if the kernel, or its policy, does not allow it. */
  static open(calls: IoUring): Ring | string {
    const queues = Queues.open(calls);
    return typeof queues === "string" ? queues : new Ring(queues);
  }

  receive(id: number, fd: number, group: number, multishot: boolean, pollFirst: boolean): void {
    const how = (multishot ? RECV_MULTISHOT : 0) | (pollFirst ? POLL_FIRST : 0);
    const at = this.prepare(id, KIND.receive, OP_RECV | (SQE_BUFFER_SELECT << 8) | (how << 16), fd);
    this.sqes[at + 10] = group;
  }

  /** The memory is the kernel's until completion. */
  send(id: number, fd: number, addressLow: number, addressHigh: number, length: number, pollFirst: boolean): void {
    const at = this.prepare(id, KIND.send, OP_SEND | ((pollFirst ? POLL_FIRST : 0) << 16), fd);
    const { sqes } = this;
    sqes[at + 4] = addressLow;
    sqes[at + 5] = addressHigh;
    sqes[at + 6] = length;
    sqes[at + 7] = MSG_NOSIGNAL;
  }

  /** The address is read when this is submitted. */
  connect(id: number, fd: number, addressLow: number, addressHigh: number, length: number): void {
    const at = this.prepare(id, KIND.connect, OP_CONNECT, fd);
    const { sqes } = this;
    sqes[at + 2] = length;
    sqes[at + 4] = addressLow;
    sqes[at + 5] = addressHigh;
  }

  /**
   * Sends what the socket takes at once; completes when it is submitted, and until then the memory is the kernel's. Returns
   * the submission's position, for `Queues.isPrepared` and the two below.
   */
  sendNow(id: number, fd: number, addressLow: number, addressHigh: number, length: number): number {
    const at = this.prepare(id, KIND.send, OP_SEND, fd);
    const { sqes } = this;
    sqes[at + 4] = addressLow;
    sqes[at + 5] = addressHigh;
    sqes[at + 6] = length;
    sqes[at + 7] = MSG_NOSIGNAL | MSG_DONTWAIT;
    return this.queues.last;
  }

  setLength(position: number, length: number): void {
    this.sqes[this.queues.indexOf(position) + 6] = length;
  }

  /** A prepared `sendNow` of `id` does nothing, and does not complete. */
  retract(id: number, position: number): void {
    const at = this.queues.replace(position, OP_NOP | (SQE_CQE_SKIP_SUCCESS << 8), 0);
    this.sqes[at + 8] = KIND.cancel;
    this.owners.end(id, KIND.send);
    this.inFlight--;
  }

  /** Completes when there are events (POLLIN …): once, or with `multishot` each time that there are new ones. */
  poll(id: number, fd: number, events: number, multishot: boolean): void {
    const at = this.prepare(id, KIND.poll, OP_POLL_ADD, fd);
    const { sqes } = this;
    sqes[at + 6] = multishot ? POLL_ADD_MULTI : 0;
    sqes[at + 7] = events;
  }

  /** Completes once, when the socket has room. */
  awaitRoom(id: number, fd: number): void {
    const at = this.prepare(id, KIND.room, OP_POLL_ADD, fd);
    this.sqes[at + 7] = POLLOUT;
  }

  /**
   * Reads from that position of a file. The memory is the kernel's until completion. By a thread of the kernel's from the
   * beginning: some file systems wait where they are tried without.
   */
  readFile(id: number, fd: number, addressLow: number, addressHigh: number, length: number, position: number): void {
    const at = this.prepare(id, KIND.file, OP_READ | (SQE_ASYNC << 8), fd);
    const { sqes } = this;
    sqes[at + 2] = position % 0x1_0000_0000;
    sqes[at + 3] = position / 0x1_0000_0000;
    sqes[at + 4] = addressLow;
    sqes[at + 5] = addressHigh;
    sqes[at + 6] = length;
  }

  /** The number is free when this was submitted; what is under way goes on until it is canceled. */
  closeFile(id: number, fd: number): void {
    this.prepare(id, KIND.close, OP_CLOSE, fd);
  }

  /** Cancels an owner's operation of that kind: it completes with ECANCELED, unless it was completing already. */
  cancel(id: number, kind: number): void {
    const at = this.prepare(-1, KIND.cancel, OP_ASYNC_CANCEL | (SQE_CQE_SKIP_SUCCESS << 8), -1);
    const { sqes } = this;
    sqes[at + 4] = (id << KIND_BITS) | kind;
    sqes[at + 5] = this.owners.generation(id);
  }

  /**
   * Cancels all operations of an owner, one by one: the kernel finds each by its number, while for all of a descriptor it would
   * search whatever every connection waits for. Of each kind one at most is with the kernel.
   */
  cancelAll(id: number): void {
    if (!this.owners.busy(id)) return;
    for (let kind = 0; kind < KINDS; kind++) {
      if (this.owners.busyWith(id, kind)) this.cancel(id, kind);
    }
  }

  /** Prepares an operation of `id` (-1: of nobody, without a result). Returns the index of its first word. */
  private prepare(id: number, kind: number, first: number, fd: number): number {
    const { sqes } = this;
    const at = this.queues.prepare(first, fd);
    if (id < 0) {
      sqes[at + 8] = kind;
    } else {
      sqes[at + 8] = (id << KIND_BITS) | kind;
      sqes[at + 9] = this.owners.generation(id);
      this.owners.begin(id, kind);
      this.inFlight++;
      if (this.asleep) this.onWork();
    }
    return at;
  }

  /** Passes up to `limit` completions to their owners, and calls `settle` after each. Returns how many there were. */
  dispatch(limit: number, settle: () => void): number {
    const { queues, owners } = this;
    const { words } = queues;
    const count = queues.ready(limit);
    for (let i = 0; i < count; i++) {
      const at = queues.take();
      const low = words[at];
      const kind = low & KIND_MASK;
      if (kind === KIND.cancel) continue;
      const id = low >>> KIND_BITS;
      const owner = owners.of(id, words[at + 1]);
      if (owner === undefined) continue;
      const flags = words[at + 3];
      if ((flags & CQE_MORE) === 0) {
        owners.end(id, kind);
        this.inFlight--;
      }
      owner.complete(kind, words[at + 2] | 0, flags);
      settle();
    }
    return count;
  }

  /** What is under way is canceled. */
  close(): void {
    this.calls.close(this.fd);
  }
}
