import fs from "node:fs";
import { errorCode, errorText } from "../config/errno.ts";
import { OK } from "./codes.ts";
import { logError } from "./log_context.ts";
import type { BodySink, Request } from "./request.ts";

/** A request's body that was read whole: in memory, or in a temporary file when it did not fit. */
export class RequestBody {
  chunks: Buffer[] = [];
  /** Bytes in `chunks`. */
  inMemory = 0;
  length = 0;
  file: BodyFile | undefined = undefined;

  /** The body when it is in memory, in one piece; what $request_body shows. */
  memory(): Buffer | undefined {
    if (this.file !== undefined) return undefined;
    if (this.chunks.length === 0) return EMPTY;
    if (this.chunks.length > 1) this.chunks = [Buffer.concat(this.chunks)];
    return this.chunks[0];
  }
}

export interface BodyFile {
  readonly path: string;
  readonly fd: number;
}

const EMPTY = Buffer.alloc(0);
/** Bytes from which a piece is kept on its own. */
const SMALL_PIECE = 2048;

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
  if (request.expectContinue) request.connection.sendContinue(request);
  const body = new RequestBody();
  request.body = body;
  if (request.bodyEnded && request.location.core.raw.client_body_in_file_only === "off") {
    then(request);
    return;
  }
  const reader = new BodyReader(request, body, finalize, then);
  if (request.bodyEnded) {
    reader.onBodyEnd();
    return;
  }
  request.bodySink = reader;
  request.connection.startBody(request);
}

/**
 * The handler has no use for the request's body (ngx_http_discard_request_body): it is dropped, with 100 Continue where
 * the client waits for it. OK, or the status to answer instead.
 */
export function discardBody(request: Request): number {
  if (request.expectContinue) request.connection.sendContinue(request);
  if (request.bodyEnded || request.discardBody || request.body !== undefined) return OK;
  return request.connection.discardBody(request);
}

class BodyReader implements BodySink {
  private readonly request: Request;
  private readonly body: RequestBody;
  private readonly finalize: (request: Request, status: number) => void;
  private readonly next: (request: Request) => void;
  /** How much is held in memory. */
  private readonly inMemory: number;
  /** The last of `body.chunks`, and how much of it is taken, while small pieces come. */
  private shared: Buffer | undefined = undefined;
  private filled = 0;
  private last: Buffer | undefined = undefined;

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
    const { core } = request.location;
    body.length += bytes.length;
    if (body.file === undefined && body.length <= this.inMemory && core.raw.client_body_in_file_only === "off") {
      this.hold(bytes);
      body.inMemory += bytes.length;
      return;
    }
    try {
      this.spool(bytes);
    } catch (error) {
      this.failed(error);
    }
  }

  /** Keeps a copy; small pieces share a buffer, or a client that sends byte by byte would cost many times its body. */
  private hold(bytes: Buffer): void {
    const { chunks } = this.body;
    const { length } = bytes;
    if (length >= SMALL_PIECE) {
      this.shared = undefined;
      chunks.push(Buffer.from(bytes));
      return;
    }
    let { shared } = this;
    if (shared === undefined || this.filled + length > shared.length || chunks.at(-1) !== this.last) {
      // The first small piece is mostly the only one.
      shared = Buffer.allocUnsafe(chunks.length === 0 ? length : 2 * SMALL_PIECE);
      this.shared = shared;
      this.filled = 0;
      chunks.push(shared);
    }
    shared.set(bytes, this.filled);
    this.filled += length;
    this.last = shared.subarray(0, this.filled);
    chunks[chunks.length - 1] = this.last;
  }

  onBodyEnd(): void {
    const { request, body } = this;
    request.bodySink = undefined;
    if (body.file === undefined && request.location.core.raw.client_body_in_file_only !== "off") {
      try {
        this.spool(EMPTY);
      } catch (error) {
        this.failed(error);
        return;
      }
    }
    this.next(request);
  }

  onBodyError(status: number): void {
    this.request.bodySink = undefined;
    this.finalize(this.request, status);
  }

  private spool(bytes: Buffer): void {
    const { body, request } = this;
    if (body.file === undefined) {
      const { core } = request.location;
      const only = core.raw.client_body_in_file_only;
      const file = openTemporary(core.clientBodyTempPath);
      body.file = file;
      const level = only === "off" ? "warn" : "notice";
      logError(request, level, `a client request body is buffered to a temporary file ${file.path}`);
      // One that nobody is told of has no name from the start: it cannot be left behind.
      if (only === "off") removeFile(file.path);
      request.cleanup ??= [];
      request.cleanup.push(() => {
        fs.closeSync(file.fd);
        if (only === "clean") removeFile(file.path);
      });
      for (const chunk of body.chunks) writeAll(file.fd, chunk);
      body.chunks = [];
      body.inMemory = 0;
    }
    writeAll(body.file.fd, bytes);
  }

  private failed(error: unknown): void {
    const { request } = this;
    request.bodySink = undefined;
    const why = `failed (${errorText(errorCode(error))})`;
    const { file } = this.body;
    if (file !== undefined) logError(request, "crit", `pwrite() "${file.path}" ${why}`);
    else logError(request, "crit", `open() of a file in "${request.location.core.clientBodyTempPath.path}" ${why}`);
    this.finalize(request, 500);
  }
}

function removeFile(path: string): void {
  fs.rmSync(Buffer.from(path, "latin1"), { force: true });
}

function writeAll(fd: number, bytes: Uint8Array): void {
  let written = 0;
  while (written < bytes.length) written += fs.writeSync(fd, bytes, written);
}

/** A directory for temporary files and how many digits its levels of subdirectories take. */
export interface TempPath {
  readonly path: string;
  readonly levels: readonly number[];
}

let counter = Math.floor(Math.random() * 0x7fffffff);

/** Creates a temporary file with nginx's naming: ten digits, the last ones also naming the subdirectories. Throws fs errors. */
export function openTemporary(into: TempPath): BodyFile {
  for (let tries = 0; ; tries++) {
    counter = (counter + 1) % 10_000_000_000;
    const name = String(counter).padStart(10, "0");
    let directory = into.path;
    let end = name.length;
    for (const level of into.levels) {
      directory += `/${name.slice(end - level, end)}`;
      end -= level;
    }
    const path = `${directory}/${name}`;
    try {
      return { path, fd: createIn(directory, path) };
    } catch (error) {
      if (errorCode(error) !== "EEXIST" || tries > 100) throw error;
    }
  }
}

/** Makes the directory only where it turns out to be missing. */
function createIn(directory: string, path: string): number {
  const name = Buffer.from(path, "latin1");
  try {
    return fs.openSync(name, "wx+", 0o600);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    fs.mkdirSync(Buffer.from(directory, "latin1"), { recursive: true, mode: 0o700 });
    return fs.openSync(name, "wx+", 0o600);
  }
}
