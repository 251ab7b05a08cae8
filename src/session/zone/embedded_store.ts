import { contain } from "../../sys/guard.ts";
import { randomBytes } from "../../sys/random.ts";
import { type Applied, applyChange, type Change, type Outcome, type SessionLimits } from "./change.ts";
import type { Environment } from "./environment.ts";
import type { SessionChanger, SessionReader, SessionStore } from "./store.ts";
import { readSession, type StoredSession } from "./stored_session.ts";

interface Waiting {
  readonly id: Buffer;
  readonly change: Change;
  readonly changer: SessionChanger;
  outcome: Outcome;
}

const UNAVAILABLE: Outcome = { done: false, refusal: "unavailable", session: undefined };
const KEYS = Buffer.from("keys");
const KEY_BYTES = 32;
const NOTHING = Buffer.alloc(0);
/** Bytes of an end's time. */
const TIME = 6;

/**
 * Sessions in LMDB. Reads come out of its map; all changes of a turn of the event loop are one transaction, whose pages go to the
 * kernel and not to the disk, so that they outlive the process.
 */
export class EmbeddedStore implements SessionStore {
  readonly #environment: Environment;
  readonly #limits: SessionLimits;
  /** Logs what the store could not do. */
  readonly #trouble: (sentence: string) => void;
  #waiting: Waiting[] = [];

  constructor(environment: Environment, limits: SessionLimits, trouble: (sentence: string) => void) {
    this.#environment = environment;
    this.#limits = limits;
    this.#trouble = trouble;
  }

  keys(): readonly Buffer[] {
    const { root, notes } = this.#environment;
    return root.transactionSync(() => {
      const known = notes.getBinary(KEYS);
      if (known !== undefined) return [known];
      const key = randomBytes(KEY_BYTES);
      notes.putSync(KEYS, key);
      return [key];
    });
  }

  read(id: Buffer, reader: SessionReader): void {
    const { sessions } = this.#environment;
    let found: StoredSession | undefined;
    let unknown = false;
    try {
      // Its snapshot is otherwise as old as the turn of libuv's loop, which may be many of ours.
      sessions.resetReadTxn();
      found = this.#living(sessions.getBinary(id), Date.now());
    } catch (error) {
      unknown = true;
      this.#trouble(`reading a session failed: ${messageOf(error)}`);
    }
    reader.onSession(found, unknown);
  }

  #living(bytes: Buffer | undefined, now: number): StoredSession | undefined {
    const session = readSession(bytes);
    return session === undefined || session.expires <= now || session.movedTo !== undefined ? undefined : session;
  }

  change(id: Buffer, change: Change, changer: SessionChanger): void {
    this.#waiting.push({ id, change, changer, outcome: UNAVAILABLE });
    this.commit();
  }

  /** @internal Writes what has come in this turn. */
  commit(): void {
    const all = this.#waiting;
    this.#waiting = [];
    try {
      this.#environment.root.transactionSync(() => {
        const now = Date.now();
        for (const one of all) one.outcome = this.#apply(one.id, one.change, now);
      });
    } catch (error) {
      for (const one of all) one.outcome = UNAVAILABLE;
      this.#trouble(`writing sessions failed: ${messageOf(error)}`);
    }
    for (const { changer, outcome } of all) {
      try {
        changer.onOutcome(outcome);
      } catch (error) {
        contain(changer, error);
      }
    }
  }

  #apply(id: Buffer, change: Change, now: number): Outcome {
    const { sessions } = this.#environment;
    const stored = readSession(sessions.getBinary(id));
    const moved = stored?.movedTo;
    if (moved !== undefined && stored !== undefined && stored.expires > now && change.kind !== "touch") {
      return this.#apply(moved, change, now);
    }
    const current = stored === undefined || stored.expires <= now || moved !== undefined ? undefined : stored;
    const applied = applyChange(current, change, this.#limits, now);
    this.#write(id, stored, applied);
    return applied.outcome;
  }

  #write(id: Buffer, stored: StoredSession | undefined, { own, renewed }: Applied): void {
    if (own !== "keep") {
      if (stored !== undefined) this.#environment.ends.removeSync(endKey(stored.expires, id));
      if (own === "remove") this.#environment.sessions.removeSync(id);
      else this.#put(id, own);
    }
    if (renewed !== undefined) this.#put(renewed.id, renewed.session);
  }

  #put(id: Buffer, session: StoredSession): void {
    this.#environment.sessions.putSync(id, session.bytes);
    this.#environment.ends.putSync(endKey(session.expires, id), NOTHING);
  }
}

function endKey(expires: number, id: Buffer): Buffer {
  const key = Buffer.alloc(TIME + id.length);
  key.writeUIntBE(expires, 0, TIME);
  id.copy(key, TIME);
  return key;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
