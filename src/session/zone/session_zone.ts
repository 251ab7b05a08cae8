import type { RedisSetting } from "../../redis/definition.ts";
import type { CheckerService } from "../../runtime/application.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import { openMainLog } from "../../runtime/log/directive.ts";
import { clockNow } from "../../sys/clock.ts";
import { readItem, recordEnd } from "../memcached/item.ts";
import type { SessionLimits } from "./change.ts";
import { ClosedStore } from "./closed_store.ts";
import { CountedStore } from "./counted_store.ts";
import { EmbeddedStore } from "./embedded_store.ts";
import { openEnvironment } from "./environment.ts";
import { type Kind, Records, type RecordsOwner } from "./records.ts";
import { Signer } from "./session_id.ts";
import type { Group, LocalZone, SessionStore, WaitingSessions } from "./store.ts";
import { readSession } from "./stored_session.ts";
import { countersZone, ZoneCounters } from "./zone_counters.ts";

/** When a response that confirms a change is sent. */
export type Durability =
  /** When it is in memory that outlives all processes, but not the system. */
  | "memory"
  /** When the kernel has it for the disk: it outlives the processes, but a power failure may take the last seconds. */
  | "async"
  /** When the disk has it. */
  | "sync";

/** `session_zone` */
export interface ZoneSettings extends SessionLimits {
  readonly name: string;
  /** Bytes that sessions may take. */
  readonly size: number;
  /** Its directory, as written. */
  readonly path: string;
  /** The file of the keys that sign cookies; undefined: one made by the store. */
  readonly keys: string | undefined;
  /** undefined: it is this machine's alone. */
  readonly group: GroupSettings | undefined;
}

/** `store=` and what belongs to it, as written. */
export interface GroupSettings extends RedisSetting {
  /** Bytes. */
  readonly queue: number | undefined;
}

/** A trouble is logged once in so long by each process, and a store that could not be opened is tried again so often, ms. */
const TROUBLE_MS = 60_000;
const RETRY_MS = 1000;
/** It is looked so often for keys that other nodes of a group have brought. */
const KEYS_MS = 1000;

/** What of a zone is open. */
interface Opened {
  readonly records: Records;
  readonly store: SessionStore;
  readonly local: LocalZone;
}

/** A zone of sessions as a process has it in one cycle. */
export class SessionZone implements RecordsOwner {
  readonly settings: ZoneSettings;
  readonly durability: Durability;
  readonly directory: string;
  /** Backends also make sessions in other ways than by their responses, under ids that they got with a request. */
  backendsWrite = false;
  readonly #cycle: Cycle;
  readonly #fileKeys: readonly Buffer[];
  readonly group: Group | undefined;
  readonly counters: ZoneCounters;
  readonly #closed: SessionStore;
  #opened: Opened | undefined;
  #signer: Signer | undefined;
  /** Of the group, as they were known at `#keysAt`. */
  #keys: readonly Buffer[] = [];
  #keysAt = Number.NEGATIVE_INFINITY;
  #triedAt = Number.NEGATIVE_INFINITY;
  #troubleAt = Number.NEGATIVE_INFINITY;
  #fullAt = Number.NEGATIVE_INFINITY;

  /** `keys`: of its file; empty where it has none. `group`: where a group shares it. */
  constructor(
    settings: ZoneSettings,
    durability: Durability,
    cycle: Cycle,
    keys: readonly Buffer[],
    group: Group | undefined,
  ) {
    this.settings = settings;
    this.durability = durability;
    this.#cycle = cycle;
    const path = cycle.path(settings.path);
    this.directory = durability === "memory" ? inMemory(path) : path;
    this.#fileKeys = keys;
    this.group = group;
    this.counters = new ZoneCounters(cycle.zone(countersZone(settings.name)));
    this.#closed = new CountedStore(new ClosedStore(), this.counters);
  }

