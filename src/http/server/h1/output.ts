import type { Stream } from "../../../net/stream.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import { byteString } from "../../../wire/latin1.ts";
import type { Request } from "../../core/request.ts";
import { computeRate, RatedOutput } from "./rated_output.ts";
import { lastChunk } from "./response.ts";

/** Bytes of a response's head and first body part that are gathered into one write. */
const GATHER = 16 * 1024;

/** Whose output it is. */
export interface OutputOwner {
  /** The request whose response is being sent. */
  readonly request: Request | undefined;
  /** The client has taken all there was, after `blocked`. */
  drained(): void;
  /** The client takes nothing, for send_timeout. */
  sendTimedOut(request: Request): void;
  onFault(error: unknown): void;
}

/** What goes out on an HTTP/1 connection: gathered, framed, held back by limit_rate, watched by send_timeout. */
export class Output {
  /** Bytes handed to the stream so far, all requests together. */
  private handed = 0;
  /** The client takes no more for now. */
  blocked = false;
  private readonly stream: Stream;
  private readonly owner: OutputOwner;
  /** Head and small body parts of the response not yet handed to the stream. */
  private held = "";
  /** Made when first needed. */
  private deadline: Deadline<Output> | undefined = undefined;
  /** What limit_rate holds back. */
  private rated: RatedOutput | undefined = undefined;
  /** What `stream.unsent` was when the client was last given time. */
  private unsent = 0;

  constructor(stream: Stream, owner: OutputOwner) {
    this.stream = stream;
    this.owner = owner;
  }

  /** Bytes sent so far, all requests together: those that the kernel has taken. */
  get sent(): number {
    const { stream } = this;
    return stream.sending || stream.closed ? this.handed - stream.unsent : this.handed;
  }

  /** The kernel has all there is. */
  get idle(): boolean {
    return !this.stream.sending && (this.rated === undefined || this.rated.empty);
  }

  /** Keeps text (a byte string) for the next write. */
  hold(text: string): void {
    this.held += text;
  }

  sendBody(request: Request, bytes: Uint8Array | string, last: boolean): void {
    const { length } = bytes;
    let tail = "";
    if (request.chunkedResponse) {
      if (length > 0) {
        this.held += `${length.toString(16)}\r\n`;
        tail = "\r\n";
      }
      if (last) tail += lastChunk(request);
    }
    if (typeof bytes === "string") {
      this.held += bytes + tail;
      if (last || this.held.length > GATHER) this.flush(request);
      return;
    }
    if (this.held.length + length <= GATHER) {
      this.held += byteString(bytes, 0, length) + tail;
      if (last) this.flush(request);
      return;
    }
    this.stream.cork();
    this.flush(request);
    this.write(request, bytes);
    if (tail !== "") this.write(request, tail);
    if (this.stream.uncork()) this.rateAgain(request);
    else if (!this.blocked) this.block(request);
  }

  /** What limit_rate kept behind the gathered head may follow: the head has left at once, so no drain will say so. */
  private rateAgain(request: Request): void {
    const { rated } = this;
    if (rated !== undefined && rated.wait === 0) this.sendRated(request, rated);
  }

  flush(request: Request | undefined): void {
    const { held } = this;
    if (held === "") return;
    this.held = "";
    this.write(request, held);
  }

  write(request: Request | undefined, bytes: Uint8Array | string): void {
    if (request !== undefined && (request.limitRate !== 0 || this.rated !== undefined) && this.delay(request, bytes)) {
      return;
    }
    if (this.stream.closed) return;
    this.handed += bytes.length;
    if (!this.stream.write(bytes) && !this.blocked) this.block(request);
  }

  /** The response's head is out; raw bytes follow, for which neither limit_rate nor send_timeout holds. */
  takeOver(request: Request): void {
    this.flush(request);
    const rest = this.rated?.rest();
    this.unblock();
    if (rest !== undefined) this.writeTunnel(rest);
    this.blocked = !this.stream.write("");
  }

  writeTunnel(bytes: Uint8Array): boolean {
    if (this.stream.closed) return true;
    this.handed += bytes.length;
    this.blocked = !this.stream.write(bytes);
    return !this.blocked;
  }

  /** The response is complete, but not all of it has left: the rest has send_timeout, and its end is told by `drained`. */
  awaitSent(request: Request): void {
    if (this.rated === undefined || this.rated.wait === 0) this.block(request);
  }

  private block(request: Request | undefined): void {
    this.blocked = true;
    if (request === undefined) return;
    this.unsent = this.stream.unsent;
    this.arm(request.location.core.sendTimeout);
  }

  private arm(ms: number): void {
    if (this.deadline === undefined) this.deadline = new Deadline<Output>(this, expired);
    setDeadline(this.deadline, ms);
  }

  /** The stream takes more. */
  onDrain(): void {
    if (this.rated === undefined) this.drained();
  }

  /** The kernel has all that the stream was given. */
  onSent(request: Request | undefined): void {
    const { rated } = this;
    if (rated === undefined) {
      if (this.blocked) this.drained();
    } else if (request !== undefined && rated.wait === 0) {
      this.sendRated(request, rated);
    }
  }

  private drained(): void {
    this.blocked = false;
    if (this.deadline !== undefined) clearDeadline(this.deadline);
    this.owner.drained();
  }

  /** Forgets what is waiting: the request is over. */
  unblock(): void {
    this.blocked = false;
    this.rated = undefined;
    if (this.deadline !== undefined) clearDeadline(this.deadline);
  }

  /** What was gathered will not be sent. */
  drop(): void {
    this.held = "";
  }

  /** True when the bytes go the way of limit_rate. */
  private delay(request: Request, bytes: Uint8Array | string): boolean {
    if (!request.headerSent) return false;
    if (request.limitRate < 0 || request.limitRateAfter < 0) computeRate(request);
    let { rated } = this;
    if (request.limitRate === 0 && rated === undefined) return false;
    if (rated !== undefined) {
      rated.add(bytes);
      return true;
    }
    rated = new RatedOutput();
    this.rated = rated;
    rated.add(bytes);
    this.sendRated(request, rated);
    return true;
  }

  /** Sends as much as the rate allows by now and comes back for the rest. */
  private sendRated(request: Request, rated: RatedOutput): void {
    if (this.stream.sending) {
      // Its time has come, but the client has not taken what was sent before.
      rated.wait = 0;
      this.block(request);
      return;
    }
    let full = false;
    do {
      const piece = rated.take(request, this.handed - request.sentAtStart);
      if (piece === undefined) break;
      this.handed += piece.length;
      full = !this.stream.write(piece);
    } while (!full && rated.wait === 0);
    if (rated.wait > 0) {
      this.blocked = true;
      this.arm(rated.wait);
    } else if (full || !rated.empty) {
      if (rated.empty) this.rated = undefined;
      this.block(request);
    } else {
      this.rated = undefined;
      if (this.blocked && !this.stream.sending) this.drained();
    }
  }

  expire(): void {
    const { rated } = this;
    const { request } = this.owner;
    if (request === undefined) return;
    if (rated !== undefined && rated.wait > 0) this.sendRated(request, rated);
    else if (this.progressed()) this.arm(request.location.core.sendTimeout);
    else this.owner.sendTimedOut(request);
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }

  /** Whether the client took anything since this was asked last. */
  progressed(): boolean {
    const { unsent } = this.stream;
    const changed = unsent !== this.unsent;
    this.unsent = unsent;
    return changed;
  }
}

function expired(output: Output): void {
  output.expire();
}
