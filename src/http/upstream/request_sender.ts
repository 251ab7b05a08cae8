import { SlabQueue } from "../../net/slabs.ts";
import { afterEvent } from "../../sys/guard.ts";
import type { Turn } from "../../sys/turns.ts";
import type { Request } from "../core/request.ts";
import type { RequestBody } from "../core/types.ts";
import { mayRead, nextTurn } from "../files/file_turns.ts";
import { BodyCursor, type CursorOwner } from "./body_cursor.ts";
import { KeptBody } from "./kept_body.ts";
import type { BodyCoding, RequestCoding, UpstreamTarget } from "./protocol.ts";

/** The connection a request is sent on. */
export interface SenderOwner {
  /** False when the server takes no more for now. */
  write(bytes: Uint8Array | string): boolean;
  cork(): void;
  uncork(): boolean;
  readonly sending: boolean;
  readonly unsent: number;
  /** The answer has not begun: until then the deadline is for sending the request. */
  readonly awaitsHead: boolean;
  arm(ms: number): void;
  disarm(): void;
  /** The kernel has all of the request. */
  onRequestSent(): void;
  /** Starts to deliver the client's body to `onBody` and `onBodyEnd`. */
  startBody(): void;
  finalize(code: number): void;
  onFault(error: unknown): void;
}

/** Whose request it is. */
export interface SenderUser {
  readonly request: Request;
  readonly target: UpstreamTarget;
  /** What is kept of a body passed on as it comes, over all servers. */
  kept: KeptBody | undefined;
}

/** A body in memory up to this size is sent in one write with the head. */
const WITH_HEAD = 16 * 1024;

/**
 * Sends requests on one connection to a server: the head, and the body, which has been read or is passed on as it
 * comes.
 */
export class RequestSender implements Turn, CursorOwner {
  private readonly owner: SenderOwner;
  private user: SenderUser | undefined = undefined;
  private coding: BodyCoding | undefined = undefined;
  /** A part of the request has been sent. */
  private begun = false;
  /** The body is passed on as it comes: what was sent is not kept. */
  private streaming = false;
  /** The whole request was written, and then: the kernel has taken it. */
  private written = false;
  private taken = false;
  /** The result of the last `sendPiece`: the server takes more. */
  private more = true;
  /** `owner.unsent` when proxy_send_timeout was last restarted. */
  private unsent = 0;
  /** How much of a body that was read completely has been sent. */
  private readonly cursor = new BodyCursor(this);
  /**
   * Bytes of a streamed body that were received in this turn, to be sent in one piece, or that there was no room for.
   */
  private gathered: SlabQueue | undefined = undefined;
  /** The body's last byte is in `gathered`, or has been sent. */
  private bodyEnded = false;

  constructor(owner: SenderOwner) {
    this.owner = owner;
  }

  /** Prepares for another request. */
  reset(user: SenderUser): void {
    this.user = user;
    this.begun = false;
    this.streaming = false;
    this.taken = false;
    this.written = false;
    this.cursor.reset();
    this.gathered?.clear();
    this.bodyEnded = false;
  }

  /** Nothing more is sent of the request. */
  stop(): void {
    this.user = undefined;
    this.gathered?.clear();
  }

  /** Something was gathered that has not been sent. */
  private get waits(): boolean {
    return this.gathered !== undefined && this.gathered.length > 0;
  }

  /** The whole request was written. */
  get whole(): boolean {
    return this.written;
  }

  /** The kernel has all of the request. */
  get sent(): boolean {
    return this.taken;
  }

  /**
   * Whether the request may be sent to another server. `repeatable`: its method allows that although a part of it was
   * sent; `refused`: the server has not processed it.
   */
  mayMove(repeatable: boolean, refused = false): boolean {
    if (!this.begun) return true;
    if (this.streaming) return refused && this.user?.kept?.lost === false;
    return repeatable || refused;
  }

  /** The whole request was sent: if a server answers early, what it did not take would precede the next request. */
  get complete(): boolean {
    return this.written && !this.owner.sending;
  }

  /** Sends the head, and as much of the body as there is. */
  send(codec: RequestCoding): void {
    const { user } = this;
    if (user === undefined) return;
    const { request, target } = user;
    const { head, body } = target;
    this.begun = true;
    this.coding = codec.bodyCoding(target.lengthKnown);
    if (body !== undefined) {
      this.sendText(codec, head, body);
    } else if (!target.settings.passRequestBody) {
      this.sendBodiless(codec, head);
    } else if (request.body !== undefined) {
      this.sendBuffered(codec, request.body, head);
    } else if (!request.discardBody && (user.kept?.started || request.preread !== undefined || !request.bodyEnded)) {
      if (codec.refuses) user.kept ??= new KeptBody();
      this.sendStreamed(request, user.kept, codec.requestHead(head, false));
    } else {
      this.sendBodiless(codec, head);
    }
  }

