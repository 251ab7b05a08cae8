import { reasonOf } from "../../redis/link.ts";
import { contain } from "../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import { applyChange, type Change, MOVED, type Outcome } from "../zone/change.ts";
import type { LocalZone, SessionChanger, SessionReader, SessionStore } from "../zone/store.ts";
import type { StoredSession } from "../zone/stored_session.ts";
import type { LocalCopy, LocalWrite } from "./local_copy.ts";
import { deletedMark, isLiving, type Remote } from "./remote.ts";

const UNAVAILABLE: Outcome = { done: false, refusal: "unavailable", session: undefined };
/** How often a change is tried that always finds another one. */
const MOST_ATTEMPTS = 8;
/** Redis answers, but takes nothing now. */
const REFUSES_WRITES = /^(?:OOM|READONLY|MISCONF|NOREPLICAS|NOPERM)\b/;

/**
 * The sessions of a group's zone in a worker. Redis has them; while it does not answer, and for a session it is still to be told
 * of, the node's copy does.
 */
export class RedisStore implements SessionStore {
  readonly remote: Remote;
  readonly copy: LocalCopy;
  readonly local: LocalZone;
  /** ms */
  readonly timeout: number;

  constructor(local: LocalZone, copy: LocalCopy, remote: Remote, timeout: number) {
    this.local = local;
    this.copy = copy;
    this.remote = remote;
    this.timeout = timeout;
  }

  read(id: Buffer, reader: SessionReader): void {
    const known = this.copy.read(id);
    const now = Date.now();
    if (known?.unsent !== undefined) {
      const { current } = known.unsent;
      reader.onSession(isLiving(current, now) ? current : undefined, false);
    } else if (this.remote.link.usable) new Read(this, id, reader, known?.copy).begin();
    else answerFromCopy(reader, known?.copy);
  }

  change(id: Buffer, change: Change, changer: SessionChanger): void {
    const known = this.copy.read(id);
    if (known === undefined) changer.onOutcome(UNAVAILABLE);
    else if (known.unsent !== undefined || !this.remote.link.usable) this.keep(id, change, changer);
    else new SharedChange(this, id, change, changer).begin(known.copy);
  }

  /** Applies a change here; the store is told later. */
  keep(id: Buffer, change: Change, changer: SessionChanger): void {
    this.copy.write(new KeptChange(this.copy, id, change, changer, undefined));
  }

  /** Has the node's copy be what the store has. */
  mirror(id: Buffer, session: StoredSession): void {
    this.copy.write({ work: (now) => this.copy.mirror(id, session, now), onWritten() {}, onFailed() {} });
  }

  /** Redis did not do what it was asked. */
  onError(doing: string, error: unknown): void {
    const reason = reasonOf(error);
    if (REFUSES_WRITES.test(reason)) this.local.trouble(doing, error);
    else this.remote.link.fail(reason);
  }

  onLate(): void {
    this.remote.link.fail(`no answer within ${this.timeout} ms`);
  }
}

function answerFromCopy(reader: SessionReader, copy: StoredSession | undefined): void {
  // A mark or the end of its time is knowledge too.
  reader.onSession(isLiving(copy, Date.now()) ? copy : undefined, copy === undefined);
}

/** A question to Redis, and until when it is waited for. */
abstract class Asked {
  protected readonly store: RedisStore;
  protected readonly id: Buffer;
  readonly #deadline = new Deadline<Asked>(this, (asked) => asked.expire());
  #over = false;

  constructor(store: RedisStore, id: Buffer) {
    this.store = store;
    this.id = id;
  }

  /** Goes on without Redis. */
  protected abstract onWithout(): void;
  protected abstract readonly doing: string;

