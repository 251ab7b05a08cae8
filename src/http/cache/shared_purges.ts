import fs from "node:fs";
import { Script } from "../../redis/link.ts";
import { errorCode, errorText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import type { Batch, Synced, SyncedPart, SyncPort } from "../conf/synced.ts";
import { SYNC_TICK_MS } from "../conf/synced.ts";
import type { Cache } from "./cache.ts";
import { purgeHere } from "./purge.ts";
import { PURGES } from "./purge_file.ts";
import { readSharedPurge, type SharedPurge } from "./purge_outbox.ts";

/**
 * The log of a cache's purges: a stream in the store, whose entries are `epoch-number`, numbered from 1 on without gaps. A log that
 * begins anew has another epoch. A node that has come to an entry has made all purges before it; one that finds that entry no more,
 * or not the one after it, does not know what it has missed, and purges everything.
 */
interface Position {
  readonly epoch: string;
  readonly number: number;
}

/** Of a log without entries. */
const BEGINNING: Position = { epoch: "0", number: 0 };

/** Adds entries behind the last one. */
const APPEND = new Script(`local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local epoch, number = ARGV[1], 0
if last[1] then epoch, number = string.match(last[1][1], '(%d+)-(%d+)') end
for i = 3, #ARGV do
  number = number + 1
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], epoch .. '-' .. string.format('%.0f', number), 'p', ARGV[i])
end
return 1`);

/** Entries that the log keeps. */
const KEPT = 10_000;
/** Entries that are appended or read at a time. */
const AT_ONCE = 100;
/** It is looked at the log so often though nobody says that it has grown. */
const LOOK_TICKS = 10_000 / SYNC_TICK_MS;
/** What could not be done is tried again after so long. */
const AGAIN_TICKS = 1000 / SYNC_TICK_MS;
/** What is wrong is said so often, ms. */
const TROUBLE_MS = 60_000;
/** Where the node keeps the entry that it has come to, in the cache's directory. */
const FILE = `${PURGES}.in`;
/** Says that the log has grown. */
const GROWN = Buffer.of(1);

/** A cache whose purges are made on all nodes. */
class SharedPurges implements SyncedPart {
  readonly #cache: Cache;
  readonly #port: SyncPort;
  readonly #key: string;
  readonly #path: string;
  #position: Position | undefined;
  /** The version of the outbox that the others know. */
  #told = -1;
  #busy = false;
  #stopped = false;
  /** In how many ticks the log is looked at. */
  #left = 0;
  #troubleAt = Number.NEGATIVE_INFINITY;

  constructor(cache: Cache, port: SyncPort) {
    this.#cache = cache;
    this.#port = port;
    this.#key = `${port.prefix}log`;
    this.#path = `${cache.directory}/${FILE}`;
    cache.purges.load();
    this.#position = this.#read();
  }

  tick(): void {
    this.#left--;
    if (this.#busy || !this.#port.up) return;
    if (this.#cache.outbox?.version === this.#told && this.#left > 0) return;
    this.#busy = true;
    this.#left = LOOK_TICKS;
    this.#work()
      .catch((error: unknown) => {
        this.#left = AGAIN_TICKS;
        this.#say(`sharing purges of cache "${this.#cache.name}" failed: ${String(error)}`);
      })
      .finally(() => {
        this.#busy = false;
      });
  }

  receive({ payload }: Batch): boolean {
    this.#left = 0;
    return payload.equals(GROWN);
  }

  missed(): void {
    this.#left = 0;
  }

  stop(): void {
    this.#stopped = true;
  }

  async #work(): Promise<void> {
    await this.#tell();
    while (!this.#stopped && (await this.#follow()));
  }

  async #tell(): Promise<void> {
    const { outbox } = this.#cache;
    if (outbox === undefined || outbox.version === this.#told) return;
    const { version } = outbox;
    const lines = outbox.lines();
    for (let from = 0; from < lines.length; from += AT_ONCE) {
      const some = lines.slice(from, from + AT_ONCE);
      const entries = some.flatMap((line) => {
        const purge = readSharedPurge(line);
        const entry = purge && { node: this.#port.self, ...purge };
        return entry === undefined ? [] : [this.#port.seal(Buffer.from(JSON.stringify(entry)))];
      });
      if (this.#stopped) return;
      if (entries.length > 0) await this.#port.run(APPEND, this.#key, [String(Date.now()), String(KEPT), ...entries]);
      outbox.done(some);
    }
    this.#told = version;
    if (lines.length > 0) this.#port.publish(GROWN);
  }

  /** Makes purges of others. Returns whether there may be more. */
  async #follow(): Promise<boolean> {
    const [newest] = entriesIn(await this.#port.command(this.#key, ["XREVRANGE", this.#key, "+", "-", "COUNT", "1"]));
    const last = newest?.position ?? BEGINNING;
    const position = this.#position;
    if (this.#stopped) return false;
    if (position === undefined) {
      this.#come(last);
      return false;
    }
    const begins = position.epoch === BEGINNING.epoch;
    if (!begins && (last.epoch !== position.epoch || last.number < position.number)) {
      this.#lost("the log of purges has begun anew", last);
      return false;
    }
    if (last.epoch === position.epoch && last.number === position.number) return false;
    const after = `${position.epoch}-${position.number}`;
    const answer = await this.#port.command(this.#key, [
      "XREAD",
      "COUNT",
      String(AT_ONCE),
      "STREAMS",
      this.#key,
      after,
    ]);
    if (this.#stopped) return false;
    return this.#make(position, last, entriesIn(streamIn(answer)));
  }

  #make(from: Position, last: Position, entries: readonly Entry[]): boolean {
    let at = from;
    for (const { position, bytes } of entries) {
      const { epoch, number } = position;
      const isNext = number === at.number + 1 && (epoch === at.epoch || at.epoch === BEGINNING.epoch);
      if (!isNext) {
        this.#lost("the log of purges has not all that it missed any more", last);
        return false;
      }
      if (!this.#makeOne(bytes)) {
        // There is no room for a purge now.
        this.#left = AGAIN_TICKS;
        if (at !== from) this.#come(at);
        return false;
      }
      at = position;
    }
    if (at !== from) this.#come(at);
    return entries.length > 0;
  }

  /** Returns false where it cannot be made now. */
  #makeOne(bytes: Buffer): boolean {
    const opened = this.#port.open(bytes);
    const entry = opened && entryOf(opened);
    if (entry === undefined) {
      this.#say(`the log of purges of cache "${this.#cache.name}" has an entry that is not understood`);
      return true;
    }
    return entry.node === this.#port.self || purgeHere(this.#cache, entry) !== "full";
  }

  #lost(why: string, last: Position): void {
    const { name, purges } = this.#cache;
    this.#port.say("warn", `cache "${name}": ${why}, the whole cache is purged`);
    purges.many("prefix", "");
    this.#come(last);
  }

  #come(position: Position): void {
    this.#position = position;
    const beside = `${this.#path}.${process.pid}`;
    try {
      fs.writeFileSync(osPath(beside), JSON.stringify(position), { mode: 0o600 });
      fs.renameSync(osPath(beside), osPath(this.#path));
    } catch (error) {
      this.#say(`write() "${this.#path}" failed (${errorText(errorCode(error))})`);
      fs.rmSync(osPath(beside), { force: true });
    }
  }

  /** undefined: it has come to none yet. What is there and cannot be understood is one that there is not any more. */
  #read(): Position | undefined {
    const unknown: Position = { epoch: "unknown", number: 0 };
    try {
      const value: unknown = JSON.parse(fs.readFileSync(osPath(this.#path), "utf8"));
      if (typeof value !== "object" || value === null) return unknown;
      const { epoch, number }: Partial<Record<keyof Position, unknown>> = value;
      return typeof epoch === "string" && typeof number === "number" ? { epoch, number } : unknown;
    } catch (error) {
      const code = errorCode(error);
      return code === "ENOENT" || code === "ENOTDIR" ? undefined : unknown;
    }
  }

  #say(sentence: string): void {
    const now = performance.now();
    if (now - this.#troubleAt < TROUBLE_MS) return;
    this.#troubleAt = now;
    this.#port.say("error", sentence);
  }
}

// ---- what the store answers

interface Entry {
  readonly position: Position;
  readonly bytes: Buffer;
}

const NO_BYTES = Buffer.alloc(0);

/** The entries of the one stream that was asked for. */
function streamIn(answer: unknown): unknown {
  const stream: unknown = Array.isArray(answer) ? answer[0] : undefined;
  return Array.isArray(stream) ? stream[1] : undefined;
}

/** Of a list of entries, each an id and names and values. One whose id is none of ours ends the list. */
function entriesIn(answer: unknown): readonly Entry[] {
  const entries: Entry[] = [];
  for (const one of Array.isArray(answer) ? answer : []) {
    const [id, fields]: readonly unknown[] = Array.isArray(one) ? one : [];
    const [, epoch, number] = /^(\d+)-(\d+)$/.exec(String(id)) ?? [];
    if (epoch === undefined) break;
    const bytes: unknown = Array.isArray(fields) ? fields[1] : undefined;
    entries.push({
      position: { epoch, number: Number(number) },
      bytes: bytes instanceof Buffer ? bytes : NO_BYTES,
    });
  }
  return entries;
}

function entryOf(bytes: Buffer): (SharedPurge & { readonly node: string }) | undefined {
  const purge = readSharedPurge(bytes.toString());
  if (purge === undefined) return undefined;
  const value: { readonly node?: unknown } = JSON.parse(bytes.toString());
  return typeof value.node === "string" ? { ...purge, node: value.node } : undefined;
}

/** The purges of a cache as the group shares them. `at`: where that is said. */
export function sharedPurges(cache: Cache, at: Synced["at"]): Synced {
  return {
    topic: `cache ${cache.name}`,
    at,
    share: () => cache.share(),
    join: (port) => new SharedPurges(cache, port),
  };
}