  /** A request with a body of its own (proxy_set_body). */
  private sendText(codec: RequestCoding, head: string, body: string): void {
    if (body === "") {
      this.sendBodiless(codec, head);
      return;
    }
    const bytes = codec.requestHead(head, false);
    if (this.coding === undefined) {
      this.owner.write(bytes + body);
      this.wrote();
      return;
    }
    this.owner.cork();
    this.owner.write(bytes);
    this.keep(Buffer.from(body, "latin1"));
    this.bodyEnded = true;
    this.sendGathered();
    this.owner.uncork();
  }

  /** A request without a body: a framing says so all the same. */
  private sendBodiless(codec: RequestCoding, head: string): void {
    const bytes = codec.requestHead(head, true);
    this.owner.write(this.coding === undefined ? bytes : bytes + this.coding.none);
    this.wrote();
  }

  /** The server takes more, or the protocol has room for more. */
  onDrain(): void {
    const { user } = this;
    if (user === undefined || this.written) return;
    const { request } = user;
    if (!this.streaming) {
      if (this.waits) this.sendGathered();
      else if (request.body !== undefined) this.sendRest(request.body);
      return;
    }
    if (this.owner.awaitsHead) this.owner.disarm();
    if (this.waits) this.sendGathered();
    if (!this.waits) request.exchange.resumeBody();
  }

  /** The kernel has all that was written. */
  onSent(): void {
    if (this.written && !this.taken && this.user !== undefined) this.requestSent();
  }

  /** proxy_send_timeout has passed. True if the server has taken something meanwhile, and has more time. */
  goesOn(): boolean {
    const { owner } = this;
    if (this.taken || !owner.sending || owner.unsent === this.unsent) return false;
    this.awaitTaking();
    return true;
  }

  /** Its turn to read the body from its file. */
  onTurn(): void {
    this.onDrain();
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }

  /** The whole request was written. proxy_read_timeout runs from when the kernel has it all. */
  private wrote(): void {
    this.written = true;
    if (!this.owner.sending) this.requestSent();
    else if (this.owner.awaitsHead) this.awaitTaking();
  }

  private requestSent(): void {
    this.taken = true;
    this.owner.onRequestSent();
  }

  /** Starts proxy_send_timeout: how long the server may take nothing. */
  private awaitTaking(): void {
    this.unsent = this.owner.unsent;
    if (this.user !== undefined) this.owner.arm(this.user.target.settings.sendTimeout);
  }

  /** Sends as much of a piece of the body as there is room for; returns how much. `last`: the body ends with it. */
  private sendPiece(bytes: Uint8Array, last: boolean): number {
    const { coding, owner } = this;
    if (coding === undefined) {
      this.more = owner.write(bytes);
      return bytes.length;
    }
    const length = Math.min(bytes.length, coding.room);
    this.more = length > 0;
    if (length === 0) return 0;
    const whole = length === bytes.length;
    const ends = last && whole;
    owner.cork();
    owner.write(coding.before(length, ends));
    owner.write(whole ? bytes : bytes.subarray(0, length));
    const after = coding.after(length, ends);
    if (after !== "") owner.write(after);
    this.more = owner.uncork();
    return length;
  }

  private sendEnd(): void {
    if (this.coding !== undefined) this.owner.write(this.coding.end);
  }

  // ---- a body that was read whole

  private sendBuffered(codec: RequestCoding, body: RequestBody, target: string): void {
    const { owner } = this;
    const { length } = body;
    const { coding } = this;
    if (length === 0) {
      this.sendBodiless(codec, target);
      return;
    }
    const head = codec.requestHead(target, false);
    if (body.file === undefined && length <= WITH_HEAD && (coding === undefined || length <= coding.room)) {
      const bytes = body.memory();
      const piece = bytes === undefined ? "" : bytes.latin1Slice(0, length);
      if (coding === undefined) owner.write(head + piece);
      else owner.write(head + coding.before(length, true) + piece + coding.after(length, true));
      this.wrote();
      return;
    }
    owner.cork();
    owner.write(head);
    this.sendNext(body);
    const more = owner.uncork();
    if (this.user === undefined || !owner.awaitsHead) return;
    if (this.written) this.wrote();
    else if (more) this.sendRest(body);
    else this.awaitTaking();
  }

  /** Sends as much as the server takes now. */
  private sendRest(body: RequestBody): void {
    while (!this.written) {
      if (body.file !== undefined && !this.cursor.reading && !mayRead(this)) {
        nextTurn(this);
        return;
      }
      if (!this.sendNext(body)) {
        this.sendLater();
        return;
      }
    }
  }

  /** The server takes no more for now, or the disk is waited for, which is no fault of the server's. */
  private sendLater(): void {
    const { owner } = this;
    if (!owner.awaitsHead || this.written) return;
    if (this.cursor.reading) owner.disarm();
    else this.awaitTaking();
  }

