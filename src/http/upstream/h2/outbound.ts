import { DATA, DEFAULT_FRAME_SIZE, FLAG, frameHead, headersFrames, MAX_WINDOW } from "../../../wire/h2/frames.ts";
import type { BodyCoding, RequestCoding } from "../protocol.ts";
import { RequestSender, type SenderOwner } from "../request_sender.ts";
import type { ConnectionUser } from "../server_exchange.ts";
import { BYTES_OF_FRAME } from "./frame_limits.ts";
import type { SentStream, ServerOutput } from "./output.ts";

/** The stream whose request it is. */
export interface OutboundOwner {
  readonly awaitsHead: boolean;
  arm(ms: number): void;
  disarm(): void;
  /** The kernel has all of the request. */
  onRequestSent(): void;
  onFault(error: unknown): void;
}

/** What is sent of one request: its frames, the window that the server gives it, and how much of it the kernel has. */
export class Outbound implements SenderOwner, RequestCoding, BodyCoding, SentStream {
  readonly sender: RequestSender;
  readonly none = "";
  readonly refuses = true;
  awaitsSent = false;
  private readonly owner: OutboundOwner;
  private readonly output: ServerOutput;
  private user: ConnectionUser | undefined = undefined;
  private id = 0;
  /** What the server has added to the window, less what was sent. */
  private credit = 0;
  mark = 0;
  /** `requested` of the connection after its last DATA. */
  lastSent = 0;

  constructor(owner: OutboundOwner, output: ServerOutput) {
    this.owner = owner;
    this.output = output;
    this.sender = new RequestSender(this);
  }

  begin(user: ConnectionUser): void {
    this.user = user;
    this.sender.reset(user);
  }

  /** Sends the request on the stream of that number. */
  send(id: number): void {
    this.id = id;
    this.credit = 0;
    this.lastSent = 0;
    this.sender.send(this);
  }

  /** Nothing more is sent. What was lost on a connection that is closed, or may be lost yet, does not count as sent. */
  stop(): void {
    const { user, output } = this;
    if (user !== undefined && (this.sending || output.stream.closed)) user.present.bytesSent -= this.unsent;
    this.sender.stop();
    this.user = undefined;
  }

  // ---- RequestCoding, BodyCoding

  requestHead(block: string, bodiless: boolean): string {
    this.output.requested += BYTES_OF_FRAME;
    return headersFrames(this.id, this.output.blockStart() + block, bodiless, DEFAULT_FRAME_SIZE);
  }

  bodyCoding(): BodyCoding {
    return this;
  }

  get room(): number {
    return Math.max(0, Math.min(this.window, this.output.window, DEFAULT_FRAME_SIZE));
  }

  before(length: number, last: boolean): string {
    this.credit -= length;
    const { output } = this;
    output.window -= length;
    output.requested += length + BYTES_OF_FRAME;
    this.lastSent = output.requested;
    return frameHead(length, DATA, last ? FLAG.END_STREAM : 0, this.id);
  }

  after(): string {
    return "";
  }

  get end(): string {
    return frameHead(0, DATA, FLAG.END_STREAM, this.id);
  }

  // ---- the window

  /** It follows SETTINGS_INITIAL_WINDOW_SIZE, and may become negative (RFC 9113 section 6.9.2). */
  private get window(): number {
    return this.output.initialWindow + this.credit;
  }

  get overflows(): boolean {
    return this.window > MAX_WINDOW;
  }

  /** The server takes more. False: the window is larger than it may be. */
  open(increment: number): boolean {
    this.credit += increment;
    return !this.overflows;
  }

  /** There may be room for more. */
  onRoom(): void {
    if (this.user !== undefined) this.sender.onDrain();
  }

  // ---- SenderOwner

  write(bytes: Uint8Array | string): boolean {
    const { output, user } = this;
    if (user !== undefined) user.present.bytesSent += bytes.length;
    const more = output.put(bytes);
    this.mark = output.written;
    output.awaitSent(this);
    return more;
  }

  /** All that is written in a turn is sent together. */
  cork(): void {}

  uncork(): boolean {
    return this.output.more;
  }

  get sending(): boolean {
    const { output } = this;
    return output.sending && output.taken < this.mark;
  }

  get unsent(): number {
    return Math.max(0, this.mark - this.output.taken);
  }

  onSent(): void {
    if (this.user !== undefined && !this.sending) this.sender.onSent();
  }

  startBody(): void {
    this.user?.startBody();
  }

  finalize(code: number): void {
    this.user?.finalize(code);
  }

  get awaitsHead(): boolean {
    return this.owner.awaitsHead;
  }

  arm(ms: number): void {
    this.owner.arm(ms);
  }

  disarm(): void {
    this.owner.disarm();
  }

  onRequestSent(): void {
    this.owner.onRequestSent();
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }
}
