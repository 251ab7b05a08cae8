import { reasonOf } from "../../redis/link.ts";
import { wallNow } from "../../sys/clock.ts";
import { logFault } from "../../sys/guard.ts";
import {
  decodeRecords,
  decodeStored,
  encodeRecords,
  PUT_RECORDS,
  recordBytes,
  type TableRecord,
} from "../../wire/table_records.ts";
import { type Batch, MOST_BATCH, type SyncedPart, type SyncPort } from "./synced.ts";

/** Records at a time under the lock of the table, for which workers wait. */
const AT_ONCE = 64;
/** Batches that are told between two looks at the time. */
const MOST_BATCHES = 64;
/** A larger batch is not made, unless a single record is larger. */
const BATCH_BYTES = 64 * 1024;
/** What a store is asked for at a time, and the most that is taken from it. */
const SCAN_COUNT = 500;
const MOST_LOADED = 4_000_000;
/** After the store has refused something it is tried again after so long, and it is said so seldom, ms. */
const AGAIN_MS = 1000;
const SAY_AGAIN_MS = 60_000;

/** A table in shared memory, as who shares it sees it. Its rule is that of two changes of a key the one of the greater stamp counts. */
export interface TableToShare {
  /** What it is, in sentences: `keyval zone "one"`. */
  readonly what: string;
  /** Whether it has what an earlier run has left: not before that all of it is compared with the store. */
  isReady(): boolean;
  /** Some of what has changed here and others do not know, up to so many; some if there is any. */
  untoldOnes(most: number): readonly TableRecord[];
  /** Others know these. */
  told(records: readonly TableRecord[]): void;
  /** Others do not know these. */
  untell(records: readonly TableRecord[]): void;
  /** Takes what counts of these. Returns how many found no room. */
  take(records: readonly TableRecord[]): number;
  /** All there is, what was removed as well. */
  everything(): Iterable<readonly TableRecord[]>;
}

/**
 * A table that is the same on all nodes: each change is told to the others, and put into the store for those that are not there. Who
 * begins, or has missed something, reads all of it from there, and tells what the store does not have. So the order in which changes
 * come does not matter, nor that one comes twice.
 */
export class SyncedTable implements SyncedPart {
  readonly #table: TableToShare;
  readonly #port: SyncPort;
  readonly #keys: readonly [hash: string, ends: string];
  #stopped = false;
  #telling = false;
  #loading = false;
  #toLoad = false;
  /** When the store is tried again, monotonic ms. */
  #again = 0;
  readonly #saidAt = new Map<string, number>();

  constructor(table: TableToShare, port: SyncPort, previous: SyncedPart | undefined) {
    this.#table = table;
    this.#port = port;
    // Both in one slot of a cluster.
    const key = `${port.prefix}{${port.prefix}}`;
    this.#keys = [`${key}table`, `${key}ends`];
    previous?.stop();
  }

  stop(): void {
    this.#stopped = true;
  }

  missed(): void {
    this.#toLoad = true;
  }

