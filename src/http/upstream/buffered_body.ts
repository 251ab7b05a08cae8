import type { Turn } from "../../sys/turns.ts";
import type { Request } from "../core/request.ts";
import { mayRead, nextTurn } from "../files/file_turns.ts";
import { BodyCursor, type CursorOwner, type SentBody } from "./body_cursor.ts";
import type { BodyOutput, SenderOwner } from "./request_sender.ts";

/** A body that was read whole, into memory or a file, on its way to the server. */
export class BufferedBody implements Turn, CursorOwner {
  private readonly owner: SenderOwner;
  private readonly output: BodyOutput;
  private readonly cursor = new BodyCursor(this);
  private request: Request | undefined = undefined;
  private body: SentBody | undefined = undefined;
  /** It has asked for a turn, perhaps for another request. */
  private waiting = false;

  constructor(owner: SenderOwner, output: BodyOutput) {
    this.owner = owner;
    this.output = output;
  }

  /** Sends the head, and as much of the body as the server takes now. */
  begin(request: Request, body: SentBody, head: string): void {
    const { owner, output } = this;
    this.request = request;
    this.body = body;
    owner.cork();
    owner.write(head);
    this.sendNext(request, body);
    const more = owner.uncork();
    if (this.body === undefined || !owner.awaitsHead) return;
    if (output.whole) output.wrote();
    else if (more) this.onDrain();
    else output.awaitTaking();
  }

  /** Nothing more is sent. */
  stop(): void {
    this.request = undefined;
    this.body = undefined;
    this.cursor.reset();
  }

  /** The server takes more, or the protocol has room for more. */
  onDrain(): void {
    const { request, body } = this;
    if (request !== undefined && body !== undefined) this.sendRest(request, body);
  }

  /** Its turn to read the body from its file. */
  onTurn(): void {
    this.waiting = false;
    this.onDrain();
  }

  onBodyRead(bytes: Buffer | undefined): void {
    const { request, body } = this;
    if (request === undefined || body === undefined) return;
    // The server must not take what it got for a complete body.
    if (bytes === undefined) this.owner.finalize(500);
    else if (this.sendBytes(body, bytes)) this.sendRest(request, body);
    else this.sendLater();
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }

  /** Sends as much as the server takes now. */
  private sendRest(request: Request, body: SentBody): void {
    while (!this.output.whole) {
      if (body.file !== undefined && !this.cursor.reading && !mayRead(this)) {
        if (!this.waiting) nextTurn(this);
        this.waiting = true;
        return;
      }
      if (!this.sendNext(request, body)) {
        this.sendLater();
        return;
      }
    }
  }

  /** The server takes no more for now, or the disk is waited for, which is no fault of the server's. */
  private sendLater(): void {
    if (!this.owner.awaitsHead || this.output.whole) return;
    if (this.cursor.reading) this.owner.disarm();
    else this.output.awaitTaking();
  }

  /** Sends the next piece. False if the server takes no more for now, the disk is waited for, or everything is over. */
  private sendNext(request: Request, body: SentBody): boolean {
    if (this.body !== body) return false;
    const bytes = this.cursor.next(request, body, this.output.room);
    return bytes !== undefined && this.sendBytes(body, bytes);
  }

  /** Sends a piece of the cursor's. */
  private sendBytes(body: SentBody, bytes: Buffer): boolean {
    const { cursor, output } = this;
    const length = output.sendPiece(bytes, cursor.left(body) === bytes.length);
    cursor.advance(length, length > 0 && length === bytes.length);
    if (cursor.left(body) <= 0) output.wrote();
    return output.more;
  }
}
