/** No owner has more than a few operations of a kind at a time. */
const COUNT_BITS = 4;
const COUNT_MASK = (1 << COUNT_BITS) - 1;

/** Who has operations under way. */
export interface Operator {
  /** One of them has completed, or has a result while it goes on (CQE_MORE). Must not throw. */
  complete(kind: number, result: number, flags: number): void;
  /** The process ends: closes its descriptor. */
  abandon?(): void;
}

/**
 * The owners of operations, by id. An id is given to another owner when the first has no operation left; its generation tells
 * them apart, for completions that come too late.
 */
export class Owners {
  private readonly owners: (Operator | undefined)[] = [];
  private readonly generations: number[] = [];
  /** Of each id, how many operations are prepared or under way: for each kind a few bits. */
  private readonly counts: number[] = [];
  private readonly freeIds: number[] = [];

  /** The id of a new owner. */
  add(owner: Operator): number {
    const id = this.freeIds.pop() ?? this.owners.length;
    this.owners[id] = owner;
    this.generations[id] = ((this.generations[id] ?? 0) + 1) >>> 0;
    this.counts[id] = 0;
    return id;
  }

  /** The owner has no operation under way, and will not have any. */
  remove(id: number): void {
    this.owners[id] = undefined;
    this.freeIds.push(id);
  }

  /** Some of its operations are prepared or under way. */
  busy(id: number): boolean {
    return this.counts[id] !== 0;
  }

  /** Some of its operations of that kind are. */
  busyWith(id: number, kind: number): boolean {
    return ((this.counts[id] >>> (kind * COUNT_BITS)) & COUNT_MASK) !== 0;
  }

  generation(id: number): number {
    return this.generations[id];
  }

  /** Undefined where it is another's, or nobody's, by now. */
  of(id: number, generation: number): Operator | undefined {
    return this.generations[id] === generation ? this.owners[id] : undefined;
  }

  /** One of its operations begins. */
  begin(id: number, kind: number): void {
    this.counts[id] = (this.counts[id] + (1 << (kind * COUNT_BITS))) | 0;
  }

  /** One of its operations is over. */
  end(id: number, kind: number): void {
    this.counts[id] = (this.counts[id] - (1 << (kind * COUNT_BITS))) | 0;
  }

  /** The process ends. */
  abandonAll(): void {
    for (const owner of this.owners) owner?.abandon?.();
  }
}