  protected startWaiting(): void {
    setDeadline(this.#deadline, this.store.timeout);
  }

  expire(): void {
    this.#over = true;
    this.store.onLate();
    this.onWithout();
  }

  /** Calls back with the answer, unless it comes too late. */
  protected await<T>(answer: Promise<T>, onAnswer: (value: T) => void): void {
    answer.then(
      (value) => {
        if (this.#over) return;
        try {
          onAnswer(value);
        } catch (error) {
          contain(this, error);
        }
      },
      (error: unknown) => {
        this.store.onError(this.doing, error);
        if (this.#over) return;
        this.stopWaiting();
        this.onWithout();
      },
    );
  }

  protected stopWaiting(): void {
    this.#over = true;
    clearDeadline(this.#deadline);
  }
}

class Read extends Asked {
  protected override readonly doing = "reading from the store failed";
  readonly #reader: SessionReader;
  readonly #copy: StoredSession | undefined;

  constructor(store: RedisStore, id: Buffer, reader: SessionReader, copy: StoredSession | undefined) {
    super(store, id);
    this.#reader = reader;
    this.#copy = copy;
  }

  begin(): void {
    this.startWaiting();
    this.await(this.store.remote.read(this.id), (there) => this.#onSession(there));
  }

  #onSession(there: StoredSession | undefined): void {
    this.stopWaiting();
    const { store, id } = this;
    const copy = this.#copy;
    const now = Date.now();
    if (copy !== undefined && isLost(there, copy, now)) {
      store.remote.swap(id, there, copy).catch((error: unknown) => store.onError("restoring a session failed", error));
      this.#reader.onSession(copy, false);
      return;
    }
    if (there !== undefined && (there.version !== copy?.version || there.expires > copy.expires)) {
      store.mirror(id, there);
    }
    this.#reader.onSession(isLiving(there, now) ? there : undefined, false);
  }

  protected override onWithout(): void {
    answerFromCopy(this.#reader, this.#copy);
  }
}

/** Whether Redis had what the copy has, and has it no more. */
function isLost(there: StoredSession | undefined, copy: StoredSession | undefined, now: number): boolean {
  return isLiving(copy, now) && (there?.version ?? 0) < copy.version;
}

/** A change of what Redis has: made from what is known here, and tried again with what there is where that is something else. */
class SharedChange extends Asked implements LocalWrite {
  protected override readonly doing = "writing to the store failed";
  readonly #change: Change;
  readonly #changer: SessionChanger;
  #copy: StoredSession | undefined;
  /** What Redis has under the new id of a renewed session. */
  #renewed: StoredSession | undefined;
  #attempts = 0;
  #outcome: Outcome = UNAVAILABLE;
  #tried: Tried | undefined;
  /** What the copy is to be once Redis has it: by id. */
  readonly #written: (readonly [id: Buffer, session: StoredSession])[] = [];

  constructor(store: RedisStore, id: Buffer, change: Change, changer: SessionChanger) {
    super(store, id);
    this.#change = change;
    this.#changer = changer;
  }

  begin(copy: StoredSession | undefined): void {
    this.#copy = copy;
    this.startWaiting();
    this.#attempt(copy, false);
  }

  /** `there`: what Redis has, or where that is not `certain` what it had. */
  #attempt(there: StoredSession | undefined, certain: boolean): void {
    const { store, id } = this;
    const change = this.#change;
    const now = Date.now();
    const newest = isLost(there, this.#copy, now) ? this.#copy : there;
    const moved = newest?.movedTo;
    if (moved !== undefined && newest !== undefined && newest.expires > now && change.kind !== "touch") {
      this.stopWaiting();
      if (change.kind === "renew") this.#changer.onOutcome(MOVED);
      else store.change(moved, change, this.#changer);
      return;
    }
    const current = isLiving(newest, now) ? newest : undefined;
    const { outcome, own, renewed } = applyChange(current, change, store.local.limits, now, newest?.version);
    if (!outcome.done && !certain) {
      this.await(store.remote.read(id), (found) => this.#attempt(found, true));
      return;
    }
    this.#outcome = outcome;
    if (own === "keep") {
      this.#finish();
      return;
    }
    const session = own === "remove" ? deletedMark(Math.max(now, (newest?.version ?? 0) + 1)) : own;
    const writeOwn = (): void => {
      if (own === "remove" && current === undefined) this.#finish();
      else {
        this.#tried = renewed === undefined ? { session, outcome } : undefined;
        this.await(store.remote.swap(id, there, session), (swapped) => {
          if (!swapped.done) {
            this.#lost(swapped.there);
            return;
          }
          this.#written.push([id, session]);
          this.#finish();
        });
      }
    };
    if (renewed === undefined) {
      writeOwn();
      return;
    }
    this.await(store.remote.swap(renewed.id, this.#renewed, renewed.session), (swapped) => {
      this.#renewed = swapped.done ? renewed.session : swapped.there;
      if (!swapped.done) {
        this.#lost(there);
        return;
      }
      this.#written.length = 0;
      this.#written.push([renewed.id, renewed.session]);
      writeOwn();
    });
  }

  /** Another change was quicker. */
  #lost(there: StoredSession | undefined): void {
    this.#tried = undefined;
    if (++this.#attempts < MOST_ATTEMPTS) {
      this.#attempt(there, true);
      return;
    }
    this.#outcome = UNAVAILABLE;
    this.#finish();
  }

  #finish(): void {
    this.stopWaiting();
    if (this.#written.length > 0) this.store.copy.write(this);
    else this.#changer.onOutcome(this.#outcome);
  }

  protected override onWithout(): void {
    const { store, id } = this;
    store.copy.write(new KeptChange(store.copy, id, this.#change, this.#changer, this.#tried));
  }

  work(now: number): void {
    for (const [id, session] of this.#written) this.store.copy.mirror(id, session, now);
  }

  onWritten(): void {
    this.#changer.onOutcome(this.#outcome);
  }

  onFailed(): void {
    // Redis has it.
    this.#changer.onOutcome(this.#outcome);
  }
}

/** What Redis was asked to take, and has not answered to. */
interface Tried {
  readonly session: StoredSession;
  readonly outcome: Outcome;
}

/** A change that Redis is told later. */
class KeptChange implements LocalWrite {
  readonly #copy: LocalCopy;
  readonly #id: Buffer;
  readonly #change: Change;
  readonly #changer: SessionChanger;
  readonly #tried: Tried | undefined;
  #outcome: Outcome = UNAVAILABLE;

  constructor(copy: LocalCopy, id: Buffer, change: Change, changer: SessionChanger, tried: Tried | undefined) {
    this.#copy = copy;
    this.#tried = tried;
    this.#id = id;
    this.#change = change;
    this.#changer = changer;
  }

  work(now: number): void {
    const tried = this.#tried;
    if (tried !== undefined && this.#copy.adopt(this.#id, tried.session, now)) this.#outcome = tried.outcome;
    else this.#outcome = this.#copy.apply(this.#id, this.#change, now);
  }

  onWritten(): void {
    this.#changer.onOutcome(this.#outcome);
  }

  onFailed(): void {
    this.#changer.onOutcome(UNAVAILABLE);
  }
}
