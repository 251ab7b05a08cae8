import { NO_ROOM, NOT_THIS_FILE, type Stream } from "../../../net/stream.ts";
import { byteString } from "../../../wire/latin1.ts";
import type { Request } from "../../core/request.ts";
import { computeRate, RatedOutput } from "../rated_output.ts";

/** How much of a response's head and first body bytes are joined in one write. */
const GATHER = 16 * 1024;

/** The exchange whose output it is. */
export interface OutputOwner {
  /** The one whose response is being sent. */
  readonly current: Request | undefined;
  /** The stream takes more. After `awaitSent`: the kernel has all of the response. */
  drained(): void;
  /** Calls `expire` in `ms` milliseconds, unless `armTimer` is called again before, or the request is over. */
  armTimer(ms: number): void;
  /** The client has taken nothing for send_timeout. */
  sendTimedOut(request: Request): void;
}

/**
 * The output of an HTTP/1 connection, one response after another: buffers small writes, frames bodies, applies
 * limit_rate and send_timeout.
 */
export class H1Output {
  private readonly stream: Stream;
  private readonly owner: OutputOwner;
  /** Bytes written to the stream so far, for all requests. */
  private handed = 0;
  private full = false;
  /** Head and small body parts that were not written to the stream yet. */
  private held = "";
  /** The owner's timer counts. Otherwise it may still be armed and is ignored, which costs less than clearing it. */
  private timed = false;
  /** What limit_rate holds back. */
  private rated: RatedOutput | undefined = undefined;
  /** `stream.unsent` when send_timeout was last restarted. */
  private unsent = 0;

  constructor(stream: Stream, owner: OutputOwner) {
    this.stream = stream;
    this.owner = owner;
  }

  /** The request is over: drops what was not handed to the stream. */
  free(): void {
    this.held = "";
    if (this.full || this.rated !== undefined) this.unblock();
  }

  /** The client takes no more for now. */
  get blocked(): boolean {
    return this.full;
  }

  /** Bytes sent so far, for all requests: those that the kernel has taken. */
  get sent(): number {
    const { stream } = this;
    return stream.sending || stream.closed ? this.handed - stream.unsent : this.handed;
  }

  /** The kernel has all output, or the client is gone. */
  get idle(): boolean {
    const { stream, rated } = this;
    return stream.closed || (!stream.sending && (rated === undefined || rated.empty));
  }

  /** Keeps text (a byte string) for the next write. */
  hold(text: string): void {
    this.held += text;
  }

