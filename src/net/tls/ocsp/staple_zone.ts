import { digest } from "../../../shm/digest.ts";
import type { Zone, ZoneKind } from "../../../shm/zone.ts";

/**
 * OCSP responses in shared memory: the checker writes them, workers read them. A slot is a response's for as long as
 * configurations ask for it, so a reload keeps it. A slot has two halves; the one that counts is the one that the last bit of
 * its sequence says, and the other is written. So a reader waits for nobody, and a writer that dies leaves nothing half done.
 *
 *     for each slot: sequence · generation · two halves of: length · - · two floats · key (4 words) · bytes
 */
export const STAPLE_ZONE: ZoneKind = { name: "ssl_stapling", version: 1 };

/** Words of a slot. */
const SEQUENCE = 0;
/** The last configuration that asked for it; 0: none ever did. */
const GENERATION = 1;
const HALVES = 4;
/** Words of a half. */
const LENGTH = 0;
/** Two floats, seconds since 1970. */
const VALID = 2;
const REFRESH = 4;
const KEY = 6;
const BYTES = 10;
/** The most bytes of a response: what a responder may send. */
const MOST_BYTES = 16_384;
const HALF = BYTES + MOST_BYTES / 4;
const SLOT = HALVES + 2 * HALF;
const KEY_BYTES = 16;

/** Bytes of a zone for so many responses, with room for as many of the next configuration. Unused pages take no memory. */
export function stapleZoneBytes(responses: number): number {
  let slots = 8;
  while (slots < responses * 2) slots *= 2;
  return slots * SLOT * 4;
}

/** What is known of a certificate's response. */
export interface Staple {
  readonly response: Buffer;
  /** Seconds since 1970; Infinity where the response does not say. */
  readonly validUntil: number;
  /** When the checker asks again, seconds since 1970. */
  readonly refreshAt: number;
}

/**
 * The slots of responses by their keys, which say all that makes another response: each has the slot that it had, else one
 * that is not used. Whichever process is the first to build a configuration takes them.
 */
export function claimStaples(zone: Zone, keys: readonly string[], generation: number): StapleSlot[] {
  // Nothing can be half done by one who died inside: each slot changes hands with one store.
  zone.lock();
  try {
    const slots = slotsOf(zone);
    const known = new Map(slots.map((at) => [keyAt(zone, at), at]));
    const claimed = keys.map((text) => {
      const key = digest(text).latin1Slice();
      return { key, at: known.get(key) };
    });
    const kept = new Set(claimed.map(({ at }) => at));
    const { words } = zone;
    // There are more than enough: those of the configuration before stay too.
    const free = slots.filter((at) => !kept.has(at));
    free.sort((one, other) => words[one + GENERATION] - words[other + GENERATION]);
    return claimed.map(({ key, at }) => {
      const place = at ?? free.shift();
      if (place === undefined) throw new RangeError("no room for another OCSP response");
      const slot = new StapleSlot(zone, place, key);
      if (at === undefined) slot.writeLocked(undefined);
      // A process that builds an older configuration late must not make it look unused.
      words[place + GENERATION] = Math.max(words[place + GENERATION], generation);
      return slot;
    });
  } finally {
    zone.unlock();
  }
}

/** Copies responses into a zone of another size. */
export function migrateStaples(from: Zone, to: Zone): void {
  const places = slotsOf(to);
  for (const at of slotsOf(from)) {
    if (from.words[at + GENERATION] === 0) continue;
    const place = places.shift();
    if (place === undefined) return;
    to.words.set(from.words.subarray(at, at + SLOT), place);
  }
}

/** The first word of each slot. */
function slotsOf({ words }: Zone): number[] {
  return Array.from({ length: Math.floor(words.length / SLOT) }, (_, i) => i * SLOT);
}

function halfAt(at: number, sequence: number): number {
  return at + HALVES + (sequence & 1) * HALF;
}

function keyAt({ words, bytes }: Zone, at: number): string {
  const from = (halfAt(at, words[at + SEQUENCE]) + KEY) * 4;
  return bytes.latin1Slice(from, from + KEY_BYTES);
}

/** The place of one response. */
export class StapleSlot {
  readonly #zone: Zone;
  readonly #at: number;
  readonly #key: string;
  #sequence = -1;
  #staple: Staple | undefined = undefined;

  constructor(zone: Zone, at: number, key: string) {
    this.#zone = zone;
    this.#at = at;
    this.#key = key;
  }

  /** What was written last, the same object as long as nothing else is. */
  read(): Staple | undefined {
    const { words } = this.#zone;
    for (let tries = 0; tries < 4; tries++) {
      const sequence = Atomics.load(words, this.#at + SEQUENCE);
      if (sequence === this.#sequence) return this.#staple;
      const staple = this.#copy(halfAt(this.#at, sequence));
      if (Atomics.load(words, this.#at + SEQUENCE) !== sequence) continue;
      this.#sequence = sequence;
      this.#staple = staple;
    }
    return undefined;
  }

  #copy(half: number): Staple | undefined {
    const { words, floats, bytes } = this.#zone;
    const length = words[half + LENGTH];
    const key = (half + KEY) * 4;
    // A later configuration may have given the slot to another certificate.
    if (length <= 0 || length > MOST_BYTES || bytes.latin1Slice(key, key + KEY_BYTES) !== this.#key) return undefined;
    const from = (half + BYTES) * 4;
    return {
      response: Buffer.from(bytes.subarray(from, from + length)),
      validUntil: floats[(half + VALID) >> 1],
      refreshAt: floats[(half + REFRESH) >> 1],
    };
  }

  /** At most MOST_BYTES. */
  write(staple: Staple): void {
    // Another master, which takes over, has a checker too.
    this.#zone.lock();
    try {
      this.writeLocked(staple);
    } finally {
      this.#zone.unlock();
    }
  }

  /** For whoever has the zone's lock. */
  writeLocked(staple: Staple | undefined): void {
    const { words, floats, bytes } = this.#zone;
    const sequence = (words[this.#at + SEQUENCE] + 1) | 0;
    const half = halfAt(this.#at, sequence);
    bytes.latin1Write(this.#key, (half + KEY) * 4, KEY_BYTES);
    words[half + LENGTH] = staple?.response.length ?? 0;
    if (staple !== undefined) {
      floats[(half + VALID) >> 1] = staple.validUntil;
      floats[(half + REFRESH) >> 1] = staple.refreshAt;
      bytes.set(staple.response, (half + BYTES) * 4);
    }
    Atomics.store(words, this.#at + SEQUENCE, sequence);
  }
}
