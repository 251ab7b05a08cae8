import { crypto } from "../../sys/builtin.ts";
import { defer } from "../../sys/guard.ts";
import type { Flush } from "../../wire/memcached_server/command.ts";
import type { Outcome } from "../zone/change.ts";
import type { SessionZone } from "../zone/session_zone.ts";
import type { SessionChanger, SessionReader } from "../zone/store.ts";
import type { StoredSession } from "../zone/stored_session.ts";
import { CasUniques } from "./cas_uniques.ts";
import { type Item, isLiving, itemBytes, readItem } from "./item.ts";
import { type Answer, applyCommand, type ItemCommand, type Result } from "./item_change.ts";
import { type ItemChanger, type ItemStore, NOT_WRITTEN, UNAVAILABLE } from "./items.ts";

/** As a memcached says that was started with -F: it would be a question more to the store with each command. */
const NO_FLUSH: Answer = { text: "CLIENT_ERROR flush_all not allowed", data: undefined };
const OUT_OF_REACH: Answer = { text: UNAVAILABLE, data: undefined };
/** How often a command is tried that always finds another item. */
const MOST_ATTEMPTS = 64;
/** What has no end lasts for so long after its last change: the store of a group is told when everything ends, ms. */
const LONGEST = 30 * 24 * 3600 * 1000;
/** The member that has an item, in Base64. */
const MEMBER = "item";

/**
 * The items of a group's zone, in one worker. Each is kept as sessions are, under a digest of its key, by the store of the group: so versions,
 * the node's copy, and what waits while the store is away are the same. A command is made of what there is, and made anew where
 * another node was quicker.
 */
export class GroupItems implements ItemStore {
  readonly #zone: SessionZone;
  readonly #uniques: CasUniques;
  /** What follows the command at work, by who has sent it. */
  readonly #lines = new Map<ItemChanger, (ItemCommand | Flush)[]>();

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

  read(): "later" {
    return "later";
  }

  change(command: ItemCommand | Flush, changer: ItemChanger): void {
    const line = this.#lines.get(changer);
    if (line !== undefined) {
      line.push(command);
      return;
    }
    this.#lines.set(changer, []);
    this.#begin(command, changer);
  }

  #begin(command: ItemCommand | Flush, changer: ItemChanger): void {
    defer(begin, new Work(this, this.#zone, command, changer));
  }

  /** @internal A cas unique of this worker's. */
  unique(now: number, before: Item | undefined): number {
    return this.#uniques.next(now, before);
  }

  /** @internal */
  answered(changer: ItemChanger, answer: Answer, result: Result | "failed"): void {
    const next = this.#lines.get(changer)?.shift();
    if (next === undefined) this.#lines.delete(changer);
    else this.#begin(next, changer);
    changer.onChanged(answer, result);
  }
}

function begin(work: Work): void {
  work.begin();
}

/** One command. */
class Work implements SessionReader, SessionChanger {
  readonly #items: GroupItems;
  readonly #zone: SessionZone;
  readonly #command: ItemCommand | Flush;
  readonly #changer: ItemChanger;
  readonly #id: Buffer;
  #attempts = 0;
  #answer: Answer = NOT_WRITTEN;
  #result: Result = "miss";

  constructor(items: GroupItems, zone: SessionZone, command: ItemCommand | Flush, changer: ItemChanger) {
    this.#items = items;
    this.#zone = zone;
    this.#command = command;
    this.#changer = changer;
    // What was refused without harm to an item has nothing to change.
    const key = command.kind === "flush" ? "" : (command.key ?? "");
    this.#id = crypto().createHash("sha256").update(`item\0${key}`, "latin1").digest();
  }

  begin(): void {
    if (this.#command.kind === "flush") this.#end(this.#command.quiet ? { ...NO_FLUSH, text: "" } : NO_FLUSH, "miss");
    else this.#zone.store.read(this.#id, this);
  }

  onSession(session: StoredSession | undefined, unknown: boolean): void {
    if (!unknown) this.#apply(session);
    else if (storesNew(this.#command)) this.#apply(undefined);
    else this.#end(OUT_OF_REACH, "failed");
  }

  #apply(session: StoredSession | undefined): void {
    const command = this.#command;
    if (command.kind === "flush") return;
    const now = Date.now();
    const { store } = this.#zone;
    const stored = session && itemIn(session);
    const current = stored !== undefined && isLiving(stored, now) ? stored : undefined;
    const cas = this.#items.unique(now, stored);
    const { answer, own, result } = applyCommand(command, current, { now, cas, mostData: this.#items.mostData });
    if (own === "keep" || (own === "remove" && session === undefined)) {
      this.#end(answer, result);
      return;
    }
    this.#answer = answer;
    this.#result = result;
    if (own === "remove") {
      store.change(this.#id, { kind: "delete", base: session?.version }, this);
      return;
    }
    const base = session?.version ?? 0;
    const data = { [MEMBER]: itemBytes(own, 0).toString("base64") };
    const ends = own.expires === 0 ? now + LONGEST : own.expires;
    store.change(this.#id, { kind: "replace", data, base, item: { ends } }, this);
  }

  onOutcome(outcome: Outcome): void {
    if (outcome.done) this.#end(this.#answer, this.#result);
    else if (outcome.refusal === "conflict" || outcome.refusal === "missing") this.#again(outcome.session);
    else this.#end(NOT_WRITTEN, "failed");
  }

  /** Another one was quicker. */
  #again(session: StoredSession | undefined): void {
    if (++this.#attempts < MOST_ATTEMPTS) this.#apply(session);
    else this.#end(NOT_WRITTEN, "failed");
  }

  #end(answer: Answer, result: Result | "failed"): void {
    this.#items.answered(this.#changer, answer, result);
  }
}

/** Where nobody knows whether there is an item: visitors who are new, and locks, are not to wait for the store. */
function storesNew(command: ItemCommand | Flush): boolean {
  return command.kind === "store" && (command.mode === "set" || command.mode === "add");
}

function itemIn(session: StoredSession): Item | undefined {
  const text = session.members[MEMBER];
  return typeof text === "string" ? readItem(Buffer.from(text, "base64")) : undefined;
}