  /** Opens it in a process that uses it. What fails is logged, and tried again when it is used. */
  open(): void {
    if (this.#opened !== undefined || clockNow() - this.#triedAt < RETRY_MS) return;
    this.#triedAt = clockNow();
    const { size, name } = this.settings;
    const { directory, durability } = this;
    try {
      const environment = openEnvironment(directory, size, durability === "sync");
      const records = new Records(environment, size, this);
      const trouble = (doing: string, error: unknown) => this.trouble(doing, error);
      const sync = durability === "sync";
      const embedded = new EmbeddedStore(environment, records, this.settings, { sync, trouble });
      this.#signer = new Signer(name, this.#fileKeys.length > 0 ? this.#fileKeys : embedded.keys());
      const local: LocalZone = {
        name,
        limits: this.settings,
        environment,
        records,
        sync,
        log: openMainLog(this.#cycle),
        counters: this.counters,
        trouble,
      };
      const store = this.group?.open(local) ?? embedded;
      this.#opened = { records, local, store: new CountedStore(store, this.counters) };
    } catch (error) {
      this.trouble(`opening "${directory}" failed`, error);
    }
  }

  /** undefined while it cannot be opened. */
  get records(): Records | undefined {
    if (this.#opened === undefined) this.open();
    return this.#opened?.records;
  }

  /** What its group is still to be told; undefined where there is none, or while it cannot be opened. */
  get waiting(): WaitingSessions | undefined {
    if (this.#opened === undefined) this.open();
    return this.#opened && this.group?.waiting(this.#opened.local);
  }

  get store(): SessionStore {
    if (this.#opened === undefined) this.open();
    return this.#opened?.store ?? this.#closed;
  }

  /** undefined while nobody knows the keys. */
  get signer(): Signer | undefined {
    if (this.#opened === undefined) this.open();
    if (this.group !== undefined && this.#fileKeys.length === 0) this.#refreshKeys(this.group);
    return this.#signer;
  }

  #refreshKeys(group: Group): void {
    const at = clockNow();
    if (this.#opened === undefined || at - this.#keysAt < KEYS_MS) return;
    this.#keysAt = at;
    const keys = group.keys(this.#opened.local);
    if (keys === undefined || Buffer.concat([...keys]).equals(Buffer.concat([...this.#keys]))) return;
    this.#keys = keys;
    this.#signer = new Signer(this.settings.name, keys);
  }

  /** In the checker: what has the store of its group told of changes. undefined where there is none, or it cannot be opened yet. */
  keepGroup(): CheckerService | undefined {
    if (this.group === undefined) return undefined;
    if (this.#opened === undefined) this.open();
    return this.#opened && this.group.keep(this.#opened.local);
  }

  /** Logs what could not be done, once in a while however many requests it happens to. */
  trouble(doing: string, error: unknown): void {
    const at = clockNow();
    if (at - this.#troubleAt < TROUBLE_MS) return;
    this.#troubleAt = at;
    this.#log("crit", `${doing}: ${error instanceof Error ? error.message : String(error)}`);
  }

  endOf(kind: Kind, bytes: Buffer): number | undefined {
    // In the zone of a group items are sessions too.
    if (kind === "session" || this.group !== undefined) return readSession(bytes)?.expires;
    const item = readItem(bytes);
    return item && recordEnd(item);
  }

  /** Sessions gave way to others. */
  onEvicted(count: number): void {
    this.counters.add("evictions", count);
    const at = clockNow();
    if (at - this.#fullAt < TROUBLE_MS) return;
    this.#fullAt = at;
    this.#log("warn", "is full: those that would end first give way to new ones");
  }

  #log(level: "crit" | "warn", sentence: string): void {
    openMainLog(this.#cycle).write(level, `session zone "${this.settings.name}": ${sentence}`);
  }

  /** The time of sessions was over. */
  noteEnded(count: number): void {
    this.counters.add("ended", count);
  }
}

/** The directory in memory that stands for a path. */
function inMemory(path: string): string {
  return `/dev/shm/holdfast${path.replace(/[^\w.-]+/g, "-")}`;
}
