import { availableParallelism } from "node:os";
import { logFault } from "../../sys/guard.ts";
import { startTimer } from "../../sys/timers.ts";
import type { Sockets } from "../application.ts";
import { CONTROL } from "../checker.ts";
import type { CycleData } from "../cycle.ts";
import { inBackground } from "../daemon.ts";
import { type ChildRole, type Logs, sentZones } from "../messages.ts";

import { shareOf } from "./listening_sockets.ts";
import { Process, type ProcessOptions, type ProcessOwner } from "./process.ts";

/** A child that has not exited this long after it was told to stop is killed, as nginx's master does. */
const KILL_MS = 1000;
/** One that signals have ended so many times at the very first start is not started again. */
const MOST_LIVES_AT_START = 5;

export interface ChildrenOptions extends ProcessOptions {
  /** The listening sockets for so many workers. */
  readonly sockets?: (workers: number) => Sockets;
  /** The control socket, for the checker; -1 for none. */
  readonly control?: () => number;
  /** Whether another master has them as well. */
  readonly shared?: () => boolean;
  readonly logs?: () => Logs;
  /** A child asks for the log files to be reopened. */
  readonly reopen?: () => void;
  /** The first slot of the workers. */
  readonly firstSlot?: number;
  /** Called when a process has exited, before another gets its slot. `pid` is undefined if it could not be started. */
  readonly forget?: (role: ChildRole, pid: number | undefined) => void;
}

/** The checker and the workers: as many as the cycle in force wants, started again when they die. */
export class Children implements ProcessOwner {
  readonly #options: ChildrenOptions;
  readonly #all = new Set<Process>();
  /** Workers that accept connections or are about to. While one does not, the others accept from its sockets too. */
  readonly #accepting = new Set<Process>();
  /** Those that a signal of somebody else's made quit: they accept no more in this life. */
  readonly #leaving = new Set<Process>();
  /** The cycle in force, once there is one. */
  #data: CycleData | undefined;
  #workers = 0;
  /** During the first `apply`: a child that cannot begin makes the start fail. */
  #starting = true;
  /** Looked at whenever something has changed. */
  readonly #conditions = new Set<() => void>();

  constructor(options: ChildrenOptions) {
    this.#options = options;
  }

