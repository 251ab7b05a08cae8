import { FILE_PIECE } from "../../net/engine.ts";
import { readCached } from "../../sys/page_cache.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { TempFile } from "../core/temp_file.ts";
import { spend } from "../files/file_turns.ts";

const NOTHING = Buffer.alloc(0);

/** A body that was read whole: a client's, or one in memory that is sent in its place. */
export interface SentBody {
  readonly length: number;
  /** Its pieces, if it is not in a file. */
  readonly data: { at(index: number): Buffer | undefined };
  readonly file: TempFile | undefined;
}

/** Who sends the body. */
export interface CursorOwner {
  /** What `next` did not have, lent for the call; undefined if it cannot be read, which was logged. */
  onBodyRead(bytes: Buffer | undefined): void;
  onFault(error: unknown): void;
}

/** A read of the body's file under way: the cursor may be at another body when it ends. */
class BodyRead {
  readonly request: Request;
  private readonly cursor: BodyCursor;

  constructor(cursor: BodyCursor, request: Request) {
    this.cursor = cursor;
    this.request = request;
  }

  ended(bytes: Buffer, why: string): void {
    this.cursor.wasRead(this, bytes, why);
  }

  onFault(error: unknown): void {
    this.cursor.onFault(error);
  }
}

function ended(read: BodyRead, bytes: Buffer, why: string): void {
  read.ended(bytes, why);
}

/** How far a body that was read whole, into memory or a file, has been sent. */
export class BodyCursor {
  private readonly owner: CursorOwner;
  private offset = 0;
  /** Of a body in memory: the index of the next piece, and how much of it was sent. */
  private piece = 0;
  private within = 0;
  private read: BodyRead | undefined = undefined;

  constructor(owner: CursorOwner) {
    this.owner = owner;
  }

  reset(): void {
    this.offset = 0;
    this.piece = 0;
    this.within = 0;
    this.read = undefined;
  }

  /** How many bytes were not sent. */
  left(body: SentBody): number {
    return body.length - this.offset;
  }

  /** The disk is waited for. */
  get reading(): boolean {
    return this.read !== undefined;
  }

  /** The next bytes, at most `room`, lent for the turn. Undefined if they have to be read first: `onBodyRead` follows. */
  next(request: Request, body: SentBody, room: number): Buffer | undefined {
    if (room === 0) return NOTHING;
    if (body.file === undefined) {
      const bytes = body.data.at(this.piece);
      return this.within === 0 ? bytes : bytes?.subarray(this.within);
    }
    if (this.read !== undefined) return undefined;
    const wanted = Math.min(FILE_PIECE, body.length - this.offset, room);
    const bytes = readCached(body.file.fd, this.offset, wanted);
    if (bytes !== undefined && bytes.length > 0) {
      spend(bytes.length);
      return bytes;
    }
    this.read = new BodyRead(this, request);
    body.file.read(this.offset, wanted, this.read, ended);
    return undefined;
  }

  wasRead(read: BodyRead, bytes: Buffer, why: string): void {
    if (read !== this.read) return;
    this.read = undefined;
    spend(bytes.length);
    if (bytes.length === 0) {
      const sentence = `pread() of the request body failed (${why}) while sending request to upstream`;
      logError(read.request, "crit", sentence);
    }
    this.owner.onBodyRead(bytes.length === 0 ? undefined : bytes);
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }

  /** Counts bytes sent: all that `next` returned (`whole`), or only the first of them. */
  advance(length: number, whole: boolean): void {
    this.offset += length;
    this.within += length;
    if (!whole) return;
    this.piece++;
    this.within = 0;
  }
}
