import { crypto } from "../../../sys/builtin.ts";
import { boundary } from "../../../sys/guard.ts";
import { randomBytes } from "../../../sys/random.ts";
import { startTimer, type Timer } from "../../../sys/timers.ts";
import { isQuick, type Verdict, verifyPassword } from "./crypt.ts";
import { type PasswordThread, type Question, startPasswordThread } from "./password_thread.ts";

/** How many verdicts each of two generations keeps: those not used while a generation fills up are forgotten. */
const KEPT_GOOD = 10_000;
const KEPT_BAD = 500;
/** How many questions may wait, of one client and of all. */
const MOST_OF_CLIENT = 64;
const MOST = 1024;
/** The thread ends when it was idle for this many ms. */
const IDLE_MS = 30_000;

/**
 * A cache of verdicts by question. Wrong passwords, of which clients can send any number, are cached apart from right
 * ones and cannot displace them.
 */
class Verdicts {
  readonly #most: number;
  #recent = new Set<string>();
  #older = new Set<string>();

  constructor(most: number) {
    this.#most = most;
  }

  has(key: string): boolean {
    if (this.#recent.has(key)) return true;
    if (!this.#older.has(key)) return false;
    this.add(key);
    return true;
  }

  add(key: string): void {
    if (this.#recent.size >= this.#most) {
      this.#older = this.#recent;
      this.#recent = new Set();
    }
    this.#recent.add(key);
  }
}

/** A question being answered; callers with the same question wait for the same answer. */
class Job implements Question {
  readonly key: string;
  readonly password: string;
  readonly stored: string;
  readonly client: string;
  readonly waiting = new Set<Waiting>();

  constructor(key: string, password: string, stored: string, client: string) {
    this.key = key;
    this.password = password;
    this.stored = stored;
    this.client = client;
  }
}

/** A caller that waits for a verdict. */
export class Waiting {
  readonly #checks: PasswordChecks;
  readonly job: Job;
  readonly done: (verdict: Verdict) => void;

  constructor(checks: PasswordChecks, job: Job, done: (verdict: Verdict) => void) {
    this.#checks = checks;
    this.job = job;
    this.done = done;
  }

  /** Stops waiting: `done` will not be called. */
  cancel(): void {
    this.#checks.leave(this);
  }
}

/**
 * Compares passwords with stored hashes. Cheap comparisons are done at once. The others go to a thread, one at a time,
 * clients in turn: many wrong passwords of one client delay those of others by one hash at most.
 */
export class PasswordChecks {
  readonly #start: typeof startPasswordThread;
  readonly #good = new Verdicts(KEPT_GOOD);
  readonly #bad = new Verdicts(KEPT_BAD);
  readonly #secret = randomBytes(16);
  readonly #jobs = new Map<string, Job>();
  /** Jobs not begun, by client; the map's first client is next. */
  readonly #queues = new Map<string, Job[]>();
  #current: Job | undefined = undefined;
  #thread: PasswordThread | undefined = undefined;
  /** The thread could not be started: the worker computes hashes itself, as nginx does. */
  #alone = false;
  #idle: Timer | undefined = undefined;

  constructor(start = startPasswordThread) {
    this.#start = start;
  }

  /** The verdict if it is cached or cheap to compute, else a `Waiting`; "busy" if too many wait already. */
  check(
    password: string,
    stored: string,
    client: string,
    done: (verdict: Verdict) => void,
  ): Verdict | Waiting | "busy" {
    if (isQuick(password, stored)) return verifyPassword(password, stored);
    const key = this.#keyOf(password, stored);
    if (this.#good.has(key)) return true;
    if (this.#bad.has(key)) return false;
    if (this.#alone) return this.#keep(key, verifyPassword(password, stored));
    let job = this.#jobs.get(key);
    if (job === undefined) {
      const queue = this.#queues.get(client);
      if (this.#jobs.size >= MOST || (queue !== undefined && queue.length >= MOST_OF_CLIENT)) return "busy";
      job = new Job(key, password, stored, client);
      this.#jobs.set(key, job);
      if (queue === undefined) this.#queues.set(client, [job]);
      else queue.push(job);
    }
    const waiting = new Waiting(this, job, done);
    job.waiting.add(waiting);
    if (this.#current === undefined) this.#next();
    return waiting;
  }

  leave(waiting: Waiting): void {
    const { job } = waiting;
    if (!job.waiting.delete(waiting) || job.waiting.size > 0 || job === this.#current) return;
    this.#jobs.delete(job.key);
    const left = (this.#queues.get(job.client) ?? []).filter((other) => other !== job);
    if (left.length === 0) this.#queues.delete(job.client);
    else this.#queues.set(job.client, left);
  }

  #keyOf(password: string, stored: string): string {
    return crypto()
      .createHash("sha256")
      .update(this.#secret)
      .update(`${stored}\0${password}`, "latin1")
      .digest("latin1");
  }

  #keep(key: string, verdict: Verdict): Verdict {
    if (verdict === true) this.#good.add(key);
    else if (verdict === false) this.#bad.add(key);
    return verdict;
  }

  /** Gives the thread the first job of the next client. */
  #next(): void {
    this.#idle?.clear();
    this.#idle = undefined;
    const [first] = this.#queues;
    if (first === undefined) {
      this.#idle = startTimer(IDLE_MS, () => this.#rest(), { background: true });
      return;
    }
    const [client, [job, ...others]] = first;
    this.#queues.delete(client);
    if (others.length > 0) this.#queues.set(client, others);
    this.#current = job;
    try {
      this.#thread ??= this.#begin();
    } catch {
      // The system has no thread left.
      this.#lost();
      return;
    }
    this.#thread.ask(job);
  }

  #begin(): PasswordThread {
    const thread = this.#start(
      boundary(undefined, (verdict: Verdict) => {
        if (this.#thread === thread) this.#answer(verdict);
      }),
      boundary(undefined, () => {
        if (this.#thread === thread) this.#lost();
      }),
    );
    return thread;
  }

  #answer(verdict: Verdict): void {
    const job = this.#current;
    this.#current = undefined;
    if (job !== undefined) this.#finish(job, verdict);
    if (this.#current === undefined) this.#next();
  }

  #finish(job: Job, verdict: Verdict): void {
    this.#jobs.delete(job.key);
    this.#keep(job.key, verdict);
    for (const { done } of job.waiting) done(verdict);
    job.waiting.clear();
  }

  #rest(): void {
    const thread = this.#thread;
    this.#thread = undefined;
    thread?.stop();
  }

  /** The thread died or could not be started: waiting and later questions are answered here. */
  #lost(): void {
    this.#alone = true;
    this.#thread = undefined;
    this.#queues.clear();
    this.#current = undefined;
    for (const job of this.#jobs.values()) this.#finish(job, verifyPassword(job.password, job.stored));
  }
}
