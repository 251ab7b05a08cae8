import { errnoName, errnoText } from "../../sys/errno.ts";
import {
  ENTER_EXT_ARG,
  ENTER_GETEVENTS,
  FEAT_CQE_SKIP,
  FEAT_EXT_ARG,
  FEAT_NODROP,
  FEAT_SINGLE_MMAP,
  type IoUring,
  OFFSET_SQES,
  SETUP_CLAMP,
  SETUP_COOP_TASKRUN,
  SETUP_CQSIZE,
  SETUP_DEFER_TASKRUN,
  SETUP_SINGLE_ISSUER,
  SETUP_SUBMIT_ALL,
} from "../../sys/io_uring.ts";
import { type Mapping, mapDescriptor, mapMemory } from "../../sys/memory.ts";

const SUBMISSIONS = 1024;
/** Multishot operations have several completions each. Those that find no room wait in the kernel. */
const COMPLETIONS = 4096;

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
 * The two queues of an io_uring, in memory shared with the kernel. Operations are prepared in the submission queue, and go to
 * the kernel with the next `enter`, in the order in which they were prepared. Completions are only put into their queue while
 * this process is in `enter` (IORING_SETUP_DEFER_TASKRUN), so that no fences are needed.
 */
export class Queues {
  readonly fd: number;
  readonly calls: IoUring;
  /** Completions stand in it, where `take` says. */
  readonly words: Uint32Array;
  /** Submissions stand in it, where `prepare` says. */
  readonly sqes: Uint32Array;
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
  static open(calls: IoUring): Queues | string {
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
    return new Queues(calls, fd, params, queues, sqes, waiting);
  }

  /** A new submission, with its first word and its descriptor; the rest is zeros. Returns the index of its first word. */
  prepare(first: number, fd: number): number {
    if (((this.tail - this.submitted) | 0) >= this.sqEntries) this.submit();
    const { sqes } = this;
    const at = this.indexOf(this.tail);
    this.tail = (this.tail + 1) | 0;
    sqes[at] = first;
    sqes[at + 1] = fd;
    this.blank(at);
    return at;
  }

  /** Zeros from the third word of a submission on. */
  private blank(at: number): void {
    const { sqes } = this;
    sqes[at + 2] = 0;
    sqes[at + 3] = 0;
    sqes[at + 4] = 0;
    sqes[at + 5] = 0;
    sqes[at + 6] = 0;
    sqes[at + 7] = 0;
    sqes[at + 8] = 0;
    sqes[at + 9] = 0;
    sqes[at + 10] = 0;
    sqes[at + 11] = 0;
    sqes[at + 12] = 0;
    sqes[at + 13] = 0;
    sqes[at + 14] = 0;
    sqes[at + 15] = 0;
  }

  /** The index of the first word of the submission at a position. */
  indexOf(position: number): number {
    return (position & (this.sqEntries - 1)) * SQE_WORDS;
  }

  /** The position of the last submission. */
  get last(): number {
    return (this.tail - 1) | 0;
  }

  /** The kernel does not have it yet. */
  isPrepared(position: number): boolean {
    return ((position - this.submitted) | 0) >= 0;
  }

  /** Makes a prepared submission another one, as `prepare` does. Returns the index of its first word. */
  replace(position: number, first: number, fd: number): number {
    const at = this.indexOf(position);
    this.sqes[at] = first;
    this.sqes[at + 1] = fd;
    this.blank(at);
    return at;
  }

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

  /** How many there are, up to `limit`. */
  ready(limit: number): number {
    const count = (this.words[this.cqTail] - this.words[this.cqHead]) >>> 0;
    return count < limit ? count : limit;
  }

  /** The index in `words` of the first word of the next completion. It stays until the next `enter`. */
  take(): number {
    const { words } = this;
    const head = words[this.cqHead];
    words[this.cqHead] = head + 1;
    return this.cqes + (head & this.cqMask) * CQE_WORDS;
  }
}
