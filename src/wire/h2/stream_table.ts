/** What has a stream's number. */
export interface Numbered {
  readonly id: number;
}

const LEAST = 8;
/** How many slots a connection keeps that has no stream. */
const MOST_IDLE = 64;

/**
 * The streams of a connection by their numbers, which are odd. A Map would do, but for the garbage collector: each time a Map
 * is laid out anew, its former table keeps its values and a reference to the next table. One such table in the old generation
 * keeps all streams since then alive, and they get there as well.
 */
export class StreamTable<T extends Numbered> {
  size = 0;
  /** Open addressing with linear probing, never more than half full. */
  private slots: (T | undefined)[] = EMPTY;
  private mask = -1;

  /** Where the stream is, or the free slot where it would be. */
  private find(id: number): number {
    const { slots, mask } = this;
    let at = (id >>> 1) & mask;
    for (let one = slots[at]; one !== undefined && one.id !== id; one = slots[at]) at = (at + 1) & mask;
    return at;
  }

  get(id: number): T | undefined {
    return this.size === 0 ? undefined : this.slots[this.find(id)];
  }

  /** There is none of that number yet. */
  add(stream: T): void {
    if (2 * this.size > this.mask) this.grow();
    this.size++;
    this.slots[this.find(stream.id)] = stream;
  }

  private grow(): void {
    const streams = this.all();
    const length = Math.max(LEAST, 2 * this.slots.length);
    this.slots = new Array<T | undefined>(length).fill(undefined);
    this.mask = length - 1;
    for (const stream of streams) this.slots[this.find(stream.id)] = stream;
  }

  /** False: it is not there. */
  remove(stream: T): boolean {
    if (this.size === 0) return false;
    const { slots, mask } = this;
    let free = this.find(stream.id);
    if (slots[free] !== stream) return false;
    this.size--;
    // Those that had to go past its slot move up.
    for (let at = (free + 1) & mask, one = slots[at]; one !== undefined; at = (at + 1) & mask, one = slots[at]) {
      const home = (one.id >>> 1) & mask;
      if (((at - home) & mask) < ((at - free) & mask)) continue;
      slots[free] = one;
      free = at;
    }
    slots[free] = undefined;
    if (this.size === 0 && slots.length > MOST_IDLE) {
      this.slots = EMPTY;
      this.mask = -1;
    }
    return true;
  }

  /** Any of them. */
  get any(): T | undefined {
    return this.size === 0 ? undefined : this.slots.find((one) => one !== undefined);
  }

  /** All of them now, in no order. */
  all(): T[] {
    return this.slots.filter((one) => one !== undefined);
  }
}

const EMPTY: never[] = [];
