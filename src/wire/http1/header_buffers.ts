import { type HostPort, validateHost } from "../host.ts";
import { byteString } from "../latin1.ts";
import { SPAN } from "./field_scan.ts";
import type { HeadStore } from "./head_store.ts";
import type { RequestFields, RequestLimits } from "./request_fields.ts";
import type { RequestLine } from "./request_line.ts";

const hostPort: HostPort = { host: "", port: 0 };

/**
 * Checks a head against client_header_buffer_size and large_client_header_buffers. nginx reads into one buffer of the
 * former size, then into large ones; a line must be in one buffer, so an incomplete one moves to the next. Here the
 * buffers are only counted. Positions are relative to the head's start.
 */
export class HeaderBuffers {
  /** Where the current buffer ends. */
  end = 0;
  /** Large buffers in use. */
  private used = 0;
  private readonly line: RequestLine;
  private readonly store: HeadStore;
  private readonly fields: RequestFields;

  constructor(line: RequestLine, store: HeadStore, fields: RequestFields) {
    this.line = line;
    this.store = store;
    this.fields = fields;
    this.reset();
  }

  /** To be called once the fields have the limits of the next head. */
  reset(): void {
    this.end = this.fields.limits.headerBufferSize;
    this.used = 0;
  }

  /** Whether the line from `lineStart` to `lineEnd` fits, after the fields whose positions end at `read`. */
  fits(bytes: Buffer, read: number, lineStart: number, lineEnd: number): boolean {
    return lineEnd <= this.end || this.grow(bytes, read, lineStart, lineEnd);
  }

  /** Takes further buffers until the line that ends at `needed` fits; false if it does not. */
  grow(bytes: Buffer, read: number, lineStart: number, needed: number): boolean {
    while (needed > this.end) if (!this.next(this.limitsNow(bytes, read), lineStart)) return false;
    return true;
  }

  /** The same for a line that fills the buffer to its last byte and is not complete. */
  full(bytes: Buffer, read: number, lineStart: number, end: number): boolean {
    while (end >= this.end) if (!this.next(this.limitsNow(bytes, read), lineStart)) return false;
    return true;
  }

  /** The limits in force after the fields whose positions end at `read`: a Host among them may have chosen another server. */
  private limitsNow(bytes: Buffer, read: number): RequestLimits {
    const { limits, limitsOf } = this.fields;
    if (limitsOf === undefined) return limits;
    const { spans } = this.store;
    const base = this.line.start;
    const { hostStart, hostEnd } = this.line;
    let host = hostEnd > 0 ? byteString(bytes, hostStart, hostEnd) : "";
    for (let at = 0; at < read && host === ""; at += SPAN) {
      const name = byteString(bytes, base + spans[at], base + spans[at + 1]);
      if (name.toLowerCase() === "host") host = byteString(bytes, base + spans[at + 2], base + spans[at + 3]);
    }
    return host !== "" && validateHost(host, hostPort) ? limitsOf(hostPort.host) : limits;
  }

  private next(limits: RequestLimits, lineStart: number): boolean {
    const partial = this.end - lineStart;
    if (partial > 0 && partial >= limits.largeBufferSize) return false;
    if (this.used === limits.largeBuffers) return false;
    this.used++;
    this.end = lineStart + limits.largeBufferSize;
    return true;
  }
}
