import { closeSync, fstatSync, writeSync } from "node:fs";
import { sentence } from "../../config/errors.ts";
import { errnoCode, errnoText } from "../../sys/errno.ts";
import { boundary, faultText } from "../../sys/guard.ts";
import { startTimer } from "../../sys/timers.ts";
import { pause, setNonBlocking } from "../../sys/write.ts";
import type { LogFile } from "./log.ts";
import { openLog } from "./open_log.ts";

/** A batch of this many bytes is written at once, not at the end of the turn. */
const BATCH_BYTES = 64 * 1024;
/** PIPE_BUF: a write of up to this many bytes to a pipe is atomic; longer lines may be interleaved with other writers'. */
const ATOMIC_BYTES = 4096;
/** How many bytes are queued for a full pipe; beyond that the writer blocks, as nginx's always does. */
const QUEUE_BYTES = 1024 * 1024;
/** How long a writer blocks for a reader that reads nothing at all, in ms; then lines are dropped, and counted. */
const STALL_MS = 1000;
/** The time between attempts to write to a full pipe, in ms. */
const RETRY_MS = 5;
/** As in nginx, errors of a log are reported at most once in this many ms. */
const REPORT_MS = 60_000;
const NONE = Buffer.alloc(0);
const LINE_FEED = 10;

let report: (text: string) => void = () => {};

/** Sets who is told that a log cannot be written or has lost lines: the error log, as [alert]. */
export function reportLogFailures(to: (text: string) => void): void {
  report = to;
}

/**
 * A log file of this process. The lines of one turn of the loop are written at once. Other processes append
 * to the same file; lines are not interleaved, since a write to a file is atomic, and one to a pipe up to PIPE_BUF. What
 * a full pipe does not take is queued.
 */
