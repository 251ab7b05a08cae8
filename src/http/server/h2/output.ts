import { type Slab, type SlabQueue, takeSlab } from "../../../net/slabs.ts";
import type { Stream } from "../../../net/stream.ts";
import { defer } from "../../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import * as h2 from "../../../wire/h2/frames.ts";

/** So many bytes wait for the socket before streams do: what is decided later goes to the one that is then most urgent. */
const FULL = 64 * 1024;

/** What came of letting a stream send: it has more; or it has not, or waits for something else than room. */
export const SERVED = { more: 1, over: 0 } as const;

/** A stream that has something to send. */
export interface WaitingStream {
  readonly id: number;
  /** 0 is sent first, 7 last (RFC 9218). */
  readonly urgency: number;
  /** It is sent in turns with others of its urgency; else as a whole, in the order of their numbers. */
  readonly incremental: boolean;
  /** It is in the list of those that wait for room. */
  waiting: boolean;
  /** How many bytes the connection had put up to its last one; set by `awaitSent`. */
  mark: number;
  /** Sends some frames. Returns one of `SERVED`. */
  onRoom(): number;
  /** The kernel has all that was sent of it. */
  onSent(): void;
  onFault(error: unknown): void;
}

/** The connection. */
export interface OutputOwner {
  readonly closed: boolean;
  /** How long the client may take nothing, ms. */
  readonly sendTimeout: number;
  /** It has taken nothing for so long. */
  sendTimedOut(): void;
  onFault(error: unknown): void;
}

/**
 * What a connection sends. Frames are put one behind the other while a turn of the event loop lasts, whatever stream they are of,
 * and written together at its end; streams that wait for room have their turns then.
 */
export class H2Output {
  /** How much DATA the client lets us send on the connection. */
  window = h2.DEFAULT_WINDOW;
  /** How long a frame may be. */
  frameSize = h2.DEFAULT_FRAME_SIZE;
  /** The client has set the size of its table, and the next block has to say that none is used (RFC 7541 section 4.2). */
  tableChanged = false;
  /** Bytes of frames that carry something. */
  carried = 0;
  private readonly stream: Stream;
  private readonly owner: OutputOwner;
  /** The frames of this turn. */
  private slab: Slab | undefined = undefined;
  private scheduled = false;
  /** Bytes handed to the socket. */
  private flushed = 0;
  /** send_timeout of the connection: once something was flushed it stays armed, and it is looked when it fires. */
  private deadline: Deadline<H2Output> | undefined = undefined;
  /** How many bytes the kernel had when it was armed. */
  private progress = 0;
  /** In the order in which they are served. */
  private readonly waiting: WaitingStream[] = [];
  /** Streams whose response was sent as far as this process can see, by their marks. */
  private leaving: WaitingStream[] = NONE;

  constructor(stream: Stream, owner: OutputOwner) {
    this.stream = stream;
    this.owner = owner;
  }

  /** The socket takes no more for now. */
  get full(): boolean {
    return this.stream.unsent > FULL;
  }

  /** Bytes that the kernel does not have yet. */
  get unsent(): number {
    return this.stream.unsent + (this.slab === undefined ? 0 : this.slab.end);
  }

  // ---- frames

  /** A place for so many bytes, no more than a slab has. */
  private room(bytes: number): Slab {
    let { slab } = this;
    if (slab !== undefined && slab.end + bytes > slab.bytes.length) this.flush();
    slab = this.slab ??= takeSlab();
    if (!this.scheduled) this.schedule();
    return slab;
  }

  private schedule(): void {
    this.scheduled = true;
    defer(endTurn, this);
  }

  /** Frames that are made already (a byte string). */
  put(frames: string): void {
    for (let at = 0; at < frames.length; at += PIECE) {
      const piece = frames.length <= PIECE ? frames : frames.slice(at, at + PIECE);
      const slab = this.room(piece.length);
      slab.bytes.latin1Write(piece, slab.end, piece.length);
      slab.end += piece.length;
    }
  }

  /** A header block of a stream. Returns how many bytes that were. */
  putHeaders(stream: number, fields: string, endStream: boolean): number {
    const block = this.tableChanged ? h2.NO_TABLE + fields : fields;
    this.tableChanged = false;
    const { length } = block;
    this.carried += length;
    if (length > Math.min(this.frameSize, PIECE)) {
      const frames = h2.headersFrames(stream, block, endStream, this.frameSize);
      this.put(frames);
      return frames.length;
    }
    const slab = this.room(h2.FRAME_HEAD + length);
    const flags = endStream ? h2.FLAG.END_HEADERS | h2.FLAG.END_STREAM : h2.FLAG.END_HEADERS;
    const at = h2.writeFrameHead(slab.bytes, slab.end, length, h2.HEADERS, flags, stream);
    slab.bytes.latin1Write(block, at, length);
    slab.end = at + length;
    return h2.FRAME_HEAD + length;
  }

  /** `bytes[from..until)` as a DATA frame, no more than `mostData`. */
  putData(stream: number, bytes: Uint8Array | string, from: number, until: number, endStream: boolean): void {
    const length = until - from;
    this.window -= length;
    this.carried += length;
    const all = from === 0 && until === bytes.length;
    const slab = this.room(h2.FRAME_HEAD + length);
    const at = h2.writeFrameHead(slab.bytes, slab.end, length, h2.DATA, endStream ? h2.FLAG.END_STREAM : 0, stream);
    if (typeof bytes === "string") slab.bytes.latin1Write(all ? bytes : bytes.slice(from, until), at, length);
    else slab.bytes.set(all ? bytes : bytes.subarray(from, until), at);
    slab.end = at + length;
  }

