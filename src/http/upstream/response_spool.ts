import fs from "node:fs";
import { errorCode, errorText } from "../../config/errno.ts";
import { type BodyFile, openTemporary } from "../body.ts";
import { logError } from "../log_context.ts";
import type { Request } from "../request.ts";
import type { UpstreamSettings } from "./settings.ts";

const READ = 64 * 1024;

/**
 * A response waiting for a slow client (`proxy_buffering`): first in memory, up to proxy_buffers, then in a temporary
 * file, up to proxy_max_temp_file_size. First in, first out.
 */
export class ResponseSpool {
  /** Bytes waiting. */
  length = 0;
  /** Writing failed; the response cannot be completed. */
  failed = false;
  private readonly request: Request;
  private readonly settings: UpstreamSettings;
  private readonly memory: Buffer[] = [];
  private inMemory = 0;
  private file: BodyFile | undefined = undefined;
  private written = 0;
  private read = 0;

  constructor(request: Request, settings: UpstreamSettings) {
    this.request = request;
    this.settings = settings;
  }

  /** No more may be read from the server for now. */
  get full(): boolean {
    if (this.inMemory < this.settings.memory) return false;
    return this.settings.maxTempFile === 0 || this.written >= this.settings.maxTempFile;
  }

  /** Takes bytes lent for the call. */
  push(bytes: Buffer): void {
    if (this.failed) return;
    this.length += bytes.length;
    const useFile = this.file !== undefined && this.read < this.written;
    if (
      !useFile &&
      (this.inMemory + bytes.length <= this.settings.memory || this.full || this.settings.maxTempFile === 0)
    ) {
      this.memory.push(Buffer.from(bytes));
      this.inMemory += bytes.length;
      return;
    }
    try {
      if (this.file === undefined) {
        this.file = openTemporary(this.settings.tempPath);
        fs.unlinkSync(Buffer.from(this.file.path, "latin1"));
        logError(
          this.request,
          "warn",
          `an upstream response is buffered to a temporary file ${this.file.path} while reading upstream`,
        );
      }
      let done = 0;
      while (done < bytes.length)
        done += fs.writeSync(this.file.fd, bytes, done, bytes.length - done, this.written + done);
      this.written += bytes.length;
    } catch (error) {
      const path = this.file?.path ?? this.settings.tempPath.path;
      logError(
        this.request,
        "crit",
        `pwrite() "${path}" failed (${errorText(errorCode(error))}) while reading upstream`,
      );
      this.failed = true;
    }
  }

  /** The next piece; an empty one when nothing waits. */
  shift(): Buffer {
    const piece = this.memory.shift();
    if (piece !== undefined) {
      this.inMemory -= piece.length;
      this.length -= piece.length;
      return piece;
    }
    if (this.file === undefined || this.failed) {
      this.length = 0;
      return Buffer.alloc(0);
    }
    const buffer = Buffer.allocUnsafe(Math.min(READ, this.written - this.read));
    let got = 0;
    let why = "truncated file";
    try {
      got = fs.readSync(this.file.fd, buffer, 0, buffer.length, this.read);
    } catch (error) {
      why = errorText(errorCode(error));
    }
    if (got === 0) {
      logError(this.request, "crit", `pread() "${this.file.path}" failed (${why}) while sending to client`);
      this.failed = true;
      this.length = 0;
    }
    this.read += got;
    this.length -= got;
    return buffer.subarray(0, got);
  }

  close(): void {
    if (this.file === undefined) return;
    fs.closeSync(this.file.fd);
    this.file = undefined;
  }
}