  onBodyRead(bytes: Buffer | undefined): void {
    const body = this.user?.request.body;
    if (body === undefined) return;
    // The server must not take what it got for a complete body.
    if (bytes === undefined) this.owner.finalize(500);
    else if (this.sendBytes(body, bytes)) this.sendRest(body);
    else this.sendLater();
  }

  /**
   * Sends the next piece, and after the last one the end. False if the server takes no more for now, the disk is waited for,
   * or everything is over.
   */
  private sendNext(body: RequestBody): boolean {
    const { cursor, user } = this;
    this.more = true;
    if (user === undefined || cursor.atEnd(body)) {
      this.sendEnd();
      this.wrote();
      return this.more;
    }
    const bytes = cursor.next(user.request, body, this.coding?.room ?? Number.MAX_SAFE_INTEGER);
    return bytes !== undefined && this.sendBytes(body, bytes);
  }

  /** Sends a piece of the cursor's. */
  private sendBytes(body: RequestBody, bytes: Buffer): boolean {
    const { cursor } = this;
    const length = this.sendPiece(bytes, cursor.left(body) === bytes.length);
    cursor.advance(length, length > 0 && length === bytes.length);
    if (cursor.atEnd(body)) this.wrote();
    return this.more;
  }

  // ---- a body that is passed on as it comes

  /** Sends a request whose body is passed on as it comes. */
  private sendStreamed(request: Request, kept: KeptBody | undefined, head: string): void {
    const { owner } = this;
    const again = kept?.started === true;
    if (kept !== undefined) kept.started = true;
    this.streaming = true;
    owner.disarm();
    owner.cork();
    owner.write(head);
    this.bodyEnded = request.bodyEnded || request.discardBody;
    if (again) this.sendKept(kept);
    else this.sendPreread(request);
    if (this.bodyEnded && !this.waits && !this.written) {
      this.sendEnd();
      this.wrote();
    }
    const more = owner.uncork();
    if (this.bodyEnded) {
      if (this.written) this.wrote();
      return;
    }
    if (!more) this.streamed(false);
    if (!again) owner.startBody();
    else if (more && !this.waits) request.exchange.resumeBody();
  }

  /** Sends once more what another server has had. */
  private sendKept({ pieces }: KeptBody): void {
    if (pieces.length === 0) return;
    for (const piece of pieces) this.keep(piece);
    this.sendGathered();
  }

  /** Sends what came of the body before there was a connection. It is not kept: such a request is not tried again. */
  private sendPreread(request: Request): void {
    const { preread } = request;
    if (preread === undefined) return;
    request.preread = undefined;
    for (let bytes = preread.data.first(); bytes.length > 0; bytes = preread.data.first()) {
      this.onBody(bytes);
      preread.data.drop(bytes.length);
    }
    this.sendGathered();
  }

  /** A piece of the body, lent for the call. */
  onBody(bytes: Buffer): void {
    if (this.user === undefined) return;
    if (!this.begun) {
      // It waits for another server.
      this.user.kept?.add(bytes);
      return;
    }
    if (this.coding === undefined) this.streamed(this.owner.write(bytes));
    else this.gather(bytes);
  }

  /** After a piece: proxy_send_timeout runs while the server takes no more, not while the client is slow. */
  private streamed(more: boolean): void {
    if (!more && this.streaming) this.user?.request.exchange.pauseBody();
    if (!this.owner.awaitsHead) return;
    if (more) this.owner.disarm();
    else this.awaitTaking();
  }

  /** Gathers the pieces of one read, to be sent as one chunk. */
  private gather(bytes: Buffer): void {
    this.user?.kept?.add(bytes);
    const { waits } = this;
    this.keep(bytes);
    if (!waits) afterEvent(sendGathered, this);
  }

  /** In memory that is used again and again: buffers of its own for every piece would have the whole heap collected. */
  private keep(bytes: Buffer): void {
    this.gathered ??= new SlabQueue();
    this.gathered.push(bytes);
  }

  /** Sends what was gathered, and the end if the whole body has come. */
  sendGathered(): void {
    const ends = this.waits && this.bodyEnded;
    this.sendPieces();
    if (ends && !this.waits && !this.written) this.wrote();
  }

  /** Sends what was gathered as far as there is room; while some is left, the client's body is paused. */
  private sendPieces(): void {
    const { gathered, user } = this;
    if (gathered === undefined || gathered.length === 0) return;
    while (gathered.length > 0) {
      const piece = gathered.first();
      const length = this.sendPiece(piece, this.bodyEnded && piece.length === gathered.length);
      if (this.user !== user) return;
      if (length === 0) break;
      gathered.drop(length);
    }
    this.streamed(this.more);
  }

  onBodyEnd(): void {
    if (this.user === undefined || !this.begun) return;
    this.bodyEnded = true;
    if (!this.waits) {
      this.sendEnd();
      this.wrote();
    } else {
      this.sendGathered();
    }
  }
}

function sendGathered(sender: RequestSender): void {
  sender.sendGathered();
}
