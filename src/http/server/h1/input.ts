import type { Stream } from "../../../net/stream.ts";

/** From so many bytes on that cannot be taken yet no more are read. A read adds at most 64 KiB. */
const MOST_WAITING = 16 * 1024;

/** Nothing more is taken for now. */
export const NOT_NOW = -1;

/** Who takes the bytes. */
export interface InputOwner {
  /** Takes bytes from `at` on; answers where it stopped, which is beyond `at`, or NOT_NOW. */
  take(bytes: Buffer, at: number, end: number): number;
  /** The client has closed its side. Told again whenever bytes that came before that were looked at. */
  clientEnded(): void;
}

/** Who may take bytes out of turn: answers up to where they are done with. */
export interface Skimmer {
  skim(bytes: Buffer, at: number, end: number): number;
}

/**
 * What a client sends and is not taken yet: the next requests, or the rest of a body that nobody reads at the moment.
 * Reading goes on behind it, so that the client's end is seen, until there is too much of it.
 */
export class H1Input {
  private readonly stream: Stream;
  private readonly owner: InputOwner;
  /** Lent by the stream while it is taken for the first time, else a copy of our own. */
  private bytes: Buffer | undefined = undefined;
  /** Up to where it has been taken; 0 but while it is being taken. */
  private at = 0;
  private taking = false;
  private paused = false;
  /** The owner wants nothing to be read for now. */
  private held = false;
  private ended = false;

  constructor(stream: Stream, owner: InputOwner) {
    this.stream = stream;
    this.owner = owner;
  }

  /** The owner is at work on bytes at this moment. */
  get busy(): boolean {
    return this.taking;
  }

  /** Bytes wait to be taken. */
  get waiting(): boolean {
    return this.bytes !== undefined && !this.taking;
  }

  /** The client has closed its side; what it sent before may be waiting. */
  get halfClosed(): boolean {
    return this.ended;
  }

  /** The client has closed its side, and all that it sent before was taken. */
  get exhausted(): boolean {
    return this.ended && this.bytes === undefined;
  }

  /** Up to where the bytes at hand were taken. An owner that lets others `skim` sets it first, and returns it. */
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

  /** The owner can take more again. */
  readOn(): void {
    if (this.taking) return;
    if (this.bytes !== undefined) this.offer(this.bytes, true);
    else if (!this.held) this.resumeStream();
  }

  pause(): void {
    this.held = true;
    this.pauseStream();
  }

  resume(): void {
    this.held = false;
    this.resumeStream();
  }

  /** Lets `skimmer` take of what is at hand out of its owner's turn. */
  skim(skimmer: Skimmer): void {
    const { bytes } = this;
    if (bytes === undefined) return;
    this.at = skimmer.skim(bytes, this.at, bytes.length);
    if (!this.taking) this.keep(bytes, true);
  }

  /** Forgets what waits. */
  drop(): void {
    if (!this.taking) this.bytes = undefined;
  }

  /** An exception left the owner: nobody knows how far it had understood what was at hand. */
  fail(): void {
    this.taking = false;
    this.bytes = undefined;
    this.at = 0;
  }

  /** Offers bytes to the owner, and keeps what it does not take (`owned`: without a copy). */
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

/** A copy in memory of its own, with room for more. */
function copied(bytes: Buffer, room: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(room).subarray(0, bytes.length);
  copy.set(bytes);
  return copy;
}

/** What `copied` made, or a part of it, with more bytes behind it: in place where there is room, else with twice the room. */
function appended(to: Buffer, bytes: Buffer): Buffer {
  const length = to.length + bytes.length;
  const end = to.byteOffset + length;
  if (end > to.buffer.byteLength) to = copied(to, length * 2);
  const whole = Buffer.from(to.buffer, to.byteOffset, length);
  whole.set(bytes, length - bytes.length);
  return whole;
}
