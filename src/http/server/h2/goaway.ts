import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import * as h2 from "../../../wire/h2/frames.ts";
import type { H2Output } from "./output.ts";

/** What the PING behind a notice carries. */
const PING_DATA = "shutdown";

/** The connection. */
export interface GoawayOwner {
  readonly closed: boolean;
  readonly output: H2Output;
  readonly streams: {
    /** The highest number that the client has used. */
    readonly last: number;
    /** The lowest number of a stream that is open; 0: there is none. */
    readonly oldest: number;
  };
  /** How long the client has to acknowledge a notice, ms. */
  readonly noticeTimeout: number;
  /** The client was told which stream is the last, since it has not acknowledged the notice. */
  noticeExpired(): void;
  onFault(error: unknown): void;
}

/**
 * What a client is told of the end of its connection (RFC 9113 section 6.8). A graceful shutdown takes two steps: a notice that the
 * client should open no more streams, and, once it must have read that, which stream was the last. What it had sent before it knew
 * is served. Everything else (nginx's limits of keep-alive, errors) takes the second step alone.
 */
export class Goaway {
  /** Streams with higher numbers are not processed. */
  last = h2.MAX_STREAM;
  /** The client was told so. */
  said = false;
  private readonly owner: GoawayOwner;
  private deadline: Deadline<Goaway> | undefined = undefined;
  /** The last stream before the notice. */
  private before = 0;

  constructor(owner: GoawayOwner) {
    this.owner = owner;
  }

  /** The client was given notice, and may still open streams. */
  get pending(): boolean {
    return this.deadline !== undefined && !this.said;
  }

  /** The connection is to end. */
  get begun(): boolean {
    return this.deadline !== undefined || this.said;
  }

  /** The first step. A PING behind it comes back when the client has read it, behind all that was sent before that. */
  notice(): void {
    const { owner } = this;
    if (this.begun || owner.closed) return;
    owner.output.put(h2.goaway(h2.MAX_STREAM, h2.ERROR.NO_ERROR) + h2.ping(PING_DATA));
    this.before = owner.streams.last;
    this.deadline = new Deadline<Goaway>(this, expired);
    setDeadline(this.deadline, owner.noticeTimeout);
  }

  /** A PING of ours was acknowledged. */
  acknowledged(data: Buffer): void {
    if (this.pending && data.latin1Slice() === PING_DATA) this.say(h2.ERROR.NO_ERROR);
  }

  /** The second step. */
  say(error: number): void {
    const { owner } = this;
    if (this.said || owner.closed) return;
    this.said = true;
    this.stop();
    this.last = owner.streams.last;
    owner.output.put(h2.goaway(this.last, error));
  }

  /** The connection is closed. */
  stop(): void {
    if (this.deadline !== undefined) clearDeadline(this.deadline);
  }

  /** The client does not acknowledge the notice. It may be behind a long response, which keeps the connection anyway. */
  expire(): void {
    const { owner, deadline } = this;
    if (this.said || deadline === undefined) return;
    const { oldest } = owner.streams;
    if (oldest !== 0 && oldest <= this.before) {
      setDeadline(deadline, owner.noticeTimeout);
    } else {
      this.say(h2.ERROR.NO_ERROR);
      owner.noticeExpired();
    }
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }
}

function expired(goaway: Goaway): void {
  goaway.expire();
}
