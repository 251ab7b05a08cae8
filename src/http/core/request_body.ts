import { SlabQueue } from "../../net/slabs.ts";
import { afterEvent } from "../../sys/guard.ts";
import { finalizeRequest, startPhases } from "./engine.ts";
import { logError } from "./log_context.ts";
import type { Request } from "./request.ts";
import type { Template } from "./script.ts";
import { openTemporary, type TempFile, TempFileError } from "./temp_file.ts";
import type { BodySink, RequestBody } from "./types.ts";

/** A request's body in memory or in a temporary file. */
class StoredBody implements RequestBody {
  readonly data = new SlabQueue();
  length = 0;
  whole = false;
  file: TempFile | undefined = undefined;
  lent = false;
  released = false;

  release(): void {
    this.released = true;
    if (!this.lent) this.data.clear();
  }

  memory(): Buffer | undefined {
    return this.file === undefined ? this.data.whole() : undefined;
  }
}

/** This many bytes may wait to be written to the file; then reading pauses. */
const WAITING = 128 * 1024;

/** When a body goes to a file, and what becomes of that file. */
interface FileUse {
  /** Even if it would fit in memory. */
  readonly always: boolean;
  readonly unlinked: "when it was opened" | "with the request" | "never";
  readonly mode: number;
  readonly level: "warn" | "notice" | undefined;
}

/** By client_body_in_file_only. */
const FILE_USE: Readonly<Record<"off" | "on" | "clean", FileUse>> = {
  // Nobody needs the name: unlinked at once, the file cannot outlive the request.
  off: { always: false, unlinked: "when it was opened", mode: 0o600, level: "warn" },
  on: { always: true, unlinked: "never", mode: 0o600, level: "notice" },
  clean: { always: true, unlinked: "with the request", mode: 0o600, level: "notice" },
};

/** For a handler that renames the file. */
const TO_BE_RENAMED: FileUse = { always: true, unlinked: "with the request", mode: 0o660, level: undefined };

/** Reads the whole body, then calls `then`, perhaps at once. Errors are answered here (413, 400, 408 …). */
export function readBody(request: Request, then: (request: Request) => void): void {
  read(request, then, FILE_USE[request.location.core.clientBodyInFileOnly]);
}

/**
 * The same, but the body goes to a file with a name, however short it is. With the request it is removed, unless the
 * handler has taken it away (`giveAway`). What somebody has read before is not in such a file.
 */
export function readBodyIntoFile(request: Request, then: (request: Request) => void): void {
  read(request, then, TO_BE_RENAMED);
}

function read(request: Request, then: (request: Request) => void, use: FileUse): void {
  if (request.body !== undefined || request.discardBody) {
    then(request);
    return;
  }
  if (request.expectContinue) request.exchange.sendContinue(request);
  const body = new StoredBody();
  request.body = body;
  if (request.bodyEnded && !use.always) {
    body.whole = true;
    then(request);
    return;
  }
  const reader = new BodyReader(request, body, then, use);
  if (request.bodyEnded) {
    reader.onBodyEnd();
    return;
  }
  request.bodySink = reader;
  request.exchange.startBody(request, true);
}

class BodyReader implements BodySink {
  private readonly request: Request;
  private readonly body: StoredBody;
  private readonly next: (request: Request) => void;
  private readonly use: FileUse;
  /** Bytes held in memory before a file is opened. */
  private readonly inMemory: number;
  /** Bytes written to the file; those not written yet are in `body.data`. */
  private written = 0;
  private writing = false;
  private ended = false;

  constructor(request: Request, body: StoredBody, next: (request: Request) => void, use: FileUse) {
    this.request = request;
    this.body = body;
    this.next = next;
    this.use = use;
    const { clientBodyBufferSize: size } = request.location.core;
    // As in nginx the buffer is a quarter larger if that saves a file, but not for HTTP/2.
    const most = request.version < 2000 ? size * 1.25 : size;
    this.inMemory = request.contentLength >= 0 && request.contentLength < most ? request.contentLength : size;
  }

  onBody(bytes: Buffer): void {
    const { body, request } = this;
    body.length += bytes.length;
    body.data.push(bytes);
    if (body.file === undefined) {
      if (body.length <= this.inMemory && !this.use.always) return;
      if (!this.open()) return;
    }
    this.write();
    if (body.data.length >= WAITING) request.exchange.pauseBody();
  }

  onBodyEnd(): void {
    const { request, body } = this;
    request.bodySink = undefined;
    if (body.file === undefined && this.use.always && !this.open()) return;
    if (this.writing) this.ended = true;
    else this.finish();
  }

