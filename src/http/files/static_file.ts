import fs from "node:fs";
import { NO_ROOM, NOT_THIS_FILE } from "../../net/stream.ts";
import { errnoCode, errorCode, errorText } from "../../sys/errno.ts";
import { CLIENT_CLOSED_REQUEST, DONE, ERROR, OK } from "../core/codes.ts";
import { finalizeRequest } from "../core/engine.ts";
import { LAST, passBody, takesMore } from "../core/filters.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { type FileReader, mayRead, nextTurn, spend } from "./file_turns.ts";
import type { RangePlan } from "./ranges.ts";
import { SMALL } from "./small_files.ts";

const CHUNK = 64 * 1024;
/** How much the kernel sends of a file at once, so that others have their turn. */
const AT_ONCE = 512 * 1024;

const small = Buffer.allocUnsafeSlow(SMALL);
const chunk = Buffer.allocUnsafeSlow(CHUNK);

/** Reads a whole file of at most SMALL bytes. Undefined if that fails, which is logged. */
export function readSmall(request: Request, fd: number, path: string, length: number): string | undefined {
  let read = 0;
  try {
    if (length > 0) read = fs.readSync(fd, small, 0, length, null);
  } catch (error) {
    logError(request, "crit", `read() "${path}" failed (${errorText(errorCode(error))})`);
    return undefined;
  }
  if (read === length) return small.latin1Slice(0, length);
  logError(request, "alert", `"${path}" was truncated while it was sent: ${read} of ${length} bytes read`);
  return undefined;
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

/** Sends an open file as the body of a response whose head was sent, or the requested ranges of it, and closes it. */
export function sendFile(request: Request, fd: number, path: string, length: number): number {
  const plan = request.ranges ?? { parts: [{ head: "", start: 0, end: length }], tail: "" };
  return new FileSender(request, fd, path, plan).send();
}

/** Sends a file piece by piece, as fast as the client takes it. */
class FileSender implements FileReader {
  private readonly request: Request;
  private readonly fd: number;
  private readonly path: string;
  private readonly plan: RangePlan;
  /** The current part, and the position in the file; -1 before a part was begun. */
  private part = 0;
  private at: number;
  private open = true;
  /** `sendfile` */
  private readonly direct: boolean;

  constructor(request: Request, fd: number, path: string, plan: RangePlan) {
    this.request = request;
    this.fd = fd;
    this.path = path;
    this.plan = plan;
    this.at = -1;
    this.direct = request.location.core.sendfile;
  }

  /** Starts. Returns the content handler's code. */
  send(): number {
    const code = this.run();
    if (code !== DONE) return code;
    const { request } = this;
    request.onWritable = () => this.readOn();
    request.onAbort = () => this.abort();
    request.cleanup ??= [];
    request.cleanup.push(() => this.close());
    // The client takes more, so onWritable will not be called: continue after the other readers.
    if (takesMore(request)) nextTurn(this);
    return DONE;
  }

  /** A client that has only half-closed still gets the file. */
  private abort(): void {
    if (this.request.aborted) finalizeRequest(this.request, CLIENT_CLOSED_REQUEST);
  }

  onFault(error: unknown): void {
    this.request.onFault(error);
  }

  readOn(): void {
    const { request } = this;
    if (request.finalized || !this.open || !takesMore(request)) return;
    const code = this.run();
    if (code !== DONE) finalizeRequest(request, code);
    else if (takesMore(request)) nextTurn(this);
  }

  /**
   * Sends until the client blocks or the turn's share is used up (DONE), all is sent (OK) or the file cannot be read
   * (ERROR).
   */
  private run(): number {
    const { request, plan } = this;
    const { connection } = request;
    try {
      while (this.part < plan.parts.length) {
        const { head, start, end } = plan.parts[this.part];
        const final = this.part === plan.parts.length - 1 && plan.tail === "" ? LAST : 0;
        if (this.at < 0) {
          this.at = start;
          if (head !== "") passBody(request, 0, head, 0);
          if (start === end) passBody(request, 0, "", final);
        }
        while (this.at < end) {
          if (connection.closed) {
            this.close();
            return CLIENT_CLOSED_REQUEST;
          }
          if (!takesMore(request) || !mayRead(this)) return DONE;
          const sent = this.sendDirectly(end);
          if (sent === NO_ROOM) return DONE;
          if (sent === 0) return this.truncated(end);
          if (sent > 0) {
            this.at += sent;
            spend(sent);
            if (this.at === end && final !== 0) passBody(request, 0, "", final);
            continue;
          }
          const read = fs.readSync(this.fd, chunk, 0, Math.min(CHUNK, end - this.at), this.at);
          if (read === 0) return this.truncated(end);
          this.at += read;
          spend(read);
          passBody(request, 0, read === CHUNK ? chunk : chunk.subarray(0, read), this.at === end ? final : 0);
        }
        this.part++;
        this.at = -1;
      }
    } catch (error) {
      this.close();
      if (errnoCode(error) === undefined) throw error;
      logError(request, "crit", `pread() "${this.path}" failed (${errorText(errorCode(error))})`);
      return ERROR;
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
    const length = Math.min(end - this.at, sendfileMaxChunk === 0 ? AT_ONCE : Math.min(AT_ONCE, sendfileMaxChunk));
    return exchange.sendFile(request, this.fd, this.at, length);
  }

  private truncated(end: number): number {
    logError(this.request, "alert", `"${this.path}" was truncated while it was sent: ${this.at} of ${end} bytes read`);
    this.close();
    return ERROR;
  }

  private close(): void {
    if (!this.open) return;
    this.open = false;
    fs.closeSync(this.fd);
  }
}
