import fs from "node:fs";
import { errorCode, errorText } from "../../sys/errno.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { RequestBody } from "../core/types.ts";
import { spend } from "../files/file_turns.ts";

/** A body's file is read in pieces of this size. */
const pieces = Buffer.allocUnsafeSlow(64 * 1024);
const NOTHING = pieces.subarray(0, 0);

/** How far a body that was read whole, into memory or a file, has been sent. */
export class BodyCursor {
  private offset = 0;
  /** Of a body in memory: the index of the next piece, and how much of it was sent. */
  private piece = 0;
  private within = 0;

  reset(): void {
    this.offset = 0;
    this.piece = 0;
    this.within = 0;
  }

  atEnd(body: RequestBody): boolean {
    return this.offset >= body.length;
  }

  /** The next bytes, at most `room`, lent for the turn. Undefined if they cannot be read, which was logged. */
  next(request: Request, body: RequestBody, room: number): Buffer | undefined {
    if (room === 0) return NOTHING;
    if (body.file === undefined) {
      const bytes = body.data.at(this.piece);
      return this.within === 0 ? bytes : bytes?.subarray(this.within);
    }
    const wanted = Math.min(pieces.length, body.length - this.offset, room);
    const read = this.read(request, body.file.fd, wanted);
    spend(read);
    return read === 0 ? undefined : pieces.subarray(0, read);
  }

  /** Counts bytes sent: all that `next` returned (`whole`), or only the first of them. */
  advance(length: number, whole: boolean): void {
    this.offset += length;
    this.within += length;
    if (!whole) return;
    this.piece++;
    this.within = 0;
  }

  /** 0 if nothing can be read. */
  private read(request: Request, fd: number, length: number): number {
    let why = "truncated file";
    try {
      const read = fs.readSync(fd, pieces, 0, length, this.offset);
      if (read > 0) return read;
    } catch (error) {
      why = errorText(errorCode(error));
    }
    logError(request, "crit", `pread() of the request body failed (${why}) while sending request to upstream`);
    return 0;
  }
}
