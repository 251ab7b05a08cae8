import { OK } from "./codes.ts";
import { discardBody } from "./discard_body.ts";
import { finalizeRequest } from "./engine.ts";
import type { Request } from "./request.ts";
import type { BodySink } from "./types.ts";

/** Who asked for a request's body. */
export interface BodyReceiver {
  /** The whole body; undefined where it is larger than was asked for: what is left of it is dropped. */
  onWholeBody(body: Buffer | undefined): void;
}

const NOTHING = Buffer.alloc(0);

/** Reads a body of at most `most` bytes, which never goes to a file. Other errors than its size are answered here (400, 408 …). */
export function readBodyIntoMemory(request: Request, most: number, receiver: BodyReceiver): void {
  const { body } = request;
  if (body !== undefined) {
    // Somebody before has had it read, and perhaps written to a file.
    receiver.onWholeBody(body.length > most ? undefined : body.memory());
    return;
  }
  if (request.bodyEnded || request.discardBody) {
    receiver.onWholeBody(NOTHING);
    return;
  }
  if (request.contentLength > most) {
    request.expectContinue = false;
    drop(request);
    receiver.onWholeBody(undefined);
    return;
  }
  if (request.expectContinue) request.exchange.sendContinue(request);
  request.bodySink = new MemoryBody(request, most, receiver);
  request.exchange.startBody(request, true);
}

function drop(request: Request): void {
  if (discardBody(request) !== OK) request.keepalive = false;
}

/** Room for the beginning of a body that does not say how long it is. */
const FIRST = 4096;

class MemoryBody implements BodySink {
  readonly #request: Request;
  readonly #most: number;
  readonly #receiver: BodyReceiver;
  #bytes: Buffer;
  #length = 0;

  constructor(request: Request, most: number, receiver: BodyReceiver) {
    this.#request = request;
    this.#most = most;
    this.#receiver = receiver;
    this.#bytes = Buffer.allocUnsafe(request.contentLength < 0 ? FIRST : request.contentLength);
  }

  onBody(bytes: Buffer): void {
    const from = this.#length;
    this.#length += bytes.length;
    if (this.#length > this.#most) {
      this.#request.bodySink = undefined;
      drop(this.#request);
      this.#receiver.onWholeBody(undefined);
      return;
    }
    if (this.#length > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#length, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, from);
      this.#bytes = larger;
    }
    bytes.copy(this.#bytes, from);
  }

  onBodyEnd(): void {
    this.#request.bodySink = undefined;
    this.#receiver.onWholeBody(this.#bytes.subarray(0, this.#length));
  }

  onBodyError(status: number): void {
    finalizeRequest(this.#request, status);
  }
}
