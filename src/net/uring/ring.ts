import { errnoName, errnoText } from "../../sys/errno.ts";
import {
  CANCEL_ALL,
  CANCEL_FD,
  CQE_MORE,
  ENTER_EXT_ARG,
  ENTER_GETEVENTS,
  FEAT_CQE_SKIP,
  FEAT_EXT_ARG,
  FEAT_NODROP,
  FEAT_SINGLE_MMAP,
  type IoUring,
  OFFSET_SQES,
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
  SETUP_CLAMP,
  SETUP_COOP_TASKRUN,
  SETUP_CQSIZE,
  SETUP_DEFER_TASKRUN,
  SETUP_SINGLE_ISSUER,
  SETUP_SUBMIT_ALL,
  SQE_ASYNC,
  SQE_BUFFER_SELECT,
  SQE_CQE_SKIP_SUCCESS,
} from "../../sys/io_uring.ts";
import { type Mapping, mapDescriptor, mapMemory } from "../../sys/memory.ts";

/** What an operation was submitted for. With its owner's id it makes the lower half of its user_data. */
export const KIND = { receive: 0, send: 1, connect: 2, close: 3, poll: 4, cancel: 5, room: 6, file: 7 } as const;
const KIND_BITS = 3;
const KIND_MASK = (1 << KIND_BITS) - 1;

/** Who has operations under way. */
export interface Operator {
  /** One of them has completed, or has a result while it goes on (CQE_MORE). Must not throw. */
  complete(kind: number, result: number, flags: number): void;
  /** The process ends: closes its descriptor. */
  abandon?(): void;
}

const SUBMISSIONS = 1024;
/** Multishot operations have several completions each. Those that find no room wait in the kernel. */
const COMPLETIONS = 4096;

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** <poll.h> */
const POLLOUT = 4;

const EINTR = -4;
const EAGAIN = -11;
const ENOMEM = -12;
const EBUSY = -16;
const ETIME = -62;

/** struct io_uring_params. */
const PARAMS_SIZE = 120;
const PARAM = { entries: 0, completions: 4, flags: 8, features: 20, sqHead: 40, sqTail: 44, sqArray: 64 } as const;
const CQ_PARAM = { head: 80, tail: 84, cqes: 100 } as const;

/** One mapping for both queues, no completion dropped, a time to wait, completions that are not wanted. */
const FEATURES = FEAT_SINGLE_MMAP | FEAT_NODROP | FEAT_EXT_ARG | FEAT_CQE_SKIP;

/** 32-bit words of a submission and of a completion. */
const SQE_WORDS = 16;
const CQE_WORDS = 4;

/**
 * The two queues of an io_uring. Operations are prepared in the submission queue, and go to the kernel with the next
 * `enter`, in the order in which they were prepared. Completions are only put into their queue while this process is in
 * `enter` (IORING_SETUP_DEFER_TASKRUN), so that no fences are needed.
 *
 * An operation's user_data is its owner's id, what it is for, and the generation of the id, which changes with each owner.
 */
export class Ring {
  readonly fd: number;
  readonly calls: IoUring;
  /** Nobody comes to look: `onWork` is to be called when an operation is prepared. */
  asleep = true;
  onWork: () => void = () => {};
  /** How many operations are prepared or under way. */
  inFlight = 0;
  private readonly words: Uint32Array;
  private readonly sqes: Uint32Array;
  private readonly sqTail: number;
  private readonly cqHead: number;
  private readonly cqTail: number;
  private readonly cqes: number;
  private readonly sqEntries: number;
  private readonly cqMask: number;
  /** Positions, as the kernel counts them: in 32 bits, where they stay whole numbers to V8. */
  private tail = 0;
  private submitted = 0;
  /** struct io_uring_getevents_arg, behind it the struct __kernel_timespec that it points to. The kernel reads it in `enter`. */
  private readonly waiting: Mapping;
  private readonly timespec: Uint32Array;
  private readonly owners: (Operator | undefined)[] = [];
  private readonly generations: number[] = [];
  /** Of each id, how many operations are prepared or under way. */
  private readonly counts: number[] = [];
  private readonly freeIds: number[] = [];

