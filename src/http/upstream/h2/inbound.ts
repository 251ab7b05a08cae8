import { SlabQueue } from "../../../net/slabs.ts";
import { defer } from "../../../sys/guard.ts";

/** How much of an answer a server may send ahead of what is taken of it: at first, and once its client has kept up. */
export const FIRST_WINDOW = 256 * 1024;
const MOST_WINDOW = 2 * 1024 * 1024;

/** The stream whose answer it is. */
export interface InboundOwner {
  /** Passes bytes of the body on, lent for the call; the answer ends with them where `end`. False: nothing more is wanted. */
  deliver(bytes: Buffer, end: boolean): boolean;
  /** All that came before the connection was closed has been delivered. */
  onDrained(): void;
  /** The server may send so many bytes more. */
  grant(increment: number): void;
  onFault(error: unknown): void;
}

/**
 * The body of one answer: its window, and what has come while nobody takes it. Other streams of the connection go on
 * meanwhile, so that no more of this one can come than the window has room for.
 */
export class Inbound {
  paused = false;
  private readonly owner: InboundOwner;
  private readonly held = new SlabQueue();
  private heldEnd = false;
  private ended = false;
  /** The connection is closed. */
  private closed = false;
  private delivering = false;
  /** How much may come now; how much ahead of what was taken; and what was taken since the server was told. */
  private room = 0;
  private window = FIRST_WINDOW;
  private owed = 0;

  constructor(owner: InboundOwner) {
    this.owner = owner;
  }

  begin(): void {
    this.paused = false;
    this.heldEnd = false;
    this.ended = false;
    this.closed = false;
    this.room = FIRST_WINDOW;
    this.window = FIRST_WINDOW;
    this.owed = 0;
  }

  /** Nothing more is wanted. */
  stop(): void {
    this.paused = false;
    this.ended = true;
    this.heldEnd = false;
    this.closed = false;
    this.held.clear();
  }

  /** Something waits to be delivered. */
  get waits(): boolean {
    return this.held.length > 0 || this.heldEnd;
  }

  /** A frame of so many bytes has come. False: there was no room for it. */
  take(length: number): boolean {
    if (length > this.room) return false;
    this.room -= length;
    this.owed += length;
    return true;
  }

  get left(): number {
    return this.room;
  }

  receive(bytes: Buffer, end: boolean): void {
    if (end) this.ended = true;
    if (this.paused || this.waits || this.delivering) {
      this.held.push(bytes);
      if (end) this.heldEnd = true;
    } else if (this.owner.deliver(bytes, end)) {
      this.settle();
    }
  }

  pause(): void {
    this.paused = true;
  }

  /** What has come is delivered later: nothing is called back from within. */
  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    if (this.waits || this.closed || this.owed > 0) defer(deliverHeld, this);
  }

  /** The connection is closed. True if what has come is to be delivered first. */
  close(): boolean {
    if (!this.waits) return false;
    this.closed = true;
    return true;
  }

  deliverHeld(): void {
    const { held, owner } = this;
    if (this.delivering) return;
    this.delivering = true;
    try {
      while (!this.paused && this.waits) {
        const piece = held.first();
        const { length } = piece;
        // The end comes by itself: a trailer may precede it.
        if (length === 0) this.heldEnd = false;
        if (!owner.deliver(piece, length === 0)) return;
        held.drop(length);
      }
    } finally {
      this.delivering = false;
    }
    if (this.waits) return;
    if (this.closed) {
      this.closed = false;
      owner.onDrained();
    } else {
      this.settle();
    }
  }

  /** Lets the server send more, once half of what it may has been taken; and further ahead, as nobody had to wait for the client. */
  private settle(): void {
    if (this.paused || this.ended || this.owed < this.window / 2) return;
    let increment = this.owed;
    if (this.window < MOST_WINDOW) {
      increment += this.window;
      this.window *= 2;
    }
    this.owed = 0;
    this.room += increment;
    this.owner.grant(increment);
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }
}

function deliverHeld(inbound: Inbound): void {
  inbound.deliverHeld();
}
