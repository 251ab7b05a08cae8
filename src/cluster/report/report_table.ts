import { digest } from "../../shm/digest.ts";
import type { Zone, ZoneKind } from "../../shm/zone.ts";
import { isLater, MOST_REASON, REPORT_STATES, type Report } from "./report.ts";

/** The latest report of each server, in shared memory: workers write what servers say, the checker what other nodes know. */
export const REPORT_ZONE: ZoneKind = { name: "cluster reports", version: 1 };

/** Words of the zone's head: a number that changes with each report. */
const SEQUENCE = 0;
const HEAD = 16;
/** Words of a record: 0 where it is free, else one more than the state's number; written last, cleared first. */
const STATE = 0;
const KEY = 2;
const REASON_LENGTH = 6;
const BY_LENGTH = 7;
/** Two Float64. */
const AT = 8;
const UNTIL = 10;
const BY = 12;
const MOST_BY = 64;
const REASON = BY + MOST_BY / 4;
const WORDS = 96;

const KEY_BYTES = 16;

/** Bytes of the zone for so many servers. */
export function reportBytes(servers: number): number {
  let slots = 64;
  while (slots < servers * 2) slots *= 2;
  return (HEAD + slots * WORDS) * 4;
}

/** Fills a zone of another size. */
export function migrateReports({ words: from }: Zone, { words: to }: Zone): void {
  let at = HEAD;
  for (let old = HEAD; old + WORDS <= from.length && at + WORDS <= to.length; old += WORDS) {
    if (from[old + STATE] === 0) continue;
    to.set(from.subarray(old, old + WORDS), at);
    at += WORDS;
  }
  to[SEQUENCE] = from[SEQUENCE] + 1;
}

export class ReportTable {
  readonly #zone: Zone;

  constructor(zone: Zone) {
    this.#zone = zone;
  }

  get sequence(): number {
    return Atomics.load(this.#zone.words, SEQUENCE);
  }

  /** A server has said something: it is later than all that it said before, whatever the clocks. `now`: ms since 1970. */
  say(key: string, said: Omit<Report, "at">, now: number): Report {
    return this.#locked(() => {
      const id = idOf(key);
      const slot = this.#find(id);
      const before = slot === -1 ? 0 : this.#zone.floats[(slot + AT) >> 1];
      const report = { ...said, at: Math.max(now, before + 1) };
      this.#write(slot === -1 ? this.#room() : slot, id, report);
      return report;
    });
  }

  /** Another node knows a report. Returns whether it is news. */
  take(key: string, report: Report): boolean {
    return this.#locked(() => {
      const id = idOf(key);
      const slot = this.#find(id);
      if (slot !== -1 && !isLater(report, this.#read(slot))) return false;
      this.#write(slot === -1 ? this.#room() : slot, id, report);
      return true;
    });
  }

  get(key: string): Report | undefined {
    return this.#locked(() => {
      const slot = this.#find(idOf(key));
      return slot === -1 ? undefined : this.#read(slot);
    });
  }

  /** All reports, by `idOf` of their servers' keys. */
  all(): Map<string, Report> {
    return this.#locked(() => {
      const all = new Map<string, Report>();
      for (const slot of this.#slots()) {
        if (this.#zone.words[slot + STATE] !== 0) all.set(this.#idAt(slot), this.#read(slot));
      }
      return all;
    });
  }

  #locked<T>(work: () => T): T {
    // Whoever died with the lock has left a record that is free, or whole.
    this.#zone.lock();
    try {
      return work();
    } finally {
      this.#zone.unlock();
    }
  }

  *#slots(): Generator<number> {
    const { words } = this.#zone;
    for (let slot = HEAD; slot + WORDS <= words.length; slot += WORDS) yield slot;
  }

  #idAt(slot: number): string {
    return this.#zone.bytes.latin1Slice((slot + KEY) * 4, (slot + KEY) * 4 + KEY_BYTES);
  }

  #find(id: string): number {
    for (const slot of this.#slots()) if (this.#zone.words[slot + STATE] !== 0 && this.#idAt(slot) === id) return slot;
    return -1;
  }

  /** A free record, else the oldest. */
  #room(): number {
    const { words, floats } = this.#zone;
    let oldest = HEAD;
    for (const slot of this.#slots()) {
      if (words[slot + STATE] === 0) return slot;
      if (floats[(slot + AT) >> 1] < floats[(oldest + AT) >> 1]) oldest = slot;
    }
    return oldest;
  }

  #read(slot: number): Report {
    const { words, floats, bytes } = this.#zone;
    const text = (at: number, length: number, most: number) =>
      bytes.latin1Slice((slot + at) * 4, (slot + at) * 4 + Math.min(Math.max(0, words[slot + length]), most));
    return {
      state: REPORT_STATES[words[slot + STATE] - 1] ?? "ready",
      reason: text(REASON, REASON_LENGTH, MOST_REASON),
      at: floats[(slot + AT) >> 1],
      until: floats[(slot + UNTIL) >> 1],
      by: text(BY, BY_LENGTH, MOST_BY),
    };
  }

  #write(slot: number, id: string, { state, reason, at, until, by }: Report): void {
    const { words, floats, bytes } = this.#zone;
    Atomics.store(words, slot + STATE, 0);
    bytes.write(id, (slot + KEY) * 4, KEY_BYTES, "latin1");
    floats[(slot + AT) >> 1] = at;
    floats[(slot + UNTIL) >> 1] = until;
    words[slot + BY_LENGTH] = bytes.write(by, (slot + BY) * 4, MOST_BY, "latin1");
    words[slot + REASON_LENGTH] = bytes.write(reason, (slot + REASON) * 4, MOST_REASON, "latin1");
    Atomics.store(words, slot + STATE, REPORT_STATES.indexOf(state) + 1);
    Atomics.add(words, SEQUENCE, 1);
  }
}

/** What stands for a key in the zone. */
export function idOf(key: string): string {
  return digest(key).latin1Slice();
}
