import { SlabQueue } from "../../net/slabs.ts";
import { openTemporary, type TempFile, TempFileError, type TempPath } from "./temp_file.ts";

/** This many bytes may wait to be written; then reading from the server pauses. */
const WAITING = 128 * 1024;

/** What keeps an answer in a file (BodyKeeper). */
export interface KeptFileOwner {
  /** Bytes were written, and `KeptFile.write` begins with the next. */
  onWritten(): void;
  /** A file cannot be made or written: nginx's sentence. */
  onFailure(sentence: string): void;
  /** A write is over, well or not. */
  onWriteOver(): void;
  onFault(error: unknown): void;
}

/**
 * The temporary file of an answer that is kept, and the bytes on their way into it. It is made when the first are written,
 * asynchronously and one piece at a time.
 */
export class KeptFile {
  private readonly owner: KeptFileOwner;
  private readonly into: TempPath;
  /** Where in the file the first byte goes. */
  private readonly start: number;
  private readonly waiting = new SlabQueue();
  private file: TempFile | undefined = undefined;
  private writtenBytes = 0;
  private busy = false;
  private closed = false;

  constructor(owner: KeptFileOwner, into: TempPath, start: number) {
    this.owner = owner;
    this.into = into;
    this.start = start;
  }

  /** A write is under way. */
  get writing(): boolean {
    return this.busy;
  }

  /** Bytes that are in the file; and that wait to be written. */
  get written(): number {
    return this.writtenBytes;
  }

  get left(): number {
    return this.waiting.length;
  }

  get full(): boolean {
    return !this.closed && this.waiting.length >= WAITING;
  }

  /** Takes bytes lent for the call. */
  push(bytes: Uint8Array): void {
    this.waiting.push(bytes);
  }

  /** Begins to write, unless a write is under way. */
  write(): void {
    if (this.busy) return;
    const file = this.open();
    if (file === undefined) return;
    this.busy = true;
    file.write(this.waiting.first(), this.start + this.writtenBytes, this, wasWritten);
  }

  /** The file; undefined after a failure, of which the owner has heard. */
  open(): TempFile | undefined {
    try {
      this.file ??= openTemporary(this.into);
      return this.file;
    } catch (error) {
      if (!(error instanceof TempFileError)) throw error;
      this.owner.onFailure(error.message);
      return undefined;
    }
  }

  /** All that waits to be written, which the caller writes. */
  rest(): Buffer {
    return this.waiting.whole();
  }

  /** Removes the file, unless it was given away. */
  close(): void {
    this.closed = true;
    if (!this.busy) this.waiting.clear();
    this.file?.remove();
    this.file?.close();
    this.file = undefined;
  }

  wasWritten(count: number, why: string): void {
    this.busy = false;
    if (this.closed) {
      this.waiting.clear();
      return;
    }
    if (count === 0) {
      this.owner.onFailure(`pwrite() "${this.file?.path}" failed (${why})`);
    } else {
      this.writtenBytes += count;
      this.waiting.drop(count);
      this.owner.onWritten();
    }
    this.owner.onWriteOver();
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }
}

function wasWritten(file: KeptFile, count: number, why: string): void {
  file.wasWritten(count, why);
}