  /**
   * Puts a cycle in force in all children: those that run are sent it, missing ones are started, surplus workers quit.
   * With `replace`, those that run quit and others take their place.
   * Resolves when all have answered, with the messages of those that failed (each once).
   */
  async apply(data: CycleData, workers: number, { replace = false } = {}): Promise<readonly string[]> {
    this.#data = data;
    this.#workers = workers;
    for (const child of this.#all) {
      if (replace || (child.role.kind === "worker" && child.role.index >= workers)) this.#quit(child);
    }
    const first = this.#sharing().length === 0;
    const checker = this.#child("checker", 0);
    const serving = Array.from({ length: workers }, (_, index) => this.#child("worker", index));
    // Unless others serve already, each worker accepts from its own sockets as soon as it has started.
    if (first) for (const child of serving) this.#accepting.add(child);
    const applied = serving.map((child) => child.apply());
    // The checker would take half of the only CPU from the workers, and no check is late yet.
    if (this.#starting && availableParallelism() === 1) await Promise.all(applied);
    // Told to stop meanwhile, it is not started any more.
    if (!checker.exiting) applied.push(checker.apply());
    const errors = new Set((await Promise.all(applied)).flat());
    this.#starting = false;
    return [...errors];
  }

  /** The one that there is, or a new one. */
  #child(kind: ChildRole["kind"], index: number): Process {
    let slot = this.#options.firstSlot ?? 0;
    const slots = new Set<number>();
    for (const child of this.#all) {
      if (child.role.kind !== kind) continue;
      if (child.role.index === index && !child.exiting) return child;
      slots.add(child.role.slot);
    }
    while (slots.has(slot)) slot++;
    const child = new Process({ kind, index, slot, daemon: inBackground }, this.#options, this);
    this.#all.add(child);
    return child;
  }

  #sharing(): Process[] {
    return [...this.#accepting].filter((child) => !child.exiting);
  }

  /** What a child accepts from: the checker at the control socket, a worker given the others that accept. */
  #share({ role }: Process): Sockets {
    if (role.kind !== "worker") {
      const control = this.#options.control?.() ?? -1;
      return control < 0 ? {} : { [CONTROL]: [control] };
    }
    const all = this.#options.sockets?.(this.#workers) ?? {};
    const workers = new Set(this.#sharing().map((child) => child.role.index));
    return shareOf(all, role.index, [...workers.add(role.index)]);
  }

  get #shared(): boolean {
    return this.#options.shared?.() ?? false;
  }

  /** Tells the workers which sockets they have, and whether another master has them as well. */
  shareAnew(): void {
    const shared = this.#shared;
    for (const child of this.#sharing()) child.send({ type: "sockets", sockets: this.#share(child), shared });
  }

  /** Tells the checker which control socket it has. */
  controlAnew(): void {
    for (const child of this.#all) {
      if (child.role.kind !== "worker")
        child.send({ type: "sockets", sockets: this.#share(child), shared: this.#shared });
    }
  }

  #logs(): Logs {
    return this.#options.logs?.() ?? { files: new Map(), standardError: undefined };
  }

  cycleFor(child: Process) {
    if (this.#data === undefined) throw new Error("a child was started without a cycle");
    const { zones, ...data } = this.#data;
    const sockets = this.#share(child);
    const message = { type: "cycle", data, zones: sentZones(zones), count: this.#workers, sockets } as const;
    return { ...message, shared: this.#shared, logs: this.#logs() };
  }

  reopen(): void {
    this.#options.reopen?.();
  }

  ready(child: Process): void {
    if (child.role.kind !== "worker" || child.exiting || this.#accepting.has(child) || this.#leaving.has(child)) return;
    this.#accepting.add(child);
    this.shareAnew();
  }

  closed(child: Process): void {
    if (!child.exiting) this.#leaving.add(child);
    if (this.#accepting.delete(child) && !child.exiting) this.shareAnew();
  }

  changed(): void {
    for (const look of this.#conditions) look();
  }

  exited(child: Process, pid: number | undefined, faulty: boolean): boolean {
    const accepted = this.#accepting.delete(child) && !child.exiting;
    this.#leaving.delete(child);
    try {
      this.#options.forget?.(child.role, pid);
    } catch (error) {
      // What is in shared memory is not what it should be. Another process takes this one's place all the same.
      logFault(error, ` while forgetting ${child.role.kind} process ${pid}`);
    }
    const failed = this.#starting && (faulty || child.shortLives >= MOST_LIVES_AT_START);
    if (child.exiting || failed) this.#all.delete(child);
    else child.restart();
    if (accepted) this.shareAnew();
    return this.#starting && !failed && !child.exiting;
  }

  /** Resolves when every child has answered for the cycle it was sent last, or has exited. */
  settled(): Promise<void> {
    return this.#until(() => [...this.#all].every(({ settled }) => settled));
  }

  #until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!condition()) return;
        this.#conditions.delete(look);
        resolve();
      };
      this.#conditions.add(look);
      look();
    });
  }

  /** USR1: the log files have been opened anew. */
  reopened(): void {
    for (const child of this.#all) child.send({ type: "reopen", logs: this.#logs() });
  }

  /** WINCH: the workers shut down gracefully. A later `apply` starts them again. */
  quitWorkers(): void {
    for (const child of this.#all) if (child.role.kind === "worker") this.#quit(child);
  }

  #quit(child: Process): void {
    child.quit();
    if (child.running) return;
    this.#all.delete(child);
    this.#accepting.delete(child);
    this.changed();
  }

  /** QUIT: calls `closed` when no worker accepts any more; resolves when every child has exited. */
  async quit(closed: () => void): Promise<void> {
    this.quitWorkers();
    void this.#until(() => this.#accepting.size === 0).then(closed);
    await this.#until(() => [...this.#all].every(({ role }) => role.kind !== "worker"));
    await this.stop();
  }

  /** TERM: resolves when every child has exited. */
  async stop(): Promise<void> {
    for (const child of this.#all) {
      child.stop();
      if (!child.running) this.#all.delete(child);
    }
    const timer = startTimer(KILL_MS, () => {
      for (const child of this.#all) child.kill();
    });
    await this.#until(() => this.#all.size === 0);
    timer.clear();
  }
}