  private constructor(calls: IoUring, fd: number, params: DataView, queues: Mapping, sqes: Mapping, waiting: Mapping) {
    const word = (offset: number): number => params.getUint32(offset, true);
    this.calls = calls;
    this.fd = fd;
    this.words = new Uint32Array(queues.buffer, 0, queues.buffer.byteLength >> 2);
    this.sqes = new Uint32Array(sqes.buffer);
    this.sqTail = word(PARAM.sqTail) >> 2;
    this.cqHead = word(CQ_PARAM.head) >> 2;
    this.cqTail = word(CQ_PARAM.tail) >> 2;
    this.cqes = word(CQ_PARAM.cqes) >> 2;
    this.sqEntries = word(PARAM.entries);
    this.cqMask = word(PARAM.completions) - 1;
    const array = word(PARAM.sqArray) >> 2;
    for (let i = 0; i < this.sqEntries; i++) this.words[array + i] = i;
    this.waiting = waiting;
    const argument = new BigUint64Array(waiting.buffer, 0, 3);
    argument[2] = waiting.address + 64n;
    this.timespec = new Uint32Array(waiting.buffer, 64, 4);
  }

  /** Returns a sentence if the kernel, or its policy, does not allow it. */
  static open(calls: IoUring): Ring | string {
    const bytes = new Uint8Array(PARAMS_SIZE);
    const params = new DataView(bytes.buffer);
    params.setUint32(PARAM.completions, COMPLETIONS, true);
    const flags = SETUP_CQSIZE | SETUP_CLAMP | SETUP_SUBMIT_ALL;
    params.setUint32(PARAM.flags, flags | SETUP_COOP_TASKRUN | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN, true);
    const fd = calls.setup(SUBMISSIONS, bytes);
    if (fd < 0) return `io_uring_setup() failed ${errnoText(errnoName(fd))}`;
    const word = (offset: number): number => params.getUint32(offset, true);
    if ((word(PARAM.features) & FEATURES) !== FEATURES) {
      calls.close(fd);
      return "the kernel's io_uring lacks features";
    }
    const length = Math.max(
      word(CQ_PARAM.cqes) + word(PARAM.completions) * 4 * CQE_WORDS,
      word(PARAM.sqArray) + word(PARAM.entries) * 4,
    );
    const queues = mapDescriptor(fd, length, 0n);
    const sqes = mapDescriptor(fd, word(PARAM.entries) * 4 * SQE_WORDS, OFFSET_SQES);
    const waiting = mapMemory(4096);
    if (queues === undefined || sqes === undefined || waiting === undefined) {
      calls.close(fd);
      return "mmap() failed";
    }
    return new Ring(calls, fd, params, queues, sqes, waiting);
  }

  // ---- owners

  /** The id of a new owner. */
  add(owner: Operator): number {
    const id = this.freeIds.pop() ?? this.owners.length;
    this.owners[id] = owner;
    this.generations[id] = ((this.generations[id] ?? 0) + 1) >>> 0;
    this.counts[id] = 0;
    return id;
  }

  /** The owner has no operation under way, and will not have any. */
  remove(id: number): void {
    this.owners[id] = undefined;
    this.freeIds.push(id);
  }

  /** How many of its operations are prepared or under way. */
  pending(id: number): number {
    return this.counts[id];
  }

  // ---- operations

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
   * the submission's position, for the three below.
   */
  sendNow(id: number, fd: number, addressLow: number, addressHigh: number, length: number): number {
    const at = this.prepare(id, KIND.send, OP_SEND, fd);
    const { sqes } = this;
    sqes[at + 4] = addressLow;
    sqes[at + 5] = addressHigh;
    sqes[at + 6] = length;
    sqes[at + 7] = MSG_NOSIGNAL | MSG_DONTWAIT;
    return (this.tail - 1) | 0;
  }

  /** The kernel does not have it yet. */
  isPrepared(position: number): boolean {
    return ((position - this.submitted) | 0) >= 0;
  }

  setLength(position: number, length: number): void {
    this.sqes[(position & (this.sqEntries - 1)) * SQE_WORDS + 6] = length;
  }

  /** A prepared operation of `id` does nothing, and does not complete. */
  retract(id: number, position: number): void {
    const { sqes } = this;
    const at = (position & (this.sqEntries - 1)) * SQE_WORDS;
    sqes.fill(0, at, at + SQE_WORDS);
    sqes[at] = OP_NOP | (SQE_CQE_SKIP_SUCCESS << 8);
    sqes[at + 8] = KIND.cancel;
    this.counts[id]--;
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
    sqes[at + 5] = this.generations[id];
  }

  /** Cancels all operations on a descriptor. */
  cancelAll(fd: number): void {
    const at = this.prepare(-1, KIND.cancel, OP_ASYNC_CANCEL | (SQE_CQE_SKIP_SUCCESS << 8), fd);
    this.sqes[at + 7] = CANCEL_ALL | CANCEL_FD;
  }