  /** Sends body bytes, lent for the call, unless the request is over. */
  sendBody(request: Request, bytes: Uint8Array | string, last: boolean): void {
    if (request !== this.owner.current) return;
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
      this.add(bytes + tail, last);
      return;
    }
    if (this.held.length + length <= GATHER) {
      this.add(byteString(bytes, 0, length) + tail, last);
      return;
    }
    this.stream.cork();
    this.flush();
    this.write(bytes);
    if (tail !== "") this.write(tail);
    if (this.stream.uncork()) this.rateAgain(request);
    else if (!this.full) this.block(request);
  }

  /** Sends bytes of a file: see Exchange.sendFile. */
  sendFile(request: Request, file: number, offset: number, length: number): number {
    const { stream } = this;
    if (stream.sendFile === undefined || request !== this.owner.current || request.chunkedResponse)
      return NOT_THIS_FILE;
    if (request.limitRate < 0 || request.limitRateAfter < 0) computeRate(request);
    if (request.limitRate !== 0 || this.rated !== undefined) return NOT_THIS_FILE;
    if (this.full || stream.closed) return NO_ROOM;
    const { held } = this;
    this.held = "";
    this.handed += held.length;
    const sent = stream.sendFile(file, offset, length, held);
    if (sent > 0) this.handed += sent;
    else if (sent === NO_ROOM && !stream.closed) this.block(request);
    return sent;
  }

  /**
   * Sends what limit_rate has queued behind the gathered head: the head was sent at once, so onDrain will not be
   * called.
   */
  private rateAgain(request: Request): void {
    const { rated } = this;
    if (rated !== undefined && rated.wait === 0) this.sendRated(request, rated);
  }

  /** Text of the body behind what is held back: sent with it if it is the last or there is enough. */
  private add(text: string, last: boolean): void {
    const all = this.held + text;
    if (!last && all.length <= GATHER) {
      this.held = all;
      return;
    }
    this.held = "";
    if (all !== "") this.write(all);
  }

  /** Sends what is held back, if that is at least so many bytes. */
  flush(least = 1): void {
    const { held } = this;
    if (held.length < least) return;
    this.held = "";
    this.write(held);
  }

  /** Sends bytes ahead of what is held back. */
  write(bytes: Uint8Array | string): void {
    const { stream } = this;
    const request = this.owner.current;
    if (request === undefined || stream.closed) return;
    if ((request.limitRate !== 0 || this.rated !== undefined) && this.delay(request, bytes)) return;
    this.handed += bytes.length;
    if (!stream.write(bytes) && !this.full) this.block(request);
  }

  /** The response's head has been sent; raw bytes follow, to which limit_rate and send_timeout do not apply. */
  startTunnel(): void {
    this.flush();
    const rest = this.rated?.rest();
    this.unblock();
    if (rest !== undefined) this.writeTunnel(rest);
    this.full = !this.stream.write("");
  }

  /** False when the client takes no more for now. */
  writeTunnel(bytes: Uint8Array): boolean {
    if (this.stream.closed) return true;
    this.handed += bytes.length;
    this.full = !this.stream.write(bytes);
    return !this.full;
  }

  /** Has what has come on another stream sent to the client. Returns how many bytes. */
  spliceTunnel(source: Stream): number {
    const count = source.spliceTo?.(this.stream) ?? 0;
    this.handed += count;
    return count;
  }

  /** The client takes more bytes of a tunnel. */
  tunnelDrained(): void {
    this.full = false;
  }

  endTunnel(): void {
    this.stream.end();
  }

  /** The response is complete but not all sent: send_timeout applies to the rest, and `drained` follows. */
  awaitSent(request: Request): void {
    // The rate would only hold back what follows.
    if (this.rated?.empty === true) this.rated = undefined;
    if (this.rated === undefined || this.rated.wait === 0) this.block(request);
  }

  private block(request: Request): void {
    this.full = true;
    this.unsent = this.stream.unsent;
    this.arm(request.location.core.sendTimeout);
  }

  private unblock(): void {
    this.full = false;
    this.rated = undefined;
    this.timed = false;
  }

  private arm(ms: number): void {
    this.timed = true;
    this.owner.armTimer(ms);
  }

  /** The stream takes more. */
  onDrain(): void {
    if (this.rated === undefined) this.drained();
  }

  /** The kernel has all that the stream was given. */
  onSent(): void {
    const { rated } = this;
    const request = this.owner.current;
    if (rated === undefined) {
      if (this.full) this.drained();
    } else if (request !== undefined && rated.wait === 0) {
      this.sendRated(request, rated);
    }
  }

  private drained(): void {
    this.unblock();
    this.owner.drained();
  }

  /** Queues the bytes if limit_rate applies; else false. */
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

  /** Sends as much as the rate allows now, and arms the deadline for the rest. */
  private sendRated(request: Request, rated: RatedOutput): void {
    if (this.stream.sending) {
      // The rate allows more, but the client has not taken what was sent before.
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
      this.full = true;
      this.arm(rated.wait);
    } else if (full || !rated.empty) {
      if (rated.empty) this.rated = undefined;
      this.block(request);
    } else {
      this.rated = undefined;
      if (this.full && !this.stream.sending) this.drained();
    }
  }

  /** The owner's timer has fired. */
  expire(): void {
    const { rated } = this;
    const request = this.owner.current;
    if (request === undefined || !this.timed) return;
    this.timed = false;
    if (rated !== undefined && rated.wait > 0) {
      this.sendRated(request, rated);
    } else if (this.progressed()) {
      this.arm(request.location.core.sendTimeout);
    } else {
      this.unblock();
      this.owner.sendTimedOut(request);
    }
  }

  /** Whether the client has taken anything since the last call. */
  private progressed(): boolean {
    const { unsent } = this.stream;
    const changed = unsent !== this.unsent;
    this.unsent = unsent;
    return changed;
  }
}

/** The end of a chunked body with its trailers. */
function lastChunk({ response: { trailers } }: Request): string {
  return trailers === undefined ? "0\r\n\r\n" : `0\r\n${trailers.lines()}\r\n`;
}
