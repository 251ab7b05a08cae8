import { Worker } from "node:worker_threads";
import { boundary } from "../sys/guard.ts";
import { sourceStack } from "../sys/source_stack.ts";
import { startTimer, type Timer } from "../sys/timers.ts";
import { startedAsRoot } from "../sys/users.ts";
import { shareOf } from "./binding.ts";
import type { CycleData, Sockets } from "./cycle.ts";
import { heapLimits } from "./heap.ts";
import type { ErrorLog } from "./log/log.ts";
import type { FromThread, SharedLogs, ThreadRole, ToThread } from "./messages.ts";

/** A thread that lived shorter than this is started again after a pause, which doubles each time up to the greatest. */
const SHORT_LIFE_MS = 2000;
const FIRST_PAUSE_MS = 250;
const GREATEST_PAUSE_MS = 30_000;
/** A thread that is told to stop and does not is ended after this time, as nginx's master kills after a second. */
const STOP_MS = 1000;
const PATIENCE_MS = 60_000;

interface Member {
  readonly role: ThreadRole;
  worker: Worker | undefined;
  startedAt: number;
  pause: number;
  /** Told to leave: its end is no accident. */
  leaving: boolean;
  /** Accepts connections, or is about to: others take from its sockets while it does not. */
  accepts: boolean;
  /** The generation it was given last, and the last it has answered for. */
  given: number;
  taken: number;
  /** The version of the log files that it is not behind. */
  logs: number;
  timer: Timer | undefined;
  /** What it died of, when it was an error. */
  reason: string | undefined;
  stack: string | undefined;
  /** Called with what became of a generation: no sentences mean it is in place. */
  answered: ((errors: readonly string[]) => void) | undefined;
}

export interface PoolOptions {
  readonly entry: URL;
  /** The environment the threads see. */
  readonly env: () => NodeJS.ProcessEnv;
  readonly log: () => ErrorLog;
  /** The listening sockets for so many workers. */
  readonly sockets?: (workers: number) => Sockets;
  /** The log files. */
  readonly logs?: () => SharedLogs;
  /** Called with the version of the log files that no thread is behind. */
  readonly released?: (version: number) => void;
  /** Called when a worker has gone, before another may have its slot. */
  readonly forget?: (slot: number) => void;
  /** How long a thread may take over a generation, in ms: one that hangs must not hold up the reloads to come. */
  readonly patience?: number;
}