  private finish(): void {
    this.body.whole = true;
    this.next(this.request);
  }

  onBodyError(status: number): void {
    this.request.bodySink = undefined;
    finalizeRequest(this.request, status);
  }

  onFault(error: unknown): void {
    this.request.onFault(error);
  }

  private open(): boolean {
    const { body, request } = this;
    const { unlinked, mode, level } = this.use;
    try {
      const file = openTemporary(request.location.core.clientBodyTempPath, mode);
      body.file = file;
      request.cleanup ??= [];
      request.cleanup.push(() => {
        if (unlinked === "with the request") file.remove();
        file.close();
      });
      if (unlinked === "when it was opened") file.remove();
      if (level !== undefined) {
        logError(request, level, `a client request body is buffered to a temporary file ${file.path}`);
      }
      return true;
    } catch (error) {
      if (!(error instanceof TempFileError)) throw error;
      this.failed(error.message);
      return false;
    }
  }

  private write(): void {
    const { file, data } = this.body;
    if (this.writing || file === undefined || data.length === 0) return;
    this.writing = true;
    this.body.lent = true;
    file.write(data.first(), this.written, this, written);
  }

  wasWritten(count: number, why: string): void {
    const { body, request } = this;
    this.writing = false;
    body.lent = false;
    if (body.released) {
      body.release();
      return;
    }
    if (request.finalized) return;
    if (count === 0) {
      this.failed(`pwrite() "${body.file?.path}" failed (${why})`);
      return;
    }
    this.written += count;
    body.data.drop(count);
    this.write();
    if (this.writing) {
      if (body.data.length < WAITING) request.exchange.resumeBody();
    } else if (this.ended) {
      this.finish();
    } else {
      request.exchange.resumeBody();
    }
  }

  private failed(sentence: string): void {
    const { request } = this;
    request.bodySink = undefined;
    logError(request, "crit", sentence);
    finalizeRequest(request, 500);
  }
}

function written(reader: BodyReader, count: number, why: string): void {
  reader.wasWritten(count, why);
}

/** `client_body_early_read`: reads the body before the first phase if one of its strings is neither empty nor "0". */
export function startWithBody(request: Request, predicates: readonly Template[]): void {
  const wanted = predicates.some((predicate) => {
    const value = predicate.render(request);
    return value !== "" && value !== "0";
  });
  if (!wanted) {
    startPhases(request);
    return;
  }
  const limit = request.location.core.clientMaxBodySize;
  if (limit !== 0 && request.contentLength > limit) {
    logError(request, "error", `client intended to send too large body: ${request.contentLength} bytes`);
    request.expectContinue = false;
    finalizeRequest(request, 413);
    return;
  }
  readBody(request, startPhases);
}

/**
 * Calls `then` for a request whose body is passed on as it comes (proxy_request_buffering off). What has been received
 * already is taken first: a body that came whole with the head is then in `request.body`, is sent like a buffered one
 * and can be sent again to the next server. Otherwise its beginning is in `request.preread`.
 */
export function readUnbuffered(request: Request, then: (request: Request) => void): void {
  const reader = new UnbufferedReader(request, then);
  request.bodySink = reader;
  request.exchange.startBody(request);
  // The rest of what was received with the head is delivered once the handler has returned.
  afterEvent(settle, reader);
}

function settle(reader: UnbufferedReader): void {
  reader.settled();
}

class UnbufferedReader implements BodySink {
  private readonly request: Request;
  private readonly begin: (request: Request) => void;
  private readonly body = new StoredBody();
  private over = false;

  constructor(request: Request, begin: (request: Request) => void) {
    this.request = request;
    this.begin = begin;
  }

  onBody(bytes: Buffer): void {
    const { body } = this;
    body.data.push(bytes);
    body.length += bytes.length;
    if (body.length > this.request.location.core.clientBodyBufferSize) this.settled();
  }

  onBodyEnd(): void {
    this.over = true;
    const { request } = this;
    this.body.whole = true;
    request.body = this.body;
    this.begin(request);
  }

  onBodyError(status: number): void {
    this.over = true;
    this.body.release();
    finalizeRequest(this.request, status);
  }

  onFault(error: unknown): void {
    this.request.onFault(error);
  }

  /** Nothing more has been received: the rest is read when a server takes it. */
  settled(): void {
    const { request } = this;
    if (this.over || request.finalized) return;
    this.over = true;
    request.bodySink = undefined;
    request.preread = this.body;
    this.begin(request);
  }
}
