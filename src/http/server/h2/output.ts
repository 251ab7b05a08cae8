import type { Stream } from "../../../net/stream.ts";
import { defer } from "../../../sys/guard.ts";
import { byteString } from "../../../wire/latin1.ts";

/** Text is sent when there is so much: a TLS record takes no more. */
const GATHERED = 16 * 1024;
/** DATA up to so many bytes is text as well. */
const JOINED = 2048;

/** Frames with more than that are assembled here; they are one output's, `assembler`'s. */
const assembly = Buffer.allocUnsafeSlow(64 * 1024);
let assembled = 0;
let assembler: H2Output | undefined;

/** Whose output it is. */
export interface OutputOwner {
  /** All that was written is the kernel's, as far as this process can see. */
  outputSent(): void;
  onFault(error: unknown): void;
}

/**
 * The output of an HTTP/2 connection. What all its streams send in a turn of the loop is one write, and with TLS one record, if it is
 * little: each would cost a call otherwise.
 */
export class H2Output {
  private readonly stream: Stream;
  private readonly owner: OutputOwner;
  /** Frames that were not written to the stream yet. */
  private held = "";
  private scheduled = false;
  private corked = 0;

  constructor(stream: Stream, owner: OutputOwner) {
    this.stream = stream;
    this.owner = owner;
  }

  /** Bytes that the kernel has not taken. */
  get unsent(): number {
    return this.held.length + (assembler === this ? assembled : 0) + this.stream.unsent;
  }

  get sending(): boolean {
    return this.held !== "" || assembler === this || this.stream.sending;
  }

  /** Sends frames (a byte string). */
  write(frames: string): void {
    if (assembler === this) {
      this.assemble(frames, undefined);
      return;
    }
    this.held += frames;
    if (this.held.length >= GATHERED) this.flush();
    else this.schedule();
  }

  /** Sends a frame of bytes, which are lent for the call. */
  writeData(head: string, bytes: Uint8Array): void {
    if (bytes.length <= JOINED && assembler !== this) {
      this.write(head + byteString(bytes, 0, bytes.length));
      return;
    }
    this.assemble(head, bytes);
    if (this.corked === 0) this.flush();
  }

  /** What is written between `cork` and `uncork` is written to the stream in as few calls as possible. */
  cork(): void {
    this.corked++;
  }

  uncork(): void {
    this.corked--;
    if (this.corked === 0 && assembler === this) this.flush();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    defer(flushHeld, this);
  }

  private assemble(text: string, bytes: Uint8Array | undefined): void {
    if (assembler !== this) {
      assembler?.flush();
      // What was held goes first.
      if (this.held.length > GATHERED) this.flush();
      assembler = this;
      const { held } = this;
      this.held = "";
      this.put(held);
    }
    this.put(text);
    if (bytes === undefined) return;
    for (let at = 0; at < bytes.length; ) {
      if (assembled === assembly.length) this.flushAssembly();
      const end = Math.min(bytes.length, at + assembly.length - assembled);
      assembly.set(at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end), assembled);
      assembled += end - at;
      at = end;
    }
  }

  private put(text: string): void {
    if (assembled + text.length > assembly.length) this.flushAssembly();
    if (text.length > assembly.length) {
      this.stream.write(text);
      return;
    }
    assembly.latin1Write(text, assembled, text.length);
    assembled += text.length;
  }

  private flushAssembly(): void {
    const { length } = assembly;
    const bytes = assembled === length ? assembly : assembly.subarray(0, assembled);
    assembled = 0;
    if (bytes.length > 0 && !this.stream.closed) this.stream.write(bytes);
  }

  /** Writes what is held to the stream. */
  flush(): void {
    if (assembler === this) {
      this.flushAssembly();
      assembler = undefined;
    }
    const { held } = this;
    this.held = "";
    if (held !== "" && !this.stream.closed) this.stream.write(held);
  }

  /** The turn is over. */
  flushScheduled(): void {
    this.scheduled = false;
    this.flush();
    if (!this.stream.sending && !this.stream.closed) this.owner.outputSent();
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }
}

function flushHeld(output: H2Output): void {
  output.flushScheduled();
}
