import fs from "node:fs";
import { FILE_PIECE, type FileReadHandler } from "../../net/engine.ts";
import { engine } from "../../net/engines.ts";
import { NO_ROOM, NOT_THIS_FILE, type StreamError } from "../../net/stream.ts";
import { afterEvent } from "../../sys/guard.ts";
import { type CachedFile, cachedUntil, readCached } from "../../sys/page_cache.ts";
import type { Turn } from "../../sys/turns.ts";
import { CLIENT_CLOSED_REQUEST, DONE, ERROR, OK } from "../core/codes.ts";
import { finalizeIfAborted, finalizeRequest } from "../core/engine.ts";
import { LAST, passBody, takesMore } from "../core/filters.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { BodySender } from "../core/types.ts";
import { mayRead, nextTurn, spend, spendSent } from "./file_turns.ts";
import { loopTurn } from "./loop_turn.ts";
import type { RangePlan } from "./ranges.ts";

/** How much the kernel sends of a file at once, so that others have their turn: sendfile_max_chunk's default. */
const AT_ONCE = 2 * 1024 * 1024;

/** A body larger than this is sent when the requests of the same turn are read. */
const LARGE = 64 * 1024;

/** Reads a whole file of at most SMALL bytes. Undefined if not all of it can be had without waiting for the disk. */
export function readSmall(fd: number, length: number): string | undefined {
  if (length === 0) return "";
  const bytes = readCached(fd, 0, length);
  return bytes?.length === length ? bytes.latin1Slice(0, length) : undefined;
}

/** Sends a body that is in memory, or the requested ranges of it. */
export function sendSmall(request: Request, body: string): number {
  const plan = request.ranges;
  if (plan === undefined) {
    passBody(request, 0, body, LAST);
    return OK;
  }
  let text = "";
  for (const { head, start, end } of plan.parts) text += head + body.slice(start, end);
  passBody(request, 0, text + plan.tail, LAST);
  return OK;
}

/** A descriptor that is kept, and used by several responses: closed when nobody uses it any more. */
export class SharedFile {
  readonly fd: number;
  readonly path: string;
  readonly stats: fs.Stats;
  private users = 1;
  private checkedIn = 0;

  /** Whoever makes it is its first user. */
  constructor(fd: number, path: string, stats: fs.Stats) {
    this.fd = fd;
    this.path = path;
    this.stats = stats;
  }

  use(): void {
    this.users++;
  }

  /** Whether nobody has written to it, and it has a name still; looked at once in a turn of the event loop. */
  isIntact(): boolean {
    const turn = loopTurn();
    if (this.checkedIn === turn) return true;
    const { size, ctimeMs, nlink } = fs.fstatSync(this.fd);
    if (size !== this.stats.size || ctimeMs !== this.stats.ctimeMs || nlink === 0) return false;
    this.checkedIn = turn;
    return true;
  }

  release(): void {
    this.users--;
    if (this.users === 0) fs.closeSync(this.fd);
  }
}

/** A body that is not just a whole file: bytes in memory, and behind them a section of the file. */
export interface FileBody {
  readonly prefix: Buffer;
  readonly start: number;
  readonly end: number;
  /** The descriptor, if it is shared: whoever sends it is a user of it. */
  readonly shared?: SharedFile;
}

/**
 * Sends an open file, or the body that consists of some of it, for a response whose head was sent, or the requested
 * ranges of that, and closes the file.
 */
export function sendFile(request: Request, fd: number, path: string, stats: fs.Stats, body?: FileBody): number {
  const length = body === undefined ? stats.size : body.prefix.length + body.end - body.start;
  const plan = request.ranges ?? { parts: [{ head: "", start: 0, end: length }], tail: "" };
  return new FileSender(request, fd, path, stats, plan, body).send();
}

/**
 * Sends a file piece by piece, as fast as the client takes it. What is not in memory is read by the engine, so that the disk
 * keeps nobody else waiting.
 */
class FileSender implements BodySender, Turn, FileReadHandler, CachedFile {
  readonly fd: number;
  readonly identity: number;
  readonly size: number;
  private readonly request: Request;
  private readonly path: string;
  private readonly plan: RangePlan;
  private readonly shared: SharedFile | undefined;
  private readonly prefix: Buffer;
  /** What is at a position of the body, behind the prefix, is in the file this much further on. */
  private readonly shift: number;
  /** The current part, and the position in the body; -1 before a part was begun. */
  private part = 0;
  private at = -1;
  private open = true;
  /** `sendfile` */
  private readonly direct: boolean;
  /** Up to here, a position in the file, it was in memory. */
  private cachedEnd = 0;
  /** The engine is reading: the descriptor is closed after that. */
  private reading = false;
  /** What `run` has come to. */
  private code = DONE;

  constructor(
    request: Request,
    fd: number,
    path: string,
    { dev, ino, size }: fs.Stats,
    plan: RangePlan,
    body: FileBody | undefined,
  ) {
    this.request = request;
    this.fd = fd;
    this.identity = dev * 0x1_0000_0000 + ino;
    this.size = size;
    this.path = path;
    this.plan = plan;
    this.shared = body?.shared;
    this.prefix = body?.prefix ?? NOTHING;
    this.shift = body === undefined ? 0 : body.start - body.prefix.length;
    this.direct = request.location.core.sendfile;
  }

  /** Starts. Returns the content handler's code. */
  send(): number {
    const { request } = this;
    if (!this.isLarge()) {
      let code: number;
      try {
        code = this.run();
      } catch (error) {
        this.close();
        throw error;
      }
      if (code !== DONE) return code;
    }
    request.sender = this;
    request.onWritable = goOnSending;
    request.onAbort = finalizeIfAborted;
    this.goOn();
    return DONE;
  }

