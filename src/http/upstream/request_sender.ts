import type { Request } from "../core/request.ts";
import type { RequestBody } from "../core/types.ts";
import type { SentBody } from "./body_cursor.ts";
import { BufferedBody } from "./buffered_body.ts";
import { KeptBody } from "./kept_body.ts";
import type { BodyCoding, RequestCoding, UpstreamTarget } from "./protocol.ts";
import { StreamedBody } from "./streamed_body.ts";

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

/** What sends a body piece by piece, in the framing that the request's protocol has. */
export interface BodyOutput {
  /** The body is framed, and may have to wait for room. */
  readonly coded: boolean;
  /** The largest piece there is room for. */
  readonly room: number;
  /** The result of the last `sendPiece`: the server takes more. */
  readonly more: boolean;
  /** The whole request was written. */
  readonly whole: boolean;
  /** Sends as much of a piece as there is room for; returns how much. `last`: the body ends with it. */
  sendPiece(bytes: Uint8Array, last: boolean): number;
  /** Ends a body whose last piece was not sent as such. */
  sendEnd(): void;
  /** The whole request was written. proxy_read_timeout runs from when the kernel has it all. */
  wrote(): void;
  /** Starts proxy_send_timeout: how long the server may take nothing. */
  awaitTaking(): void;
}

/** A body in memory up to this size is sent in one write with the head. */
const WITH_HEAD = 16 * 1024;

/**
 * Sends requests on one connection to a server: the head, and the body with it or behind it, which has been read or is
 * passed on as it comes.
 */
export class RequestSender implements BodyOutput {
  private readonly owner: SenderOwner;
  private user: SenderUser | undefined = undefined;
  private coding: BodyCoding | undefined = undefined;
  /** A part of the request has been sent. */
  private begun = false;
  /** The whole request was written, and then: the kernel has taken it. */
  private written = false;
  private taken = false;
  private takesMore = true;
  /** `owner.unsent` when proxy_send_timeout was last restarted. */
  private unsent = 0;
  /** What this request's body is sent by, if not with the head: one of the two below, made when first needed. */
  private body: BufferedBody | StreamedBody | undefined = undefined;
  private buffered: BufferedBody | undefined = undefined;
  private streamed: StreamedBody | undefined = undefined;

  constructor(owner: SenderOwner) {
    this.owner = owner;
  }

  /** Prepares for another request. */
  reset(user: SenderUser): void {
    this.body?.stop();
    this.body = undefined;
    this.user = user;
    this.begun = false;
    this.taken = false;
    this.written = false;
  }

  /** Nothing more is sent of the request. */
  stop(): void {
    this.body?.stop();
    this.user = undefined;
  }

  get whole(): boolean {
    return this.written;
  }

  /** The kernel has all of the request. */
  get sent(): boolean {
    return this.taken;
  }

  /** The body is passed on as it comes: what was sent is not kept. */
  private get streaming(): boolean {
    return this.body !== undefined && this.body === this.streamed;
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
      this.sendText(request, codec, head, body);
    } else if (!target.settings.passRequestBody) {
      this.sendBodiless(codec, head);
    } else if (request.body !== undefined) {
      this.sendBuffered(request, codec, head, request.body);
    } else if (!request.discardBody && (user.kept?.started || request.preread !== undefined || !request.bodyEnded)) {
      if (codec.refuses) user.kept ??= new KeptBody();
      this.streamed ??= new StreamedBody(this.owner, this);
      this.body = this.streamed;
      this.streamed.begin(user, codec.requestHead(head, false));
    } else {
      this.sendBodiless(codec, head);
    }
  }

  /** A request without a body: a framing says so all the same. */
  private sendBodiless(codec: RequestCoding, head: string): void {
    const bytes = codec.requestHead(head, true);
    this.owner.write(this.coding === undefined ? bytes : bytes + this.coding.none);
    this.wrote();
  }

  /** A request with a body of its own (proxy_set_body). */
  private sendText(request: Request, codec: RequestCoding, head: string, text: string): void {
    const { length } = text;
    if (length === 0) this.sendBodiless(codec, head);
    else if (!this.coded || this.goesWithHead(length)) this.sendWithHead(codec.requestHead(head, false), text);
    else this.sendBehind(request, codec, head, { data: [Buffer.from(text, "latin1")], length, file: undefined });
  }

  private sendBuffered(request: Request, codec: RequestCoding, head: string, body: RequestBody): void {
    const { length } = body;
    if (length === 0) {
      this.sendBodiless(codec, head);
    } else if (body.file === undefined && this.goesWithHead(length)) {
      const bytes = codec.requestHead(head, false);
      this.sendWithHead(bytes, body.memory()?.latin1Slice(0, length) ?? "");
    } else {
      this.sendBehind(request, codec, head, body);
    }
  }

  private goesWithHead(length: number): boolean {
    return length <= WITH_HEAD && length <= this.room;
  }

  private sendWithHead(head: string, body: string): void {
    const { coding, owner } = this;
    const { length } = body;
    if (coding === undefined) owner.write(head + body);
    else owner.write(head + coding.before(length, true) + body + coding.after(length, true));
    this.wrote();
  }

  private sendBehind(request: Request, codec: RequestCoding, head: string, body: SentBody): void {
    this.buffered ??= new BufferedBody(this.owner, this);
    this.body = this.buffered;
    this.buffered.begin(request, body, codec.requestHead(head, false));
  }

  /** A piece of a body that is passed on as it comes, lent for the call. */
  onBody(bytes: Buffer): void {
    if (this.user === undefined) return;
    // While there is no connection it waits for another server.
    if (!this.begun) this.user.kept?.add(bytes);
    else if (this.streaming) this.streamed?.onBody(bytes);
  }

  onBodyEnd(): void {
    if (this.user !== undefined && this.streaming) this.streamed?.onBodyEnd();
  }

  /** The server takes more, or the protocol has room for more. */
  onDrain(): void {
    if (this.user !== undefined && !this.written) this.body?.onDrain();
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

  private requestSent(): void {
    this.taken = true;
    this.owner.onRequestSent();
  }

  // ---- BodyOutput

  get coded(): boolean {
    return this.coding !== undefined;
  }

  get room(): number {
    return this.coding?.room ?? Number.MAX_SAFE_INTEGER;
  }

  get more(): boolean {
    return this.takesMore;
  }

  sendPiece(bytes: Uint8Array, last: boolean): number {
    const { coding, owner } = this;
    if (coding === undefined) {
      this.takesMore = owner.write(bytes);
      return bytes.length;
    }
    const length = Math.min(bytes.length, coding.room);
    this.takesMore = length > 0;
    if (length === 0) return 0;
    const whole = length === bytes.length;
    const ends = last && whole;
    owner.cork();
    owner.write(coding.before(length, ends));
    owner.write(whole ? bytes : bytes.subarray(0, length));
    const after = coding.after(length, ends);
    if (after !== "") owner.write(after);
    this.takesMore = owner.uncork();
    return length;
  }

  sendEnd(): void {
    if (this.coding !== undefined) this.owner.write(this.coding.end);
    this.wrote();
  }

  wrote(): void {
    this.written = true;
    if (!this.owner.sending) this.requestSent();
    else if (this.owner.awaitsHead) this.awaitTaking();
  }

  awaitTaking(): void {
    this.unsent = this.owner.unsent;
    if (this.user !== undefined) this.owner.arm(this.user.target.settings.sendTimeout);
  }
}
