import { SlabQueue } from "../../net/slabs.ts";
import { OK } from "./codes.ts";
import { logError } from "./log_context.ts";
import type { Request } from "./request.ts";
import { openTemporary, type TempFile, TempFileError } from "./temp_file.ts";
import type { BodySink } from "./types.ts";

/** A request's body that was read whole: in memory, or in a temporary file when it did not fit. */
export class RequestBody {
  /** The body where there is no file. The request gives it back at its end. */
  readonly data = new SlabQueue();
  length = 0;
  file: TempFile | undefined = undefined;

  /** The system writes what is in `data` at the moment. */
  lent = false;
  released = false;

  /** The request is over. */
  release(): void {
    this.released = true;
    if (!this.lent) this.data.clear();
  }

  /** The body when it is in memory, in one piece; what $request_body shows. */
  memory(): Buffer | undefined {
    return this.file === undefined ? this.data.whole() : undefined;
  }
}

/** Bytes that may wait for the file; beyond, the client waits. */
const WAITING = 128 * 1024;

/** Reads the whole body, then calls `then`; errors are answered here (413, 400, 408 …). `then` may be called at once. */
export function readBody(
  request: Request,
  finalize: (request: Request, status: number) => void,
  then: (request: Request) => void,
): void {
  if (request.body !== undefined || request.discardBody) {
    then(request);
    return;
  }
  if (request.expectContinue) request.exchange.sendContinue(request);
  const body = new RequestBody();
  request.body = body;
  if (request.bodyEnded && request.location.core.clientBodyInFileOnly === "off") {
    then(request);
    return;
  }
  const reader = new BodyReader(request, body, finalize, then);
  if (request.bodyEnded) {
    reader.onBodyEnd();
    return;
  }
  request.bodySink = reader;
  request.exchange.startBody(request);
}

/**
 * The handler has no use for the request's body (ngx_http_discard_request_body): it is dropped, with 100 Continue where
 * the client waits for it. OK, or the status to answer instead.
 */
export function discardBody(request: Request): number {
  if (request.expectContinue) request.exchange.sendContinue(request);
  if (request.bodyEnded || request.discardBody || request.body !== undefined) return OK;
  return request.exchange.discardBody(request);
}

class BodyReader implements BodySink {
  private readonly request: Request;
  private readonly body: RequestBody;
  private readonly finalize: (request: Request, status: number) => void;
  private readonly next: (request: Request) => void;
  /** How much is held in memory. */
  private readonly inMemory: number;
  /** Bytes of the file; what waits for it is in `body.data`. */
  private written = 0;
  private writing = false;
  private ended = false;

  constructor(
    request: Request,
    body: RequestBody,
    finalize: (request: Request, status: number) => void,
    next: (request: Request) => void,
  ) {
    this.request = request;
    this.body = body;
    this.finalize = finalize;
    this.next = next;
    const { clientBodyBufferSize: size } = request.location.core;
    // nginx makes its buffer a quarter larger where that saves a file.
    this.inMemory = request.contentLength >= 0 && request.contentLength < size * 1.25 ? request.contentLength : size;
  }

  onBody(bytes: Buffer): void {
    const { body, request } = this;
    body.length += bytes.length;
    body.data.push(bytes);
    if (body.file === undefined) {
      if (body.length <= this.inMemory && request.location.core.clientBodyInFileOnly === "off") return;
      if (!this.open()) return;
    }
    this.write();
    if (body.data.length >= WAITING) request.exchange.pauseBody();
  }

  onBodyEnd(): void {
    const { request, body } = this;
    request.bodySink = undefined;
    if (body.file === undefined && request.location.core.clientBodyInFileOnly !== "off" && !this.open()) return;
    if (this.writing) this.ended = true;
    else this.next(request);
  }

  onBodyError(status: number): void {
    this.request.bodySink = undefined;
    this.finalize(this.request, status);
  }

  onFault(error: unknown): void {
    this.request.onFault(error);
  }

  private open(): boolean {
    const { body, request } = this;
    const { core } = request.location;
    const only = core.clientBodyInFileOnly;
    try {
      const file = openTemporary(core.clientBodyTempPath);
      body.file = file;
      request.cleanup ??= [];
      request.cleanup.push(() => {
        if (only === "clean") file.remove();
        file.close();
      });
      // One that nobody is told of has no name from the start: it cannot be left behind.
      if (only === "off") file.remove();
      const level = only === "off" ? "warn" : "notice";
      logError(request, level, `a client request body is buffered to a temporary file ${file.path}`);
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
      this.next(request);
    } else {
      request.exchange.resumeBody();
    }
  }

  private failed(sentence: string): void {
    const { request } = this;
    request.bodySink = undefined;
    logError(request, "crit", sentence);
    this.finalize(request, 500);
  }
}

function written(reader: BodyReader, count: number, why: string): void {
  reader.wasWritten(count, why);
}
