import { contain, defer } from "../../sys/guard.ts";
import { applyChange, type Change, MOVED, type Outcome } from "../zone/change.ts";
import type { Kind } from "../zone/records.ts";
import { isSessionId } from "../zone/session_id.ts";
import type { LocalZone } from "../zone/store.ts";
import { readSession, type StoredSession } from "../zone/stored_session.ts";
import { Queue, type Unsent } from "./queue.ts";
import { isMark, rebase } from "./reconcile.ts";
import { deletedMark, isLiving } from "./remote.ts";

/** What is written in a transaction, with others of the same turn. */
export interface LocalWrite {
  /** Within the transaction. */
  work(now: number): void;
  /** It is written. */
  onWritten(): void;
  /** Nothing of it is. */
  onFailed(): void;
}

/** What a node has of a session. */
export interface LocalSession {
  /** The copy of what the store of the group had when it was asked last. */
  readonly copy: StoredSession | undefined;
  /** What the store is still to be told. */
  readonly unsent: Unsent | undefined;
}

/** The sessions of a group's zone on this machine, which all its processes share: the copy, and the queue for the store. */
export class LocalCopy {
  readonly queue: Queue;
  readonly #local: LocalZone;
  #writes: LocalWrite[] = [];

  constructor(local: LocalZone, queueSize: number) {
    this.#local = local;
    this.queue = new Queue(local.environment, queueSize);
  }

  /** What all processes have written by now; undefined where that cannot be read (which is logged). */
  read(id: Buffer): LocalSession | undefined {
    const { records } = this.#local;
    try {
      records.refresh();
      return this.#current(id);
    } catch (error) {
      this.#local.trouble("reading a session failed", error);
      return undefined;
    }
  }

  /** Within a transaction, or after `read`. */
  #current(id: Buffer): LocalSession {
    return { copy: readSession(this.#local.records.get(kindOf(id), id)), unsent: this.queue.get(id) };
  }

  /** Within a transaction: takes what the store has, unless something newer is there. */
  mirror(id: Buffer, session: StoredSession, now: number): void {
    const { records } = this.#local;
    const copy = readSession(records.get(kindOf(id), id));
    if (copy !== undefined && copy.version > session.version) return;
    if (copy?.version === session.version && copy.expires >= session.expires) return;
    if (session.expires > now) records.put(kindOf(id), id, session.bytes, session.expires, copy?.expires);
    else if (copy !== undefined) records.remove(kindOf(id), id, copy.expires);
  }

  /** Within a transaction: applies a change that the store is to be told later. */
  apply(id: Buffer, change: Change, now: number): Outcome {
    const { copy, unsent } = this.#current(id);
    const known = unsent?.current ?? copy;
    const moved = known?.movedTo;
    if (moved !== undefined && known !== undefined && known.expires > now && change.kind !== "touch") {
      if (change.kind === "renew") return MOVED;
      return this.apply(moved, change, now);
    }
    const current = isLiving(known, now) ? known : undefined;
    const { outcome, own, renewed } = applyChange(current, change, this.#local.limits, now, known?.version);
    if (own === "keep") return outcome;
    if (change.kind === "touch" && unsent === undefined) {
      if (own !== "remove" && copy !== undefined) {
        this.#local.records.put(kindOf(id), id, own.bytes, own.expires, copy.expires);
      }
      return outcome;
    }
    if (unsent === undefined && this.queue.full) return { done: false, refusal: "full", session: current };
    const base = unsent === undefined ? current : unsent.base;
    const session = own === "remove" ? deletedMark(Math.max(now, (known?.version ?? 0) + 1)) : own;
    if (own !== "remove" || known !== undefined) {
      this.queue.put(id, { base, from: unsent?.from, tried: unsent?.tried ?? 0, current: session });
    }
    if (renewed !== undefined) {
      const from = current === undefined ? undefined : (unsent?.from ?? id);
      this.queue.put(renewed.id, { base, from, tried: 0, current: renewed.session });
    }
    return outcome;
  }

  /** Within a transaction: takes what the store was asked to take when it did not answer. False where something else was done since. */
  adopt(id: Buffer, tried: StoredSession, now: number): boolean {
    const { copy, unsent } = this.#current(id);
    if (unsent !== undefined || (copy?.version ?? 0) >= tried.version || this.queue.full) return false;
    const base = isLiving(copy, now) ? copy : undefined;
    this.queue.put(id, { base, from: undefined, tried: tried.version, current: tried });
    return true;
  }

  /**
   * Within a transaction: the store has `sent`, or what came of it there (`result`). What was done to the session meanwhile stays to be
   * told.
   */
  settle(id: Buffer, sent: StoredSession, result: StoredSession, now: number): void {
    const unsent = this.queue.get(id);
    if (unsent === undefined) return;
    if (unsent.current.bytes.equals(sent.bytes)) {
      this.queue.remove(id);
      this.mirror(id, result, now);
    } else {
      const current = rebase(sent, unsent.current, result, this.#local.limits, now);
      this.queue.put(id, { base: isLiving(result, now) ? result : undefined, from: undefined, tried: 0, current });
    }
  }

  /** Gives up what is still to be told of sessions whose time is over. */
  dropEnded(ids: readonly Buffer[], now: number): void {
    const hasEnded = (id: Buffer): boolean => {
      const unsent = this.queue.get(id);
      return unsent !== undefined && !isMark(unsent.current) && unsent.current.expires <= now;
    };
    if (!ids.some(hasEnded)) return;
    this.#local.records.write(() => {
      for (const id of ids) if (hasEnded(id)) this.#dropEnded(id, now);
    });
  }

  /** An item may end before the one that it has replaced: the store is still to be told that it is over. */
  #dropEnded(id: Buffer, now: number): void {
    const unsent = this.queue.get(id);
    if (unsent?.current.isItem === true && isLiving(unsent.base, now)) {
      this.queue.put(id, { ...unsent, current: deletedMark(unsent.current.version + 1) });
    } else this.queue.remove(id);
  }

  /** Has something written with all that comes in this turn. */
  write(one: LocalWrite): void {
    this.#writes.push(one);
    if (this.#writes.length === 1) defer(commit, this);
  }

  /** @internal Writes what has come in this turn. */
  commit(): void {
    const all = this.#writes;
    this.#writes = [];
    const { records, sync } = this.#local;
    const work = (): void => {
      const now = Date.now();
      for (const one of all) one.work(now);
    };
    records.commit(
      sync,
      work,
      () => tell(all, true),
      (error) => this.#fail(all, error),
    );
  }

  #fail(all: readonly LocalWrite[], error: unknown): void {
    this.#local.trouble("writing sessions failed", error);
    tell(all, false);
  }
}

function kindOf(id: Buffer): Kind {
  return isSessionId(id) ? "session" : "item";
}

function commit(copy: LocalCopy): void {
  copy.commit();
}

function tell(all: readonly LocalWrite[], written: boolean): void {
  for (const one of all) {
    try {
      if (written) one.onWritten();
      else one.onFailed();
    } catch (error) {
      contain(one, error);
    }
  }
}