  /** The first bytes of a queue as a DATA frame. */
  putQueued(stream: number, queue: SlabQueue, length: number, endStream: boolean): void {
    this.window -= length;
    this.carried += length;
    const slab = this.room(h2.FRAME_HEAD + length);
    let at = h2.writeFrameHead(slab.bytes, slab.end, length, h2.DATA, endStream ? h2.FLAG.END_STREAM : 0, stream);
    for (let left = length; left > 0; ) {
      const first = queue.first();
      const count = Math.min(left, first.length);
      slab.bytes.set(count === first.length ? first : first.subarray(0, count), at);
      queue.drop(count);
      at += count;
      left -= count;
    }
    slab.end = at;
  }

  /** How long the data of a frame may be. */
  get mostData(): number {
    return Math.min(this.frameSize, PIECE, this.window);
  }

  /** Hands what was put together to the socket. */
  flush(): void {
    const { slab } = this;
    if (slab === undefined) return;
    this.slab = undefined;
    this.flushed += slab.end;
    this.stream.write(slab.end === slab.bytes.length ? slab.bytes : slab.bytes.subarray(0, slab.end));
    slab.release();
    if (this.deadline === undefined && this.stream.sending) this.arm(new Deadline<H2Output>(this, expired));
  }

  private arm(deadline: Deadline<H2Output>): void {
    this.progress = this.taken;
    this.deadline = deadline;
    setDeadline(deadline, this.owner.sendTimeout);
  }

  /** How many bytes the kernel has. */
  private get taken(): number {
    return this.flushed - this.stream.unsent;
  }

  expire(): void {
    const { deadline, stream, owner } = this;
    if (deadline === undefined) return;
    if (stream.sending && this.taken === this.progress) owner.sendTimedOut();
    else if (stream.sending) this.arm(deadline);
    else this.deadline = undefined;
  }

  // ---- turns

  /** The stream has something to send, and there is no room now; or there is none for more. */
  await(stream: WaitingStream): void {
    if (stream.waiting) return;
    stream.waiting = true;
    const { waiting } = this;
    let at = waiting.length;
    while (at > 0 && precedes(stream, waiting[at - 1])) at--;
    if (at === waiting.length) waiting.push(stream);
    else waiting.splice(at, 0, stream);
  }

  /** The same, and there may be room. */
  ready(stream: WaitingStream): void {
    this.await(stream);
    this.serveSoon();
  }

  /** There may be room: streams that wait have their turns at the end of this one. */
  serveSoon(): void {
    if (this.waiting.length > 0 && !this.scheduled) this.schedule();
  }

  /** The stream sends no more. */
  leave(stream: WaitingStream): void {
    if (!stream.waiting) return;
    stream.waiting = false;
    const at = this.waiting.indexOf(stream);
    if (at >= 0) this.waiting.splice(at, 1);
  }

  /** Calls `onSent` of the stream when the kernel has all that was put so far. */
  awaitSent(stream: WaitingStream): void {
    if (this.slab === undefined && (!this.stream.sending || this.stream.closed)) {
      stream.onSent();
      return;
    }
    stream.mark = this.flushed + (this.slab === undefined ? 0 : this.slab.end);
    if (this.leaving === NONE) this.leaving = [stream];
    else this.leaving.push(stream);
  }

  /** The end of a turn in which something was put, or room has come. */
  endTurn(): void {
    this.scheduled = false;
    this.serve();
    this.flush();
    if (this.leaving !== NONE) this.tellSent();
  }

  /** Lets streams send, as long as there is room. */
  serve(): void {
    const { waiting, owner } = this;
    while (!owner.closed && !this.full) {
      const stream = waiting.shift();
      if (stream === undefined) return;
      stream.waiting = false;
      let result: number;
      try {
        result = stream.onRoom();
      } catch (error) {
        stream.onFault(error);
        continue;
      }
      if (result !== SERVED.more) continue;
      this.await(stream);
      if (this.window <= 0) return;
    }
  }

  /** The socket takes more. Streams that have left are told before others fill it again: it may never be empty otherwise. */
  onDrain(): void {
    if (this.leaving !== NONE) this.tellSent();
    this.serve();
  }

  /** The kernel has all that was written. */
  onSent(): void {
    if (this.leaving !== NONE) this.tellSent();
    this.serve();
  }

  /** Tells the streams whose last byte the kernel has. */
  private tellSent(): void {
    const { leaving, taken } = this;
    let count = 0;
    while (count < leaving.length && leaving[count].mark <= taken) count++;
    if (count === 0) return;
    this.leaving = count === leaving.length ? NONE : leaving.slice(count);
    for (let i = 0; i < count; i++) {
      const stream = leaving[i];
      try {
        stream.onSent();
      } catch (error) {
        stream.onFault(error);
      }
    }
  }

  /** The connection is closed. */
  close(): void {
    this.slab?.release();
    this.slab = undefined;
    this.leaving = NONE;
    if (this.deadline !== undefined) clearDeadline(this.deadline);
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }
}

/** How much is put at once. */
const PIECE = 32 * 1024;
const NONE: WaitingStream[] = [];

/** Whether a stream goes before another that waits already. */
function precedes(stream: WaitingStream, other: WaitingStream): boolean {
  if (stream.urgency !== other.urgency) return stream.urgency < other.urgency;
  return !stream.incremental && !other.incremental && stream.id < other.id;
}

function endTurn(output: H2Output): void {
  output.endTurn();
}

function expired(output: H2Output): void {
  output.expire();
}
