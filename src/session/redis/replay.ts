import type { RedisDefinition } from "../../redis/definition.ts";
import { reasonOf } from "../../redis/link.ts";
import type { CheckerService } from "../../runtime/application.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import type { LocalZone } from "../zone/store.ts";
import type { StoredSession } from "../zone/stored_session.ts";
import { shareKeys } from "./group_keys.ts";
import type { LocalCopy } from "./local_copy.ts";
import type { Unsent } from "./queue.ts";
import { reconcile } from "./reconcile.ts";
import type { Remote } from "./remote.ts";

/** It is looked so often whether the store is there, and whether it is still to be told of something. */
const LOOK_MS = 200;
/** Without an answer for so long the checker takes the store for lost. */
const ANSWER_MS = 1000;
/** Sessions that are on their way at a time. */
const AT_ONCE = 64;
const MOST_ATTEMPTS = 8;
/** So many reasons are logged why the store is away: the first one may be only that the machine was busy. */
const MOST_REASONS = 4;
/** After so many looks it is asked for the keys that sign cookies, which also shows that it is there. */
const KEYS_AFTER = 5;

/** In the checker: tells the store what changed while it was away, and the log when it was lost and is back. */
export class Replay implements CheckerService {
  readonly #local: LocalZone;
  readonly #copy: LocalCopy;
  readonly #remote: Remote;
  readonly #definition: RedisDefinition;
  #timer: Timer | undefined;
  #stopped = false;
  #looks = 0;
  /** When the store was lost, wall-clock ms; undefined while it is there. */
  #lostAt: number | undefined;
  /** Why, as the log has it: each reason once. */
  readonly #reasons = new Set<string>();
  /** Sessions that it was told of since. */
  #told = 0;
  #dropped = 0;
  /** Up to which id sessions that have ended were looked for in the queue. */
  #swept: Buffer | undefined;

  constructor(local: LocalZone, copy: LocalCopy, remote: Remote, definition: RedisDefinition) {
    this.#local = local;
    this.#copy = copy;
    this.#remote = remote;
    this.#definition = definition;
    this.#later();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.clear();
  }

  #later(): void {
    if (!this.#stopped) this.#timer = startTimer(LOOK_MS, () => void this.#look(), { background: true });
  }

  async #look(): Promise<void> {
    try {
      await this.#work();
    } catch (error) {
      this.#remote.link.fail(reasonOf(error));
      if (this.#remote.link.usable) this.#local.trouble("telling the store of changes failed", error);
    }
    this.#later();
  }

  async #work(): Promise<void> {
    const { link } = this.#remote;
    if (!link.usable) {
      this.#noteLost();
      const ids = this.#copy.queue.ids(AT_ONCE, this.#swept);
      this.#swept = ids[ids.length - 1];
      this.#copy.dropEnded(ids, Date.now());
      return;
    }
    if (this.#looks++ % KEYS_AFTER === 0) {
      await inTime(shareKeys(this.#local.environment, link, `${this.#definition.prefix}keys`));
    }
    let after: Buffer | undefined;
    let left = 0;
    for (;;) {
      const ids = this.#copy.queue.ids(AT_ONCE, after);
      if (ids.length === 0) break;
      after = ids[ids.length - 1];
      const told = await inTime(Promise.all(ids.map((id) => this.#tell(id))));
      left += told.filter((done) => !done).length;
      if (this.#stopped) return;
    }
    this.#local.counters.storeIs("up");
    if (left === 0) this.#noteBack();
  }

  /** Tells the store of one session. False: something is left to be told. */
  async #tell(id: Buffer): Promise<boolean> {
    const unsent = this.#copy.read(id)?.unsent;
    if (unsent === undefined) return true;
    const { current, from } = unsent;
    // First the session under its new id, since it may be made of what there is under this one.
    if (current.movedTo !== undefined && this.#copy.queue.get(current.movedTo) !== undefined) return false;
    let there = await this.#remote.read(id);
    for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
      const source = there === undefined && from !== undefined ? await this.#remote.read(from) : there;
      const elsewhere = source?.movedTo;
      if (elsewhere !== undefined && current.movedTo === undefined)
        return this.#tellMoved(id, elsewhere, unsent, source);
      const result = reconcile(unsent, source, this.#local.limits, Date.now());
      if (result === "drop" || result === "too large") {
        if (result === "too large") this.#dropped++;
        return this.#settle(id, current, there ?? current);
      }
      if (result.version === there?.version) return this.#settle(id, current, result);
      const swapped = await this.#remote.swap(id, there, result);
      if (swapped.done) return this.#settle(id, current, result);
      there = swapped.there;
    }
    return false;
  }

  /** Another node has renewed the session that was changed here: what was changed goes to where it is now. */
  async #tellMoved(id: Buffer, to: Buffer, unsent: Unsent, mark: StoredSession | undefined): Promise<boolean> {
    for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
      const there = await this.#remote.read(to);
      const result = there === undefined ? "drop" : reconcile(unsent, there, this.#local.limits, Date.now());
      if (typeof result === "string") break;
      if ((await this.#remote.swap(to, there, result)).done) break;
    }
    return this.#settle(id, unsent.current, mark ?? unsent.current);
  }

  #settle(id: Buffer, sent: StoredSession, result: StoredSession): Promise<boolean> {
    this.#told++;
    return new Promise((resolve, reject) => {
      let all = false;
      this.#copy.write({
        work: (now) => {
          this.#copy.settle(id, sent, result, now);
          all = this.#copy.queue.get(id) === undefined;
        },
        onWritten: () => resolve(all),
        onFailed: () => reject(new Error("the node's copy cannot be written")),
      });
    });
  }

  #noteLost(): void {
    const { reason } = this.#remote.link;
    if (reason === undefined || this.#reasons.has(reason) || this.#reasons.size === MOST_REASONS) return;
    this.#reasons.add(reason);
    const { log, name } = this.#local;
    const { text } = this.#definition;
    const of = `session zone "${name}":`;
    if (this.#lostAt !== undefined) {
      log.write("error", `${of} its store ${text} is still away: ${reason}`);
      return;
    }
    this.#lostAt = Date.now();
    this.#local.counters.storeIs("away");
    this.#told = 0;
    log.write("error", `${of} lost its store ${text}: ${reason}; requests go on from this node's copy`);
  }

  #noteBack(): void {
    const { log, name } = this.#local;
    const { text } = this.#definition;
    const told = `it was told of ${this.#told} session${this.#told === 1 ? "" : "s"} that changed meanwhile`;
    if (this.#lostAt !== undefined) {
      const seconds = Math.round((Date.now() - this.#lostAt) / 1000);
      log.write("notice", `session zone "${name}": its store ${text} is back after ${seconds} s, ${told}`);
    } else if (this.#told > 0) {
      log.write("info", `session zone "${name}": its store ${text} did not answer for a moment, ${told}`);
    }
    if (this.#dropped > 0) {
      log.write(
        "warn",
        `session zone "${name}": ${this.#dropped} changes make sessions larger than max_size, and are lost`,
      );
    }
    this.#lostAt = undefined;
    this.#reasons.clear();
    this.#told = 0;
    this.#dropped = 0;
  }
}

/** Fails where it takes too long. */
function inTime<T>(work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = startTimer(ANSWER_MS, () => reject(new Error(`no answer within ${ANSWER_MS} ms`)), {
      background: true,
    });
    work.then(resolve, reject).finally(() => timer.clear());
  });
}
