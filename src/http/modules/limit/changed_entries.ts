import type { LruHash } from "../../../shm/lru_hash.ts";

/**
 * The entries of a shared zone that have changed since the group was told of them: a list in both directions, so that one that is
 * removed leaves it at once. Its head is a word of the zone, its links are words of the entries' values. Wants the zone's lock.
 */
export const CHANGED_WORDS = 1;

export class ChangedEntries {
  readonly #entries: LruHash;
  /** The word of the head. */
  readonly #head: number;
  /** Words of a value: the next entry and the one before; -1 where there is none, 0 while it is not in the list. */
  readonly #next: number;
  readonly #before: number;

  /** `head`: a word of the zone. `links`: where the two words of a value begin. */
  constructor(entries: LruHash, head: number, links: number) {
    this.#entries = entries;
    this.#head = head;
    this.#next = links;
    this.#before = links + 1;
  }

  /** The entry changed last; undefined: none has. */
  get first(): number | undefined {
    return this.#entries.zone.words[this.#head] || undefined;
  }

  add(entry: number): void {
    const { words } = this.#entries.zone;
    const value = this.#entries.value(entry);
    if (words[value + this.#next] !== 0) return;
    const first = words[this.#head];
    words[value + this.#next] = first || -1;
    words[value + this.#before] = -1;
    if (first !== 0) words[this.#entries.value(first) + this.#before] = entry;
    words[this.#head] = entry;
  }

  has(entry: number): boolean {
    return this.#entries.zone.words[this.#entries.value(entry) + this.#next] !== 0;
  }

  /** Before an entry is removed, or when the group has been told of it. */
  remove(entry: number): void {
    const { words } = this.#entries.zone;
    const value = this.#entries.value(entry);
    const next = words[value + this.#next];
    if (next === 0) return;
    const before = words[value + this.#before];
    if (next > 0) words[this.#entries.value(next) + this.#before] = before;
    if (before > 0) words[this.#entries.value(before) + this.#next] = next;
    else words[this.#head] = next > 0 ? next : 0;
    words[value + this.#next] = 0;
  }

  /** After a death within the lock, where links may be half written: all count as changed. */
  repair(): void {
    const { words } = this.#entries.zone;
    words[this.#head] = 0;
    for (let entry = this.#entries.oldest; entry !== undefined; entry = this.#entries.newer(entry)) {
      words[this.#entries.value(entry) + this.#next] = 0;
      this.add(entry);
    }
  }
}
