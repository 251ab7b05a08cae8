import { type Coder, coderMemory, FINISH, FLUSH as FLUSH_CODER, type Operation, PROCESS } from "../../../sys/coder.ts";
import type { Turn } from "../../../sys/turns.ts";
import { ERROR } from "../../core/codes.ts";
import { finalizeRequest } from "../../core/engine.ts";
import { BODY_FILTER, bodyWritable, FLUSH, LAST, PART_END, passBody, takesMore } from "../../core/filters.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { BodyFilter } from "../../core/types.ts";
import { mayCode, nextTurn } from "./coding_turns.ts";

/** Coders of one kind, to be had and given back. */
export interface CoderSource {
  /** Throws RangeError, which says what the library does. */
  take(): Coder;
  /** Takes one back whose stream has ended. */
  give(coder: Coder): void;
}

/** Bytes that wait to be coded, and their flags. */
interface Held {
  readonly bytes: Uint8Array | string;
  readonly flags: number;
}

/**
 * Compresses or expands a body. It stops when the client takes no more or the turn's time is over, and keeps what it was
 * given until then: no more than the source had read already, since that waits too.
 */
export class CodingFilter implements BodyFilter, Turn {
  readonly place: number;
  /** Bytes so far, as they came and as they were passed on. */
  taken = 0;
  passed = 0;
  /** All was coded. */
  complete = false;
  private readonly request: Request;
  private readonly source: CoderSource;
  private coder: Coder | undefined = undefined;
  private readonly held: Held[] = [];
  /** Its turn will come, and `drain` waits for that. */
  private waits = false;
  /** Passing bytes on may lead back here. */
  private busy = false;
  private closed = false;
  private registered = false;

  constructor(request: Request, place: typeof BODY_FILTER.gunzip | typeof BODY_FILTER.gzip, source: CoderSource) {
    this.request = request;
    this.place = place;
    this.source = source;
  }

  push(request: Request, bytes: Uint8Array | string, flags: number, next: number): boolean {
    if (this.closed) return passBody(request, next, bytes, flags);
    if (this.busy || this.held.length > 0) {
      this.held.push({ bytes: kept(bytes, 0), flags });
      request.buffered |= 1 << this.place;
      return false;
    }
    if (bytes.length === 0 && this.operationOf(flags) === PROCESS) return takesMore(request, this.place);
    return this.code(bytes, flags, next) && this.goOn(next);
  }

  drain(_request: Request, next: number): boolean {
    return !this.busy && !this.waits && this.goOn(next);
  }

  onTurn(): void {
    this.waits = false;
    const { request } = this;
    if (!request.finalized && !this.closed && !request.exchange.blocked) bodyWritable(request);
  }

  onFault(error: unknown): void {
    this.request.onFault(error);
  }

  /** Codes what is held. Answers as `drain` does. */
  private goOn(next: number): boolean {
    const { held, request } = this;
    while (held.length > 0) {
      const [{ bytes, flags }] = held;
      held.shift();
      if (held.length === 0) request.buffered &= ~(1 << this.place);
      if (!this.code(bytes, flags, next)) return false;
    }
    return true;
  }

  /** Codes a piece, or as much of it as may be now, and holds the rest. Answers as `push` does. */
  private code(bytes: Uint8Array | string, flags: number, next: number): boolean {
    const { request } = this;
    const coder = this.coder ?? this.begin();
    if (coder === undefined) return true;
    const operation = this.operationOf(flags);
    let at = 0;
    let taking = true;
    this.busy = true;
    do {
      const count = coder.code(bytes, at, operation);
      at += count;
      this.taken += count;
      const { produced, done, error } = coder;
      if (error !== "") return this.fail(error);
      this.passed += produced;
      if (done && operation === FINISH) this.end(coder);
      if (produced > 0) {
        const { output } = coderMemory();
        taking = passBody(request, next, output.subarray(0, produced), done ? flags : 0);
      } else if (done && flags !== 0) {
        taking = passBody(request, next, "", flags);
      }
      if (done) {
        this.busy = false;
        if (!this.closed) this.closeWithRequest();
        return taking;
      }
      // The request may have ended meanwhile.
      if (this.closed) return true;
    } while (taking && mayCode(this));
    this.busy = false;
    this.closeWithRequest();
    this.held.unshift({ bytes: kept(bytes, at), flags });
    request.buffered |= 1 << this.place;
    if (taking) {
      this.waits = true;
      nextTurn(this);
    }
    return false;
  }

  private operationOf(flags: number): Operation {
    // What others put behind the end of a part is compressed with it, since gzip's place is behind that of all who do that.
    const last = this.place === BODY_FILTER.gunzip ? LAST | PART_END : LAST;
    return (flags & last) !== 0 ? FINISH : (flags & FLUSH) !== 0 ? FLUSH_CODER : PROCESS;
  }

  private begin(): Coder | undefined {
    try {
      this.coder = this.source.take();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.closed = true;
      logError(this.request, "alert", error.message);
      finalizeRequest(this.request, ERROR);
    }
    return this.coder;
  }

  private end(coder: Coder): void {
    this.complete = true;
    this.closed = true;
    this.coder = undefined;
    this.source.give(coder);
  }

  /** The response cannot be completed. */
  private fail(error: string): boolean {
    this.close();
    logError(this.request, "error", error);
    finalizeRequest(this.request, ERROR);
    return true;
  }

  /** For a body that comes in several pieces: its request may end before they do. */
  private closeWithRequest(): void {
    if (this.registered) return;
    this.registered = true;
    // What was passed on may have ended it.
    if (this.request.finalized) {
      this.close();
      return;
    }
    this.request.cleanup ??= [];
    this.request.cleanup.push(() => this.close());
  }

  private close(): void {
    this.closed = true;
    this.held.length = 0;
    this.coder?.free();
    this.coder = undefined;
  }
}

/** A copy of what was lent. */
function kept(bytes: Uint8Array | string, from: number): Uint8Array | string {
  return typeof bytes === "string" ? bytes.substring(from) : Buffer.from(bytes.subarray(from));
}