export class AppendFile implements LogFile {
  readonly path: string;
  readonly #lent: (path: string) => number | undefined;
  /** -1 while it is closed. */
  #fd = -1;
  /** The descriptor was opened here, not lent. */
  #own = false;
  /** Not a regular file: a write may fail with EAGAIN. */
  #pipe = false;
  /** Lines not written yet. */
  #batch = "";
  /** A batch that was written in part: the rest starts at #at. */
  #rest: Buffer = NONE;
  #at = 0;
  /** The last write ended within a line. */
  #cut = false;
  #scheduled = false;
  #retrying = false;
  /** The reader has read nothing for STALL_MS: writers do not block until it reads again. */
  #stalled = false;
  /** Lines dropped since the last report. */
  #lost = 0;
  /** As in nginx, nothing is written for a second after ENOSPC, since writing to a full disk may block for long. */
  #fullUntil = 0;
  #reportedAt = Number.NEGATIVE_INFINITY;
  readonly #flush = boundary(this, (): void => {
    this.#scheduled = false;
    this.flush();
  });

  /** `lent` returns the descriptor that the master has open for a path, if any. */
  constructor(path: string, lent: (path: string) => number | undefined) {
    this.path = path;
    this.#lent = lent;
  }

  /** Drops the lines that are queued. */
  onFault(error: unknown): void {
    this.#drop();
    this.#retrying = false;
    this.#sayFailed(faultText(error));
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** Opens it, or reopens it after writing queued lines to the old file. Throws nginx's message, and then is unchanged. */
  open(): void {
    const lent = this.#lent(this.path);
    const fd = lent ?? openLog(this.path);
    if (this.#fd >= 0) this.flush();
    this.#shut();
    this.#use(fd, lent === undefined);
  }

  /** A later line opens it again. */
  close(): void {
    this.drain(performance.now() + STALL_MS);
    this.#shut();
  }

  append(line: string): void {
    this.#batch += line;
    if (this.#batch.length >= BATCH_BYTES) {
      if (!this.#retrying) {
        this.flush();
        return;
      }
      if (this.#queued() > QUEUE_BYTES) this.#wait();
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#flush);
  }

  flush(): void {
    if (this.#fullUntil !== 0) {
      if (performance.now() < this.#fullUntil) {
        this.#batch = "";
        return;
      }
      this.#fullUntil = 0;
    }
    this.#write();
  }

  /** Before the process exits: blocks for a full pipe until then (`performance.now()`), and drops the rest. */
  drain(until: number): void {
    this.flush();
    while (this.#queued() > 0 && this.#fullUntil === 0 && performance.now() < until) {
      pause();
      this.#write();
    }
    if (this.#queued() > 0 && this.#fullUntil === 0) this.#giveUp();
  }

  #use(fd: number, own: boolean): void {
    this.#fd = fd;
    this.#own = own;
    this.#fullUntil = 0;
    try {
      const status = fstatSync(fd);
      this.#pipe = !status.isFile();
      // Standard output and error are as whoever started the program has left them; libuv makes them block in children.
      if (fd <= 2 && (status.isFIFO() || status.isSocket())) setNonBlocking(fd);
    } catch {
      // EBADF: the write will fail and be reported.
    }
  }

  #shut(): void {
    if (this.#own && this.#fd > 2) closeSync(this.#fd);
    this.#fd = -1;
  }

  #queued(): number {
    return this.#rest.length - this.#at + this.#batch.length;
  }

  #write(): void {
    if (this.#queued() === 0 || !this.#openAgain()) return;
    try {
      if (this.#pipe || this.#rest.length > 0) this.#writePieces();
      else this.#writeBatch();
    } catch (error) {
      this.#failed(errnoCode(error) ?? "EIO");
      return;
    }
    this.#retrying = false;
    if (this.#lost > 0) this.#reportLoss();
  }

  #openAgain(): boolean {
    if (this.#fd >= 0) return true;
    try {
      this.open();
      return true;
    } catch (error) {
      this.#drop();
      this.#sayFailed(sentence(error));
      return false;
    }
  }

  /** A write to a regular file is partial only if the disk is full. */
  #writeBatch(): void {
    const batch = this.#batch;
    this.#batch = "";
    const written = writeSync(this.#fd, batch, null, "latin1");
    this.#cut = false;
    if (written === batch.length) return;
    this.#batch = batch.slice(written);
    if (written > 0) this.#cut = batch.charCodeAt(written - 1) !== LINE_FEED;
    this.#writePieces();
  }

  #writePieces(): void {
    for (;;) {
      if (this.#at === this.#rest.length) {
        this.#rest = this.#batch === "" ? NONE : Buffer.from(this.#batch, "latin1");
        this.#at = 0;
        this.#batch = "";
        if (this.#rest.length === 0) return;
      }
      const end = this.#pipe ? pieceEnd(this.#rest, this.#at) : this.#rest.length;
      this.#at += writeSync(this.#fd, this.#rest, this.#at, end - this.#at);
      this.#cut = this.#rest[this.#at - 1] !== LINE_FEED;
      this.#stalled = false;
    }
  }

  #failed(code: string): void {
    if (code === "EAGAIN" || code === "EINTR") {
      if (this.#retrying) return;
      this.#retrying = true;
      this.#retry();
      return;
    }
    this.#retrying = false;
    if (code === "ENOSPC") {
      this.#fullUntil = performance.now() + 1000;
      this.#keepCutLine();
      this.#batch = "";
    } else {
      this.#drop();
    }
    this.#sayFailed(`write() to "${this.path}" failed ${errnoText(code)}`);
  }

  #retry(): void {
    startTimer(
      RETRY_MS,
      boundary(this, () => {
        if (!this.#retrying) return;
        this.#write();
        if (this.#retrying) this.#retry();
      }),
      { background: true },
    );
  }

  /** If the disk was full within a line, the rest of that line is kept, so that the next one starts on its own line. */
  #keepCutLine(): void {
    this.#rest = this.#cut ? this.#rest.subarray(this.#at, lineEnd(this.#rest, this.#at)) : NONE;
    this.#at = 0;
  }

  /** The queue is full: blocks. */
  #wait(): void {
    const until = performance.now() + (this.#stalled ? 0 : STALL_MS);
    for (;;) {
      this.#write();
      if (this.#queued() <= QUEUE_BYTES) return;
      if (performance.now() >= until) break;
      pause();
    }
    this.#stalled = true;
    this.#lost += lines(this.#batch);
    this.#batch = "";
  }

  #giveUp(): void {
    this.#lost += lines(this.#rest.toString("latin1", this.#at)) + lines(this.#batch);
    this.#drop();
    this.#reportLoss();
  }

  #drop(): void {
    this.#rest = NONE;
    this.#at = 0;
    this.#batch = "";
  }

  #reportLoss(): void {
    const lost = this.#lost;
    this.#lost = 0;
    report(`write() to "${this.path}" was incomplete: ${lost} lines are lost, which its reader was too slow for`);
  }

  #sayFailed(text: string): void {
    const time = performance.now();
    if (time - this.#reportedAt < REPORT_MS) return;
    this.#reportedAt = time;
    report(text);
  }
}

/** The end of as many whole lines as can be written atomically, or of one longer line. */
function pieceEnd(bytes: Buffer, from: number): number {
  const most = from + ATOMIC_BYTES;
  if (bytes.length <= most) return bytes.length;
  const last = bytes.lastIndexOf(LINE_FEED, most - 1);
  return last >= from ? last + 1 : lineEnd(bytes, most);
}

/** After the next line feed. */
function lineEnd(bytes: Buffer, from: number): number {
  const at = bytes.indexOf(LINE_FEED, from);
  return at < 0 ? bytes.length : at + 1;
}

function lines(text: string): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) count++;
  return count;
}