  tick(): void {
    if (!this.#port.up || performance.now() < this.#again) return;
    if (this.#toLoad && !this.#loading && this.#table.isReady()) {
      this.#toLoad = false;
      this.#loading = true;
      this.#run(this.#load(), () => {
        this.#loading = false;
      });
    }
    if (!this.#telling) {
      const first = this.#table.untoldOnes(AT_ONCE);
      if (first.length === 0) return;
      this.#telling = true;
      this.#run(this.#tell(first), () => {
        this.#telling = false;
      });
    }
  }

  receive({ payload }: Batch): boolean {
    const records = decodeRecords(payload, wallNow());
    if (records === undefined) return false;
    this.#take(records);
    return true;
  }

  #take(records: readonly TableRecord[]): void {
    let full = 0;
    for (let from = 0; from < records.length; from += AT_ONCE)
      full += this.#table.take(records.slice(from, from + AT_ONCE));
    if (full > 0)
      this.#say(`${this.#table.what} has no room for what other nodes have in it: give it a larger size on this node`);
  }

  #run(work: Promise<void>, done: () => void): void {
    work
      .catch((error: unknown) => {
        this.#again = performance.now() + AGAIN_MS;
        // A store that is away is said to be.
        if (!this.#port.up || this.#stopped) return;
        if (error instanceof Error && /^[A-Z]+ /.test(error.message)) {
          this.#say(`the store refuses what is shared of ${this.#table.what}: ${reasonOf(error)}`);
        } else logFault(error, ` while ${this.#table.what} was shared`);
      })
      .finally(done);
  }

  #say(sentence: string): void {
    const now = performance.now();
    if (now - (this.#saidAt.get(sentence) ?? Number.NEGATIVE_INFINITY) < SAY_AGAIN_MS) return;
    this.#saidAt.set(sentence, now);
    this.#port.say("error", sentence);
  }

  async #tell(first: readonly TableRecord[]): Promise<void> {
    let found = first;
    for (let batches = 0; batches < MOST_BATCHES && found.length > 0 && !this.#stopped; batches++) {
      const some = upTo(found, BATCH_BYTES);
      const now = wallNow();
      const payload = encodeRecords(some, now);
      if (payload.length > MOST_BATCH || !this.#port.publish(payload)) return;
      const args = some.flatMap((record) => [
        Buffer.from(record.key, "latin1"),
        encodeRecords([record], now),
        String(Math.max(1, Math.ceil(record.ends - now))),
      ]);
      await this.#port.command(this.#keys[0], ["EVAL", PUT_RECORDS, "2", ...this.#keys, ...args]);
      if (this.#stopped) return;
      this.#table.told(some);
      found = this.#table.untoldOnes(AT_ONCE);
    }
  }

  async #load(): Promise<void> {
    const [hash] = this.#keys;
    const clock = await this.#clock();
    const since = performance.now();
    /** Stamps of what the store has. */
    const there = new Map<string, number>();
    let cursor = "0";
    let none = 0;
    do {
      const answer = await this.#port.command(hash, ["HSCAN", hash, cursor, "COUNT", String(SCAN_COUNT)]);
      if (this.#stopped) return;
      const { next, fields } = scanned(answer);
      const records: TableRecord[] = [];
      for (let i = 0; i + 1 < fields.length; i += 2) {
        const record = decodeStored(fields[i + 1], clock + performance.now() - since, wallNow());
        if (record === undefined || record.key !== fields[i].latin1Slice()) none++;
        else {
          there.set(record.key, record.stamp);
          records.push(record);
        }
      }
      this.#take(records);
      cursor = next;
    } while (cursor !== "0" && there.size < MOST_LOADED);
    if (none > 0) this.#say(`the store has something else in the table of ${this.#table.what}, which is not used`);
    for (const records of this.#table.everything()) {
      const lacking = records.filter(({ key, stamp }) => (there.get(key) ?? 0) < stamp);
      if (lacking.length > 0) this.#table.untell(lacking);
      await turn();
      if (this.#stopped) return;
    }
  }

  /** The store's, ms since 1970. */
  async #clock(): Promise<number> {
    const answer = await this.#port.command(this.#keys[0], ["TIME"]);
    const [seconds, micros] = Array.isArray(answer) ? answer : [];
    return Number(String(seconds)) * 1000 + Number(String(micros)) / 1000;
  }
}

/** As many as fit, but one at least. */
function upTo(records: readonly TableRecord[], most: number): readonly TableRecord[] {
  let bytes = 0;
  const end = records.findIndex((record, i) => {
    bytes += recordBytes(record);
    return i > 0 && bytes > most;
  });
  return end === -1 ? records : records.slice(0, end);
}

function scanned(answer: unknown): { readonly next: string; readonly fields: readonly Buffer[] } {
  const [next, found] = Array.isArray(answer) ? answer : [];
  const fields: Buffer[] = [];
  if (Array.isArray(found)) for (const field of found) if (Buffer.isBuffer(field)) fields.push(field);
  return { next: next === undefined ? "0" : String(next), fields };
}

/** Others' turn. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
