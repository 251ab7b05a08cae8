import { FILE_PIECE } from "../../net/engine.ts";
import { SlabQueue } from "../../net/slabs.ts";
import { defer } from "../../sys/guard.ts";
import { readCached } from "../../sys/page_cache.ts";
import type { Turn } from "../../sys/turns.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { openTemporary, type TempFile, TempFileError } from "../core/temp_file.ts";
import { mayRead, nextTurn, spend } from "../files/file_turns.ts";
import type { UpstreamSettings } from "./settings.ts";

/** The pipe whose response waits. */
export interface SpoolOwner {
  readonly request: Request;
  readonly settings: UpstreamSettings;
  /** Nothing more will be pushed. */
  readonly answerEnded: boolean;
  /** The file was read or written: more may be sent, or read from the server. */
  onSpool(): void;
  onFault(error: unknown): void;
}

/**
 * A response that waits for a slow client (`proxy_buffering`): first in memory, up to proxy_buffers and one more read,
 * then in a temporary file, up to proxy_max_temp_file_size. First in, first out: what is in the file precedes what is
 * in memory. The file is written asynchronously, one piece at a time, and read so where it is not in memory; then the owner's
 * onSpool is called.
 */
export class ResponseSpool implements Turn {
  /** Writing or reading failed; the response cannot be completed. */
  failed = false;
  private readonly owner: SpoolOwner;
  private readonly memory = new SlabQueue();
  private file: TempFile | undefined = undefined;
  /** The part of the file that waits. */
  private readAt = 0;
  private writtenAt = 0;
  /** Its first bytes, lent by who has read them. */
  private piece: Buffer | undefined = undefined;
  /** A write will begin in the next turn; it is in progress. */
  private relieving = false;
  private writing = false;
  /** Other files are read first; a read is in progress. */
  private waiting = false;
  private reading = false;
  private closed = false;

  constructor(owner: SpoolOwner) {
    this.owner = owner;
  }

  /** Bytes waiting. */
  get length(): number {
    return this.writtenAt - this.readAt + this.memory.length;
  }

  /** Nothing more may be read from the server for now. */
  get full(): boolean {
    const { length } = this.memory;
    return length > 0 && length >= this.owner.settings.memory;
  }

  /** Takes bytes lent for the call. */
  push(bytes: Buffer): void {
    if (this.failed || this.closed) return;
    this.memory.push(bytes);
    // If the client takes them within this turn, no file is needed.
    if (!this.full || this.relieving || this.writing || this.owner.settings.maxTempFile === 0) return;
    this.relieving = true;
    defer(relieve, this);
  }

  /** The bytes to send next, lent for the call that asks: either they are dropped in it, or asked for again. */
  first(): Buffer | undefined {
    if (this.piece !== undefined) return this.piece;
    if (this.readAt < this.writtenAt) return this.read();
    return this.writing ? undefined : this.memory.first();
  }

  dropFirst(): void {
    if (this.closed) return;
    if (this.piece === undefined) {
      this.memory.drop(this.memory.first().length);
      return;
    }
    this.readAt += this.piece.length;
    this.piece = undefined;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.file?.close();
    this.piece = undefined;
    if (!this.writing) this.memory.clear();
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }

  relieve(): void {
    this.relieving = false;
    if (this.closed || this.failed || this.writing || !this.full || this.owner.answerEnded) return;
    const { maxTempFile, tempWriteSize } = this.owner.settings;
    if (this.readAt === this.writtenAt) {
      this.readAt = 0;
      this.writtenAt = 0;
    }
    const room = Math.min(tempWriteSize, maxTempFile - this.writtenAt);
    if (room <= 0) return;
    this.file ??= this.open();
    if (this.file === undefined) {
      this.owner.onSpool();
      return;
    }
    const bytes = this.memory.first();
    this.writing = true;
    this.file.write(bytes.length <= room ? bytes : bytes.subarray(0, room), this.writtenAt, this, written);
  }

  private open(): TempFile | undefined {
    const { request, settings } = this.owner;
    try {
      const file = openTemporary(settings.tempPath);
      this.file = file;
      file.remove();
      const sentence = `an upstream response is buffered to a temporary file ${file.path} while reading upstream`;
      logError(request, "warn", sentence);
      return file;
    } catch (error) {
      if (!(error instanceof TempFileError)) throw error;
      logError(request, "crit", `${error.message} while reading upstream`);
      this.failed = true;
      return undefined;
    }
  }

  /** The file's first bytes; undefined while they are being read. */
  private read(): Buffer | undefined {
    const { file, readAt } = this;
    if (this.reading || this.waiting || file === undefined) return undefined;
    if (!mayRead(this)) {
      this.waiting = true;
      nextTurn(this);
      return undefined;
    }
    const length = Math.min(FILE_PIECE, this.writtenAt - readAt);
    const bytes = readCached(file.fd, readAt, length);
    if (bytes !== undefined && bytes.length > 0) {
      spend(bytes.length);
      this.piece = bytes;
      return bytes;
    }
    this.reading = true;
    file.read(readAt, length, this, wasRead);
    return undefined;
  }

  onTurn(): void {
    this.waiting = false;
    if (!this.closed) this.owner.onSpool();
  }

  wasRead(bytes: Buffer, why: string): void {
    this.reading = false;
    if (this.closed) return;
    if (bytes.length === 0) this.fault("pread", why, "sending to client");
    else this.piece = bytes;
    this.owner.onSpool();
    this.piece = undefined;
  }

  written(count: number, why: string): void {
    this.writing = false;
    if (this.closed) {
      this.memory.clear();
      return;
    }
    if (count === 0) {
      this.fault("pwrite", why, "reading upstream");
    } else {
      this.writtenAt += count;
      this.memory.drop(count);
      this.relieve();
    }
    this.owner.onSpool();
  }

  private fault(call: string, why: string, during: string): void {
    this.failed = true;
    logError(this.owner.request, "crit", `${call}() "${this.file?.path}" failed (${why}) while ${during}`);
  }
}

function relieve(spool: ResponseSpool): void {
  spool.relieve();
}

function written(spool: ResponseSpool, count: number, why: string): void {
  spool.written(count, why);
}

function wasRead(spool: ResponseSpool, bytes: Buffer, why: string): void {
  spool.wasRead(bytes, why);
}
