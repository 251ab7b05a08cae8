import { LruHash } from "../../../shm/lru_hash.ts";
import type { Zone, ZoneKind } from "../../../shm/zone.ts";
import { randomInt32 } from "../../../sys/random.ts";

/**
 * What the checker tells the workers: texts by key in shared memory. These are certificates with their state, and the
 * answers to challenges. A zone that is full refuses more; which entries may go only the checker knows.
 */

export const ACME_ZONE: ZoneKind = { name: "acme", version: 2 };

/** Words of a value: another number each time the text changes, and its bytes, 0 while it is being written. */
const CHANGE = 0;
const LENGTH = 1;
const TEXT = 2;

export class CertificateZone {
  readonly #entries: LruHash;

  constructor(zone: Zone) {
    this.#entries = new LruHash(zone);
  }

  /** undefined where there is none, and where its text is what `change` stood for. */
  read(key: string, change = 0): { readonly text: string; readonly change: number } | undefined {
    const entries = this.#entries;
    entries.lock();
    try {
      const entry = entries.find(key);
      if (entry === undefined) return undefined;
      const { words, bytes } = entries.zone;
      const value = entries.value(entry);
      const now = words[value + CHANGE];
      const length = words[value + LENGTH];
      if (now === change || length === 0) return undefined;
      const from = (value + TEXT) * 4;
      return { text: bytes.toString("utf8", from, from + length), change: now };
    } finally {
      entries.unlock();
    }
  }

  get name(): string {
    return this.#entries.zone.name;
  }

  /** False where there is no room, and what was there before stays. */
  write(key: string, text: string): boolean {
    const entries = this.#entries;
    const bytes = Buffer.from(text);
    const size = TEXT * 4 + bytes.length;
    entries.lock();
    try {
      let entry = entries.find(key) ?? entries.insert(key, size);
      if (entry !== undefined && entries.valueBytes(entry) < size) entry = entries.grow(entry, size);
      if (entry === undefined) return false;
      const { zone } = entries;
      const value = entries.value(entry);
      zone.words[value + LENGTH] = 0;
      zone.bytes.set(bytes, (value + TEXT) * 4);
      zone.words[value + CHANGE] = randomInt32() || 1;
      zone.words[value + LENGTH] = bytes.length;
      return true;
    } finally {
      entries.unlock();
    }
  }

  remove(key: string): void {
    const entries = this.#entries;
    entries.lock();
    const entry = entries.find(key);
    if (entry !== undefined) entries.remove(entry);
    entries.unlock();
  }

  /** Removes all whose key is not wanted. */
  keep(wanted: (key: string) => boolean): void {
    const entries = this.#entries;
    entries.lock();
    for (let entry = entries.oldest; entry !== undefined; ) {
      const next = entries.newer(entry);
      if (!wanted(entries.key(entry))) entries.remove(entry);
      entry = next;
    }
    entries.unlock();
  }

  keys(): readonly string[] {
    const entries = this.#entries;
    const keys: string[] = [];
    entries.lock();
    for (let entry = entries.oldest; entry !== undefined; entry = entries.newer(entry)) keys.push(entries.key(entry));
    entries.unlock();
    return keys;
  }

  /** Copies everything into a zone of another size. */
  copyTo(other: CertificateZone): void {
    for (const key of this.keys()) {
      const found = this.read(key);
      if (found !== undefined) other.write(key, found.text);
    }
  }
}
