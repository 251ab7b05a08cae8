import { SlabQueue } from "../../net/slabs.ts";
import { afterEvent } from "../../sys/guard.ts";
import type { Request } from "../core/request.ts";
import type { KeptBody } from "./kept_body.ts";
import type { BodyOutput, SenderOwner, SenderUser } from "./request_sender.ts";

/** A body that is passed on as it comes. */
export class StreamedBody {
  private readonly owner: SenderOwner;
  private readonly output: BodyOutput;
  private user: SenderUser | undefined = undefined;
  /** Bytes that were received in this turn, to be sent in one piece, or that there was no room for. */
  private gathered: SlabQueue | undefined = undefined;
  /** The body's last byte is in `gathered`, or has been sent. */
  private ended = false;

  constructor(owner: SenderOwner, output: BodyOutput) {
    this.owner = owner;
    this.output = output;
  }

  /** Something was gathered that has not been sent. */
  private get waits(): boolean {
    return this.gathered !== undefined && this.gathered.length > 0;
  }

  /** Sends the head and what there is of the body, and has the client send the rest. */
  begin(user: SenderUser, head: string): void {
    const { owner, output } = this;
    const { request, kept } = user;
    const again = kept?.started === true;
    if (kept !== undefined) kept.started = true;
    this.user = user;
    this.ended = request.bodyEnded || request.discardBody;
    owner.disarm();
    owner.cork();
    owner.write(head);
    if (again) this.sendKept(kept);
    else this.sendPreread(request);
    if (this.ended && !this.waits && !output.whole) output.sendEnd();
    const more = owner.uncork();
    if (this.ended) {
      if (output.whole) output.wrote();
      return;
    }
    if (!more) this.sent(false);
    if (!again) owner.startBody();
    else if (more && !this.waits) request.exchange.resumeBody();
  }

  /** Nothing more is sent. */
  stop(): void {
    this.user = undefined;
    this.gathered?.clear();
  }

  /** A piece of the body, lent for the call. */
  onBody(bytes: Buffer): void {
    if (this.output.coded) this.gather(bytes);
    else this.sent(this.owner.write(bytes));
  }

  onBodyEnd(): void {
    this.ended = true;
    if (this.waits) this.sendGathered();
    else this.output.sendEnd();
  }

  /** The server takes more, or the protocol has room for more. */
  onDrain(): void {
    if (this.owner.awaitsHead) this.owner.disarm();
    if (this.waits) this.sendGathered();
    if (!this.waits) this.user?.request.exchange.resumeBody();
  }

  /** Sends what was gathered, and the end if the whole body has come. */
  sendGathered(): void {
    const ends = this.waits && this.ended;
    this.sendPieces();
    if (ends && !this.waits && !this.output.whole) this.output.wrote();
  }

  /** Sends once more what another server has had. */
  private sendKept({ pieces }: KeptBody): void {
    if (pieces.length === 0) return;
    for (const piece of pieces) this.keep(piece);
    this.sendGathered();
  }

  /** Sends what came of the body before there was a connection. */
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

  /** Sends what was gathered as far as there is room; while some is left, the client's body is paused. */
  private sendPieces(): void {
    const { gathered, output, user } = this;
    if (gathered === undefined || gathered.length === 0) return;
    while (gathered.length > 0) {
      const piece = gathered.first();
      const length = output.sendPiece(piece, this.ended && piece.length === gathered.length);
      if (this.user !== user) return;
      if (length === 0) break;
      gathered.drop(length);
    }
    this.sent(output.more);
  }

  /** After a piece: proxy_send_timeout runs while the server takes no more, not while the client is slow. */
  private sent(more: boolean): void {
    if (!more) this.user?.request.exchange.pauseBody();
    if (!this.owner.awaitsHead) return;
    if (more) this.owner.disarm();
    else this.output.awaitTaking();
  }
}

function sendGathered(body: StreamedBody): void {
  body.sendGathered();
}