  /**
   * The kernel is to send much of it: in the same turn, but when all requests that have come are answered so far. To send a
   * mebibyte takes the kernel a tenth of a millisecond and more, and leaves nothing of ours in the processor's caches; so the
   * requests are read one behind the other, then files are sent one behind the other, then the requests are ended.
   */
  private isLarge(): boolean {
    const { request, plan } = this;
    const [{ start, end }] = plan.parts;
    return (
      end - start > LARGE && this.direct && request.bodyFilters.length === 0 && request.exchange.sendFile !== undefined
    );
  }

  /** The client takes more, so onWritable will not be called: continue after the other readers. */
  private goOn(): void {
    if (!this.reading && takesMore(this.request)) nextTurn(this);
  }

  onFault(error: unknown): void {
    this.request.onFault(error);
  }

  onTurn(): void {
    const { request } = this;
    if (!request.finalized && this.open && !this.reading && takesMore(request)) this.runOn();
  }

  private runOn(): void {
    this.code = this.run();
    if (this.code !== DONE) afterEvent(finish, this);
    else this.goOn();
  }

  /** All is sent, or no more of it. */
  finish(): void {
    if (!this.request.finalized) finalizeRequest(this.request, this.code);
  }

  /**
   * Sends until the client blocks, the turn's share is used up or the disk has to be waited for (DONE), all is sent (OK) or
   * the file has ended too early (ERROR).
   */
  private run(): number {
    const { request, plan } = this;
    const { connection } = request;
    while (this.part < plan.parts.length) {
      const { head, start, end } = plan.parts[this.part];
      if (this.at < 0) {
        this.at = start;
        this.cachedEnd = start + this.shift;
        if (head !== "") passBody(request, 0, head, 0);
        if (start === end) passBody(request, 0, "", this.flagsAt(end));
      }
      while (this.at < end) {
        if (connection.closed) {
          this.close();
          return CLIENT_CLOSED_REQUEST;
        }
        if (!takesMore(request) || !mayRead(this)) return DONE;
        if (this.at < this.prefix.length) {
          this.pass(this.prefix.subarray(this.at, Math.min(end, this.at + FILE_PIECE)));
          continue;
        }
        const sent = this.sendDirectly(end);
        if (sent === NO_ROOM) return DONE;
        if (sent > 0) {
          this.at += sent;
          spendSent(sent);
          if (this.flagsAt(end) !== 0) passBody(request, 0, "", LAST);
          continue;
        }
        const bytes = sent === 0 ? NOTHING : readCached(this.fd, this.at + this.shift, end - this.at);
        if (bytes === undefined) {
          this.reading = true;
          engine().readFile(this.fd, this.at + this.shift, Math.min(FILE_PIECE, end - this.at), this);
          return DONE;
        }
        if (bytes.length === 0) return this.truncated();
        this.pass(bytes);
      }
      this.part++;
      this.at = -1;
    }
    if (plan.tail !== "") passBody(request, 0, plan.tail, LAST);
    this.close();
    return OK;
  }

  /** Has the kernel send from the file: what `Exchange.sendFile` returns, NOT_THIS_FILE where bytes are to be read. */
  private sendDirectly(end: number): number {
    const { request } = this;
    const { exchange } = request;
    if (!this.direct || request.bodyFilters.length > 0 || exchange.sendFile === undefined) return NOT_THIS_FILE;
    const { sendfileMaxChunk } = request.location.core;
    const most = Math.min(end - this.at, sendfileMaxChunk === 0 ? AT_ONCE : Math.min(AT_ONCE, sendfileMaxChunk));
    const from = this.at + this.shift;
    const wanted = from + most;
    if (this.cachedEnd < wanted) this.cachedEnd = cachedUntil(this, Math.max(this.cachedEnd, from), wanted);
    const length = Math.min(most, this.cachedEnd - from);
    return length === 0 ? NOT_THIS_FILE : exchange.sendFile(request, this.fd, from, length);
  }

  /** Passes on what was read. */
  private pass(bytes: Buffer): void {
    this.at += bytes.length;
    spend(bytes.length);
    passBody(this.request, 0, bytes, this.flagsAt(this.plan.parts[this.part].end));
  }

  /** LAST, if the current part is sent up to its end and nothing follows it. */
  private flagsAt(end: number): number {
    const { plan } = this;
    return this.at === end && plan.tail === "" && this.part === plan.parts.length - 1 ? LAST : 0;
  }

  onFileRead(bytes: Buffer, error: StreamError | undefined): void {
    const { request } = this;
    this.reading = false;
    if (!this.open) {
      this.release();
    } else if (error !== undefined) {
      logError(request, "crit", `pread() "${this.path}" failed (${error.message})`);
      this.close();
      finalizeRequest(request, ERROR);
    } else if (bytes.length === 0) {
      finalizeRequest(request, this.truncated());
    } else if (!request.finalized) {
      if (!request.connection.closed) this.pass(bytes);
      this.runOn();
    }
  }

  private truncated(): number {
    const { end } = this.plan.parts[this.part];
    logError(this.request, "alert", `"${this.path}" was truncated while it was sent: ${this.at} of ${end} bytes read`);
    this.close();
    return ERROR;
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    if (!this.reading) this.release();
  }

  private release(): void {
    if (this.shared !== undefined) this.shared.release();
    else fs.closeSync(this.fd);
  }
}

function finish(sender: FileSender): void {
  sender.finish();
}

function goOnSending({ sender }: Request): void {
  sender?.onTurn();
}

const NOTHING = Buffer.alloc(0);