/** The watcher and the workers, as the supervisor sees them. */
export class ThreadPool {
  readonly #options: PoolOptions;
  readonly #members = new Set<Member>();
  #data: CycleData | undefined;
  #count = 0;
  /** Set while starting: a thread that dies then is not started again. */
  #starting = true;
  #idle: (() => void) | undefined;
  /** What waits for the members to come so far. */
  readonly #waiting = new Set<() => void>();

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /**
   * Gives every thread that generation: running ones take it over, missing ones are started, surplus ones leave.
   * Resolves when all have answered, with the sentences of those that failed (each once).
   */
  async apply(data: CycleData, workers: number): Promise<readonly string[]> {
    this.#data = data;
    this.#count = workers;
    for (const member of this.#members) {
      if (member.role.kind === "worker" && member.role.index >= workers) this.#quit(member);
    }
    const first = this.#accepting().length === 0;
    const members = [this.#member("watcher", 0)];
    for (let index = 0; index < workers; index++) members.push(this.#member("worker", index));
    // Where some serve already, they do so for those that are still to start.
    if (first) for (const member of members) member.accepts = member.role.kind === "worker";
    const answers = members.map((member) => this.#give(member, data));
    const errors = [...new Set((await Promise.all(answers)).flat())];
    this.#starting = false;
    return errors;
  }

  /** The one that stays, or a new one. */
  #member(kind: ThreadRole["kind"], index: number): Member {
    let slot = 0;
    const slots = new Set<number>();
    for (const member of this.#members) {
      if (member.role.kind !== kind) continue;
      if (member.role.index === index && !member.leaving) return member;
      slots.add(member.role.slot);
    }
    while (slots.has(slot)) slot++;
    const member = newMember({ kind, index, slot, count: this.#count, startedAsRoot });
    this.#members.add(member);
    return member;
  }

  #accepting(): Member[] {
    return [...this.#members].filter((member) => member.accepts && !member.leaving);
  }

  /** What a worker is to accept from, beside those that do. */
  #share({ role }: Member): Sockets {
    if (role.kind !== "worker") return {};
    const all = this.#options.sockets?.(this.#count) ?? {};
    const workers = new Set(this.#accepting().map((member) => member.role.index));
    return shareOf(all, role.index, [...workers.add(role.index)]);
  }

  #shareAnew(): void {
    for (const member of this.#accepting()) {
      member.worker?.postMessage({ type: "sockets", sockets: this.#share(member) } satisfies ToThread);
    }
  }

  /** Resolves when every thread has done what it was told so far, or has gone: none holds on to what is no more. */
  settled(): Promise<void> {
    return this.#until(() => [...this.#members].every(({ worker, given, taken }) => !worker || given === taken));
  }

  #until(done: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!done()) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  #look(): void {
    for (const look of this.#waiting) look();
  }

  #logs(): SharedLogs {
    return this.#options.logs?.() ?? { version: 0, files: new Map() };
  }

  #released(): void {
    const versions = [...this.#members].filter(({ worker }) => worker).map(({ logs }) => logs);
    this.#options.released?.(Math.min(this.#logs().version, ...versions));
  }

  /** USR1. */
  reopen(): void {
    this.#tell({ type: "reopen", logs: this.#logs() });
  }

  /** WINCH: the workers finish what they have and leave; a later `apply` starts them again. */
  drainWorkers(): void {
    for (const member of this.#members) if (member.role.kind === "worker") this.#quit(member);
  }

  /** QUIT: resolves when every worker has finished, and the watcher has been stopped. `closed`: none accepts any more. */
  async quit(closed: () => void): Promise<void> {
    this.drainWorkers();
    void this.#until(() => [...this.#members].every(({ accepts }) => !accepts)).then(closed);
    while ([...this.#members].some((member) => member.role.kind === "worker")) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    await this.stop();
  }

  /** TERM: resolves when every thread has gone. */
  async stop(): Promise<void> {
    for (const member of [...this.#members]) {
      member.leaving = true;
      member.timer?.clear();
      if (member.worker === undefined) this.#members.delete(member);
      else member.worker.postMessage({ type: "stop" } satisfies ToThread);
    }
    const force = startTimer(STOP_MS, () => {
      for (const { worker } of this.#members) void worker?.terminate();
    });
    while (this.#members.size > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    force.clear();
  }

  #tell(message: ToThread): void {
    for (const { worker } of this.#members) worker?.postMessage(message);
  }

  #quit(member: Member): void {
    if (member.leaving) return;
    member.leaving = true;
    member.timer?.clear();
    if (member.worker === undefined) this.#gone(member);
    else member.worker.postMessage({ type: "quit" } satisfies ToThread);
  }

  #give(member: Member, data: CycleData): Promise<readonly string[]> {
    return new Promise((resolve) => {
      member.answered?.([]);
      const patience = this.#options.patience ?? PATIENCE_MS;
      const late = () => {
        member.answered = undefined;
        resolve([`${nameOf(member.role)} has not taken the configuration over within ${patience / 1000} s`]);
      };
      const timer = startTimer(patience, late);
      member.answered = (errors) => {
        timer.clear();
        resolve(errors);
      };
      // One that died and waits is started at once: what it died of may have been the old configuration.
      member.timer?.clear();
      if (member.worker === undefined) this.#start(member);
      else this.#post(member, data);
    });
  }

  #post(member: Member, data: CycleData): void {
    member.given = data.generation;
    const message: ToThread = {
      type: "cycle",
      data,
      count: this.#count,
      sockets: this.#share(member),
      logs: this.#logs(),
    };
    member.worker?.postMessage(message);
  }

  #start(member: Member): void {
    const { role } = member;
    member.timer = undefined;
    member.startedAt = performance.now();
    member.reason = undefined;
    const name = role.kind === "worker" ? `worker ${role.index + 1}` : role.kind;
    let worker: Worker;
    try {
      worker = new Worker(this.#options.entry, {
        workerData: role,
        env: this.#options.env(),
        name,
        resourceLimits: heapLimits(role),
      });
    } catch (error) {
      // The system has no thread to give: as bad as one that dies at once, and no worse.
      member.reason = reasonOf(error);
      this.#exited(member, 1);
      return;
    }
    member.worker = worker;
    member.logs = this.#logs().version;
    worker.on(
      "message",
      boundary(undefined, (message: FromThread) => this.#answer(member, message)),
    );
    worker.on("error", (error) => {
      member.reason = reasonOf(error);
      member.stack = error instanceof Error ? error.stack : undefined;
    });
    worker.on(
      "exit",
      boundary(undefined, (code: number) => this.#exited(member, code)),
    );
    if (this.#data !== undefined) this.#post(member, this.#data);
  }

  #answer(member: Member, message: FromThread): void {
    if (message.type === "logs") {
      member.logs = message.version;
      this.#released();
      return;
    }
    if (message.type === "closed") {
      member.accepts = false;
      this.#look();
      return;
    }
    member.taken = message.generation;
    this.#look();
    if (message.generation !== this.#data?.generation) return;
    if (message.type === "ready" && member.role.kind === "worker" && !member.accepts && !member.leaving) {
      member.accepts = true;
      this.#shareAnew();
    }
    const errors = message.type === "failed" ? message.errors : [];
    if (member.answered === undefined) {
      // One that was started again, so nobody waits for it.
      for (const error of errors) this.#options.log().write("emerg", error);
      return;
    }
    member.answered(errors);
    member.answered = undefined;
  }

  #exited(member: Member, code: number): void {
    const accepted = member.accepts && !member.leaving;
    member.worker = undefined;
    this.#released();
    member.accepts = false;
    if (member.role.kind === "worker") this.#options.forget?.(member.role.slot);
    const text = `${nameOf(member.role)} exited with ${member.reason ?? `code ${code}`}`;
    if (!member.leaving || code !== 0) this.#logEnd(member, text);
    const { answered } = member;
    member.answered = undefined;
    if (member.leaving || this.#starting) this.#gone(member);
    else this.#restart(member);
    answered?.([text]);
    if (accepted) this.#shareAnew();
    this.#look();
  }

  #logEnd(member: Member, text: string): void {
    const log = this.#options.log();
    log.write("alert", text);
    if (member.stack !== undefined && log.wants("debug")) {
      for (const line of sourceStack(member.stack).split("\n")) log.write("debug", line);
    }
  }

  #restart(member: Member): void {
    const lived = performance.now() - member.startedAt;
    member.pause = lived >= SHORT_LIFE_MS ? 0 : Math.min(member.pause * 2 || FIRST_PAUSE_MS, GREATEST_PAUSE_MS);
    member.timer = startTimer(member.pause, () => this.#start(member));
  }

  #gone(member: Member): void {
    this.#members.delete(member);
    member.accepts = false;
    this.#look();
    this.#idle?.();
    this.#idle = undefined;
  }
}

function newMember(role: ThreadRole): Member {
  return {
    role,
    worker: undefined,
    startedAt: 0,
    pause: 0,
    leaving: false,
    accepts: false,
    given: 0,
    taken: 0,
    logs: 0,
    timer: undefined,
    reason: undefined,
    stack: undefined,
    answered: undefined,
  };
}

function nameOf({ kind, index }: ThreadRole): string {
  return kind === "worker" ? `worker thread ${index + 1}` : "watcher thread";
}

/** One line: the error's code where it has one (ERR_WORKER_OUT_OF_MEMORY), and its message. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return `error: ${String(error)}`;
  const name = "code" in error && typeof error.code === "string" ? error.code : error.name;
  return `${name}: ${error.message.split("\n", 1)[0]}`;
}
