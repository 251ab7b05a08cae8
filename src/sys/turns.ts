import { defer, type FaultOwner, guarded } from "./guard.ts";

/** Something that is worked on piece by piece, with others' turns between. */
export interface Turn extends FaultOwner {
  /** Called in its turn: works while it may, and asks for another turn if it is not done. */
  onTurn(): void;
}

/** What may be used up in one turn of the event loop, by all together. */
export interface Share {
  /** A turn begins. */
  renew(): void;
  /** Whether nothing of it is left. */
  isUsed(): boolean;
}

/**
 * Work that is shared out over turns of the event loop, so that it blocks nobody else. Who finds the turn's share used up goes
 * on in a later turn, in the order in which they asked.
 */
export class Turns {
  private readonly share: Share;
  /** Those that wait are in the first `count` places. */
  private readonly waiting: (Turn | undefined)[] = [];
  private count = 0;
  /** The one whose turn it is: it may work although others wait. */
  private present: Turn | undefined = undefined;
  private ending = false;

  constructor(share: Share) {
    this.share = share;
  }

  /** Whether it may work on a piece now. If not, it calls `next`. */
  may(work: Turn): boolean {
    return (this.count === 0 || this.present === work) && !this.share.isUsed();
  }

  /** Has it called in a later turn, after those that wait already. What waits must not call this again. */
  next(work: Turn): void {
    this.waiting[this.count++] = work;
    this.begun();
  }

  /** Something of the share was used: it is renewed when this turn of the event loop has ended. */
  begun(): void {
    if (this.ending) return;
    this.ending = true;
    defer(end, this);
  }

  /** @internal Called when the turn has ended. */
  end(): void {
    this.ending = false;
    this.share.renew();
    const { waiting, count } = this;
    if (count === 0) return;
    let next = 0;
    do {
      this.present = waiting[next++];
      guarded(onTurn, this.present);
    } while (next < count && !this.share.isUsed());
    this.present = undefined;
    this.drop(next);
    if (this.count > 0) this.begun();
  }

  /** The first so many have had their turn; others may have come meanwhile, behind what still waits. */
  private drop(had: number): void {
    const { waiting, count } = this;
    for (let i = had; i < count; i++) waiting[i - had] = waiting[i];
    this.count = count - had;
    for (let i = this.count; i < count; i++) waiting[i] = undefined;
  }
}

function end(turns: Turns): void {
  turns.end();
}

function onTurn(work: Turn | undefined): void {
  work?.onTurn();
}
