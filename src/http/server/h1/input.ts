import type { Stream } from "../../../net/stream.ts";

/** Reading pauses when this many bytes wait. One read adds at most 64 KiB. */
const MOST_WAITING = 16 * 1024;

/** Returned by `take` if the owner takes nothing for now. */
export const NOT_NOW = -1;

/** The connection, which takes the bytes. */
export interface InputOwner {
  /** Takes bytes from `at` on. Returns where it stopped, which is beyond `at`, or NOT_NOW. */
  take(bytes: Buffer, at: number, end: number): number;
  /** The client has half-closed. Called again after each offer of bytes that came before that. */
  clientEnded(): void;
}

/** Takes bytes ahead of the owner. Returns where it stopped. */
export interface Skimmer {
  skim(bytes: Buffer, at: number, end: number): number;
}

/**
 * Bytes that a client has sent and nobody has taken: pipelined requests, or a body that is not being read. Up to a
 * limit reading goes on meanwhile, so that the client's close is noticed.
 */
export class H1Input {
  private readonly stream: Stream;
  private readonly owner: InputOwner;
  /** Lent by the stream while first offered, then a copy. */
  private bytes: Buffer | undefined = undefined;
  /** How much of them was taken during the current offer; else 0. */
  private at = 0;
  private taking = false;
  private paused = false;
  /** Paused by the owner. */
  private held = false;
  private ended = false;

  constructor(stream: Stream, owner: InputOwner) {
    this.stream = stream;
    this.owner = owner;
  }

  /** Bytes are being offered to the owner. */
  get busy(): boolean {
    return this.taking;
  }

  /** Bytes wait to be taken. */
  get waiting(): boolean {
    return this.bytes !== undefined && !this.taking;
  }

  /** The same, and during an offer: bytes stand behind `position`. */
  get left(): boolean {
    return this.bytes !== undefined && this.at < this.bytes.length;
  }

  /** The client has closed its side; what it sent before may be waiting. */
  get halfClosed(): boolean {
    return this.ended;
  }

  /** The client has closed its side, and all that it sent before was taken. */
  get exhausted(): boolean {
    return this.ended && this.bytes === undefined;
  }

  /** Where the bytes not yet taken begin. An owner sets it before it calls what may `skim` or ends a request, and returns it. */
  get position(): number {
    return this.at;
  }

  set position(at: number) {
    this.at = at;
  }

  receive(bytes: Buffer): void {
    const waiting = this.bytes;
    if (waiting === undefined) this.offer(bytes, false);
    else this.offer(appended(waiting, bytes), true);
  }

  /** The client has closed its side. */
  end(): void {
    this.ended = true;
    this.owner.clientEnded();
  }

  /** The owner can take more: offers it what waits, or resumes reading. */
  readOn(): void {
    if (this.taking) return;
    if (this.bytes !== undefined) this.offer(this.bytes, true);
    else if (!this.held) this.resumeStream();
  }

  /** Passes on what stands behind the bytes just taken, where all were: see Stream.spliceTo. Returns how many bytes. */
  spliceTo(target: Stream): number {
    return this.stream.spliceTo?.(target) ?? 0;
  }

  pause(): void {
    this.held = true;
    this.pauseStream();
  }

  resume(): void {
    this.held = false;
    this.resumeStream();
  }

  /** Lets `skimmer` take bytes ahead of the owner. */
  skim(skimmer: Skimmer): void {
    const { bytes } = this;
    if (bytes === undefined) return;
    this.at = skimmer.skim(bytes, this.at, bytes.length);
    if (!this.taking) this.keep(bytes, true);
  }

  /** Drops what waits. */
  drop(): void {
    if (!this.taking) this.bytes = undefined;
  }

  /** The owner threw: how much it has processed is unknown, so everything is dropped. */
  fail(): void {
    this.taking = false;
    this.bytes = undefined;
    this.at = 0;
  }

  /** Offers bytes to the owner and keeps the rest; bytes that are not `owned` are copied. */
  private offer(bytes: Buffer, owned: boolean): void {
    const { owner } = this;
    const end = bytes.length;
    this.bytes = bytes;
    this.taking = true;
    for (let at = 0; at < end; ) {
      at = owner.take(bytes, at, end);
      if (at === NOT_NOW) break;
      this.at = at;
    }
    this.taking = false;
    this.keep(bytes, owned);
    if (this.ended) owner.clientEnded();
  }

  private keep(bytes: Buffer, owned: boolean): void {
    const { at } = this;
    this.at = 0;
    if (at === bytes.length) {
      this.bytes = undefined;
      if (!this.held) this.resumeStream();
      return;
    }
    const rest = at === 0 ? bytes : bytes.subarray(at);
    this.bytes = owned ? rest : copied(rest, rest.length);
    if (rest.length >= MOST_WAITING) this.pauseStream();
    else if (!this.held) this.resumeStream();
  }

  private pauseStream(): void {
    if (this.paused) return;
    this.paused = true;
    this.stream.pause();
  }

  private resumeStream(): void {
    if (!this.paused) return;
    this.paused = false;
    this.stream.resume();
  }
}

/** A copy in a buffer of its own, with room for more. */
function copied(bytes: Buffer, room: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(room).subarray(0, bytes.length);
  copy.set(bytes);
  return copy;
}

/**
 * Appends bytes to a result of `copied`, or to a part of it: in place if there is room, else in a buffer twice as
 * large.
 */
function appended(to: Buffer, bytes: Buffer): Buffer {
  const length = to.length + bytes.length;
  const end = to.byteOffset + length;
  if (end > to.buffer.byteLength) to = copied(to, length * 2);
  const whole = Buffer.from(to.buffer, to.byteOffset, length);
  whole.set(bytes, length - bytes.length);
  return whole;
}
