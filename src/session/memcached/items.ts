import { contain, defer } from "../../sys/guard.ts";
import type { Flush } from "../../wire/memcached_server/command.ts";
import type { Records } from "../zone/records.ts";
import type { SessionZone } from "../zone/session_zone.ts";
import { CasUniques } from "./cas_uniques.ts";
import { endOf, generationOf, type Item, isLiving, itemBytes, readItem, recordEnd } from "./item.ts";
import { type Answer, applyCommand, type ItemCommand, type Result } from "./item_change.ts";

/** Who changed an item. */
export interface ItemChanger {
  /** It is stored, as safely as `session_durability` says; or it could not be ("failed"). */
  onChanged(answer: Answer, result: Result | "failed"): void;
}

/** Where a listener's items are. Changes of one changer are made, and answered, in their order. */
export interface ItemStore {
  /** How long a value may be. */
  readonly mostData: number;
  /** Bytes that the zone may take. */
  readonly size: number;
  /** What it takes; undefined while it is not open. */
  usage(): { readonly bytes: number; readonly items: number } | undefined;
  /** An item as it is now; "unavailable" where nobody can tell, "later" where it has to be asked for as changes are. */
  read(key: string, now: number): Item | "unavailable" | "later" | undefined;
  change(command: ItemCommand | Flush, changer: ItemChanger): void;
}

interface Waiting {
  readonly command: ItemCommand | Flush;
  readonly changer: ItemChanger;
  answer: Answer;
  result: Result | "failed";
}

export const UNAVAILABLE = "SERVER_ERROR the session zone is not available";
export const NOT_WRITTEN: Answer = { text: "SERVER_ERROR out of memory storing object", data: undefined };

/** Longer than a client's key can be. What is there: how often all items were flushed, and when they will be again (0: never). */
const FLUSHES = Buffer.alloc(251);
const FLUSH_BYTES = 10;
const LAST_END = 2 ** 48 - 1;

/** The items of a zone of this machine, in one worker. Reads come out of its map; all changes of a turn are one transaction. */
export class Items implements ItemStore {
  readonly #zone: SessionZone;
  readonly #uniques: CasUniques;
  #waiting: Waiting[] = [];

  /** `slot`: the worker's. */
  constructor(zone: SessionZone, slot: number) {
    this.#zone = zone;
    this.#uniques = new CasUniques(slot);
  }

  get mostData(): number {
    return this.#zone.settings.maxSize;
  }

  get size(): number {
    return this.#zone.settings.size;
  }

  usage(): { readonly bytes: number; readonly items: number } | undefined {
    return this.#zone.records?.usage();
  }

  read(key: string, now: number): Item | "unavailable" | undefined {
    try {
      const { records } = this.#zone;
      if (records === undefined) return "unavailable";
      records.refresh();
      return found(records, Buffer.from(key, "latin1"), now).current;
    } catch (error) {
      this.#zone.trouble("reading an item failed", error);
      return "unavailable";
    }
  }

  change(command: ItemCommand | Flush, changer: ItemChanger): void {
    if (this.#waiting.length === 0) defer(commit, this);
    this.#waiting.push({ command, changer, answer: NOT_WRITTEN, result: "miss" });
  }

  /** @internal Writes what has come in a turn. */
  commit(): void {
    const all = this.#waiting;
    this.#waiting = [];
    const { records, durability } = this.#zone;
    if (records === undefined) {
      refuse(all, { text: UNAVAILABLE, data: undefined });
      return;
    }
    const work = (): void => this.#apply(records, all);
    records.commit(
      durability === "sync",
      work,
      () => deliver(all),
      (error) => this.#fail(all, error),
    );
  }

  #fail(all: readonly Waiting[], error: unknown): void {
    this.#zone.trouble("writing items failed", error);
    refuse(all, NOT_WRITTEN);
  }

  #apply(records: Records, all: readonly Waiting[]): void {
    const now = Date.now();
    for (const one of all) {
      if (one.command.kind === "flush") one.answer = flush(records, one.command, now);
      else this.#applyOne(records, one, one.command, now);
    }
  }

  #applyOne(records: Records, one: Waiting, command: ItemCommand, now: number): void {
    // What was refused without harm to an item has nothing to change.
    const key = Buffer.from(command.key ?? "", "latin1");
    const { stored, current, generation } = found(records, key, now);
    const { mostData } = this;
    const { answer, own, result } = applyCommand(command, current, {
      now,
      cas: this.#uniques.next(now, stored),
      mostData,
    });
    one.answer = answer;
    one.result = result;
    if (own === "keep") return;
    const before = stored === undefined ? undefined : recordEnd(stored);
    if (own !== "remove") records.put("item", key, itemBytes(own, generation), recordEnd(own), before);
    else if (before !== undefined) records.remove("item", key, before);
  }
}

interface Found {
  /** What is stored under the key, even where its time is over. */
  readonly stored: Item | undefined;
  readonly current: Item | undefined;
  readonly generation: number;
}

function found(records: Records, key: Buffer, now: number): Found {
  const { generation } = flushesOf(records, now);
  const bytes = records.get("item", key);
  const stored = readItem(bytes);
  if (stored === undefined || bytes === undefined) return { stored, current: undefined, generation };
  const isThere = generationOf(bytes) === generation && isLiving(stored, now);
  return { stored, current: isThere ? stored : undefined, generation };
}

interface Flushes {
  readonly generation: number;
  /** When all are flushed next, wall-clock ms; 0: never. */
  readonly due: number;
}

function flushesOf(records: Records, now: number): Flushes {
  const bytes = records.get("item", FLUSHES);
  if (bytes === undefined || bytes.length !== FLUSH_BYTES) return { generation: 0, due: 0 };
  const generation = bytes.readUInt32LE(0);
  const due = bytes.readUIntLE(4, 6);
  return due > 0 && due <= now ? { generation: (generation + 1) >>> 0, due: 0 } : { generation, due };
}

/** What is flushed stays stored until its time is over, or room is needed; but nobody sees it. */
function flush(records: Records, { exptime, quiet }: Flush, now: number): Answer {
  const { generation } = flushesOf(records, now);
  const bytes = Buffer.alloc(FLUSH_BYTES);
  bytes.writeUInt32LE((generation + (exptime > 0 ? 0 : 1)) >>> 0, 0);
  bytes.writeUIntLE(exptime > 0 ? endOf(exptime, now) : 0, 4, 6);
  records.put("item", FLUSHES, bytes, LAST_END, undefined);
  return { text: quiet ? "" : "OK", data: undefined };
}

function refuse(all: readonly Waiting[], answer: Answer): void {
  for (const one of all) {
    one.answer = answer;
    one.result = "failed";
  }
  deliver(all);
}

function deliver(all: readonly Waiting[]): void {
  for (const { changer, answer, result } of all) {
    try {
      changer.onChanged(answer, result);
    } catch (error) {
      contain(changer, error);
    }
  }
}

function commit(items: Items): void {
  items.commit();
}
