import { wallNow } from "../../sys/clock.ts";
import { contain, defer } from "../../sys/guard.ts";
import { randomBytes } from "../../sys/random.ts";
import { type Applied, applyChange, type Change, MOVED, type Outcome, type SessionLimits } from "./change.ts";
import type { Environment } from "./environment.ts";
import type { Records } from "./records.ts";
import { SessionRecords } from "./session_records.ts";
import type { SessionChanger, SessionReader, SessionStore } from "./store.ts";
import type { StoredSession } from "./stored_session.ts";

interface Waiting {
  readonly id: Buffer;
  readonly change: Change;
  readonly changer: SessionChanger;
  outcome: Outcome;
}

const UNAVAILABLE: Outcome = { done: false, refusal: "unavailable", session: undefined };
const KEYS = Buffer.from("keys");
const KEY_BYTES = 32;

export interface EmbeddedOptions {
  /** Changes are confirmed when the disk has them. */
  readonly sync: boolean;
  /** Logs what the store could not do. */
  readonly trouble: (doing: string, error: unknown) => void;
}

/**
 * Sessions in LMDB. Reads come out of its map; all changes of a turn of the event loop are one transaction, whose pages go to the
 * kernel and not to the disk, so that they outlive the process. With `sync` a thread of LMDB's commits, and waits for the disk.
 */
export class EmbeddedStore implements SessionStore {
  readonly #environment: Environment;
  readonly #records: Records;
  readonly #sessions: SessionRecords;
  readonly #limits: SessionLimits;
  readonly #options: EmbeddedOptions;
  #waiting: Waiting[] = [];

  constructor(environment: Environment, records: Records, limits: SessionLimits, options: EmbeddedOptions) {
    this.#environment = environment;
    this.#records = records;
    this.#sessions = new SessionRecords(records);
    this.#limits = limits;
    this.#options = options;
  }

  /** Keys that sign cookies, where no file has them. */
  keys(): readonly Buffer[] {
    const { notes } = this.#environment;
    return this.#environment.write(() => {
      const known = notes.getBinary(KEYS);
      if (known !== undefined) return [known];
      const key = randomBytes(KEY_BYTES);
      notes.putSync(KEYS, key);
      return [key];
    });
  }

  read(id: Buffer, reader: SessionReader): void {
    let found: StoredSession | undefined;
    let unknown = false;
    try {
      found = living(this.#sessions.read(id), wallNow());
    } catch (error) {
      unknown = true;
      this.#options.trouble("reading a session failed", error);
    }
    reader.onSession(found, unknown);
  }

  change(id: Buffer, change: Change, changer: SessionChanger): void {
    this.#waiting.push({ id, change, changer, outcome: UNAVAILABLE });
    if (this.#waiting.length === 1) defer(commit, this);
  }

  /** @internal Writes what has come in this turn. */
  commit(): void {
    const all = this.#waiting;
    this.#waiting = [];
    const work = (): void => {
      const now = Date.now();
      for (const one of all) one.outcome = this.#apply(one.id, one.change, now);
    };
    this.#records.commit(
      this.#options.sync,
      work,
      () => deliver(all),
      (error) => this.#fail(all, error),
    );
  }

  #fail(all: readonly Waiting[], error: unknown): void {
    for (const one of all) one.outcome = UNAVAILABLE;
    this.#options.trouble("writing sessions failed", error);
    deliver(all);
  }

  #apply(id: Buffer, change: Change, now: number): Outcome {
    const stored = this.#sessions.current(id);
    const moved = stored?.movedTo;
    if (moved !== undefined && stored !== undefined && stored.expires > now && change.kind !== "touch") {
      if (change.kind === "renew") return MOVED;
      return this.#apply(moved, change, now);
    }
    const current = stored === undefined || stored.expires <= now || moved !== undefined ? undefined : stored;
    const applied = applyChange(current, change, this.#limits, now, stored?.version);
    this.#write(id, stored, applied);
    return applied.outcome;
  }

  #write(id: Buffer, stored: StoredSession | undefined, { own, renewed }: Applied): void {
    if (own === "remove") {
      if (stored !== undefined) this.#sessions.remove(id, stored);
    } else if (own !== "keep") {
      this.#sessions.put(id, own, stored);
    }
    if (renewed !== undefined) this.#sessions.put(renewed.id, renewed.session, undefined);
  }
}

function living(session: StoredSession | undefined, now: number): StoredSession | undefined {
  return session === undefined || session.expires <= now || session.movedTo !== undefined ? undefined : session;
}

function commit(store: EmbeddedStore): void {
  store.commit();
}

function deliver(all: readonly Waiting[]): void {
  for (const { changer, outcome } of all) {
    try {
      changer.onOutcome(outcome);
    } catch (error) {
      contain(changer, error);
    }
  }
}