  /** Prepares an operation of `id` (-1: of nobody, without a result). Returns the index of its first word. */
  private prepare(id: number, kind: number, first: number, fd: number): number {
    if (((this.tail - this.submitted) | 0) >= this.sqEntries) this.submit();
    const { sqes } = this;
    const at = (this.tail & (this.sqEntries - 1)) * SQE_WORDS;
    this.tail = (this.tail + 1) | 0;
    sqes[at] = first;
    sqes[at + 1] = fd;
    sqes[at + 2] = 0;
    sqes[at + 3] = 0;
    sqes[at + 4] = 0;
    sqes[at + 5] = 0;
    sqes[at + 6] = 0;
    sqes[at + 7] = 0;
    sqes[at + 10] = 0;
    sqes[at + 11] = 0;
    sqes[at + 12] = 0;
    sqes[at + 13] = 0;
    sqes[at + 14] = 0;
    sqes[at + 15] = 0;
    if (id < 0) {
      sqes[at + 8] = kind;
      sqes[at + 9] = 0;
    } else {
      sqes[at + 8] = (id << KIND_BITS) | kind;
      sqes[at + 9] = this.generations[id];
      this.counts[id]++;
      this.inFlight++;
      if (this.asleep) this.onWork();
    }
    return at;
  }

  // ---- the kernel

  /** Operations are prepared that the kernel does not have yet. */
  get unsubmitted(): boolean {
    return this.tail !== this.submitted;
  }

  /** Hands over what is prepared, without looking at completions: there is no room for more, or addresses must be read. */
  submit(): void {
    for (let tries = 0; this.tail !== this.submitted; tries++) {
      const result = this.enter(0, 0, 0n, 0n);
      // Without memory the kernel takes nothing; completions that are looked at free some.
      if (result <= 0 && tries > 1000) throw new Error(`io_uring_enter() failed ${errnoText(errnoName(result))}`);
    }
  }

  /**
   * Hands over what is prepared, and waits up to `ms` for a completion: not at all with 0, for ever with -1. Returns the
   * negated errno of a failure that will not go away.
   */
  wait(ms: number): number {
    const { waiting } = this;
    if (ms > 0) {
      this.timespec[0] = Math.floor(ms / 1000);
      this.timespec[2] = (ms % 1000) * 1_000_000;
      return this.enter(1, ENTER_GETEVENTS | ENTER_EXT_ARG, waiting.address, 24n);
    }
    return this.enter(ms === 0 ? 0 : 1, ENTER_GETEVENTS, 0n, 0n);
  }

  private enter(wait: number, flags: number, argument: bigint, size: bigint): number {
    this.words[this.sqTail] = this.tail;
    const result = this.calls.enter(this.fd, (this.tail - this.submitted) | 0, wait, flags, argument, size);
    if (result >= 0) {
      this.submitted = (this.submitted + result) | 0;
      return result;
    }
    return result === EINTR || result === ETIME || result === EAGAIN || result === EBUSY || result === ENOMEM
      ? 0
      : result;
  }

  /** There are completions to be handled. */
  get completed(): boolean {
    return this.words[this.cqHead] !== this.words[this.cqTail];
  }

  /** Passes up to `limit` completions to their owners, and calls `settle` after each. Returns how many there were. */
  dispatch(limit: number, settle: () => void): number {
    const { words } = this;
    let head = words[this.cqHead];
    const ready = (words[this.cqTail] - head) >>> 0;
    const count = ready < limit ? ready : limit;
    for (let i = 0; i < count; i++) {
      const at = this.cqes + (head & this.cqMask) * CQE_WORDS;
      const low = words[at];
      const generation = words[at + 1];
      const result = words[at + 2] | 0;
      const flags = words[at + 3];
      head = (head + 1) >>> 0;
      words[this.cqHead] = head;
      const kind = low & KIND_MASK;
      if (kind === KIND.cancel) continue;
      const id = low >>> KIND_BITS;
      const owner = this.owners[id];
      if (owner === undefined || this.generations[id] !== generation) continue;
      if ((flags & CQE_MORE) === 0) {
        this.counts[id]--;
        this.inFlight--;
      }
      owner.complete(kind, result, flags);
      settle();
    }
    return count;
  }

  /** Calls `each` with the owners there are. */
  forEachOwner(each: (owner: Operator) => void): void {
    for (const owner of this.owners) if (owner !== undefined) each(owner);
  }

  /** What is under way is canceled. */
  close(): void {
    this.calls.close(this.fd);
  }
}
