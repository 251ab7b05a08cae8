import { closeSync, fstatSync, writeSync } from "node:fs";
import { sentence } from "../../config/errors.ts";
import { errnoCode, errnoText } from "../../sys/errno.ts";
import { boundary, faultText } from "../../sys/guard.ts";
import { startTimer } from "../../sys/timers.ts";
import { pause } from "../../sys/write.ts";
import type { LogFile } from "./log.ts";
import { openLog } from "./open_log.ts";

/** A batch is written before the turn of the loop ends when it has grown to this many bytes. */
const BATCH_BYTES = 64 * 1024;
/** PIPE_BUF: so many bytes enter a pipe as a whole, whoever else writes to it; longer lines may be cut by another's. */
const ATOMIC_BYTES = process.platform === "linux" ? 4096 : 512;
/** So many bytes wait for a full pipe; then its writer waits, as nginx's always does. */
const QUEUE_BYTES = 1024 * 1024;
/** How long a writer waits for a reader that takes nothing at all, in ms; then lines are lost, and counted. */
const STALL_MS = 1000;
/** When a full pipe is tried again, in ms. */
const RETRY_MS = 5;
/** nginx says at most once in this many ms that a log cannot be written. */
const REPORT_MS = 60_000;
const NONE = Buffer.alloc(0);
const LINE_FEED = 10;

/** Takes sentences about logs that cannot be written. */
let report: (text: string) => void = () => {};

/** Where this thread says that a log cannot be written or has lost lines: its error log, as [alert]. */
export function reportLogFailures(to: (text: string) => void): void {
  report = to;
}

/**
 * A log of this thread: lines of one turn of the loop leave in one write. Other threads and processes append to the
 * same file or pipe, and no line is cut by another's: a file takes a write as a whole, a pipe what is no longer than
 * PIPE_BUF. What a pipe does not take at once waits here.
 */
export class AppendFile implements LogFile {
  readonly path: string;
  readonly #lent: (path: string) => number | undefined;
  /** -1 while it is closed. */
  #fd = -1;
  /** It opened that itself, and closes it. */
  #own = false;
  /** No regular file: it may be full for a while. */
  #pipe = false;
  /** Lines that no write has been tried with. */
  #batch = "";
  /** From #at on: what is left of a batch. */
  #rest: Buffer = NONE;
  #at = 0;
  /** What was written last ends within a line. */
  #cut = false;
  #scheduled = false;
  #retrying = false;
  /** Its reader took nothing for STALL_MS: until it does again, nobody waits for it. */
  #stalled = false;
  /** Lines lost for a reader that was too slow. */
  #lost = 0;
  /** As nginx does: a full disk is left alone for a second, since writing to one may block for long. */
  #fullUntil = 0;
  #reportedAt = Number.NEGATIVE_INFINITY;
  readonly #flush = boundary(this, (): void => {
    this.#scheduled = false;
    this.flush();
  });

  /** `lent`: the descriptor of that path where somebody else has opened it, and closes it. */
  constructor(path: string, lent: (path: string) => number | undefined) {
    this.path = path;
    this.#lent = lent;
  }

  /** What could not be written for an exception is lost; the log goes on. */
  onFault(error: unknown): void {
    this.#drop();
    this.#retrying = false;
    this.#sayFailed(faultText(error));
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** Opens it, or opens it anew; what it has gathered goes to the old file. Throws nginx's sentence, and is as it was. */
  open(): void {
    const lent = this.#lent(this.path);
    const fd = lent ?? openLog(this.path);
    if (this.#fd >= 0) this.flush();
    this.#shut();
    this.#use(fd, lent === undefined);
  }

  /** Where a line comes all the same, it opens again. */
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

  /** Before the end: waits for a full pipe until then (`performance.now()`), and gives up what it has not taken. */
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
      this.#pipe = !fstatSync(fd).isFile();
    } catch {
      // Nothing is open under that number: a write will tell.
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

  /** A file takes all but where the disk is full. */
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

  /** Where the disk was full within a line, the line's end follows when there is room, so that the next is whole. */
  #keepCutLine(): void {
    this.#rest = this.#cut ? this.#rest.subarray(this.#at, lineEnd(this.#rest, this.#at)) : NONE;
    this.#at = 0;
  }

  /** Too much has gathered for a pipe. */
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

/** As many whole lines as a pipe takes at once, or one that is longer. */
function pieceEnd(bytes: Buffer, from: number): number {
  const most = from + ATOMIC_BYTES;
  if (bytes.length <= most) return bytes.length;
  const last = bytes.lastIndexOf(LINE_FEED, most - 1);
  return last >= from ? last + 1 : lineEnd(bytes, most);
}

/** Behind the next line feed. */
function lineEnd(bytes: Buffer, from: number): number {
  const at = bytes.indexOf(LINE_FEED, from);
  return at < 0 ? bytes.length : at + 1;
}

function lines(text: string): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) count++;
  return count;
}
