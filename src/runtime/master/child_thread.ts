import { Worker } from "node:worker_threads";
import { boundary } from "../../sys/guard.ts";
import { sourceStack } from "../../sys/source_stack.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import type { ErrorLog } from "../log/log.ts";
import type { ChildRole, FromChild, ToChild } from "../messages.ts";
import { heapLimits } from "./heap.ts";

/** A child that lived for less than this is started again after a pause, doubled each time up to the greatest. */
const SHORT_LIFE_MS = 2000;
const FIRST_PAUSE_MS = 250;
const GREATEST_PAUSE_MS = 30_000;
const CYCLE_TIMEOUT_MS = 60_000;

export interface ChildOptions {
  /** The module that a child runs. */
  readonly entry: URL;
  /** The environment of a child. */
  readonly env: () => NodeJS.ProcessEnv;
  readonly log: () => ErrorLog;
  /** How long a child may take to put a cycle in force, in ms: one that hangs must not block further reloads. */
  readonly cycleTimeout?: number;
}

type CycleMessage = Extract<ToChild, { type: "cycle" }>;

/** Who has the children. */
export interface ChildOwner {
  /** What a child is to put in force: the current cycle. */
  cycleFor(child: ChildThread): CycleMessage;
  /** It has put the current cycle in force. */
  ready(child: ChildThread): void;
  /** It was told to quit and accepts no more. */
  closed(child: ChildThread): void;
  /** One of its properties has changed. */
  changed(): void;
  /** It has exited. Unless it was told to, the owner may call `restart`. */
  exited(child: ChildThread): void;
}

/** A child as the master sees it: a thread, and what it was told and has answered. */
export class ChildThread {
  readonly role: ChildRole;
  readonly #options: ChildOptions;
  readonly #owner: ChildOwner;
  #thread: Worker | undefined;
  /** Told to exit, so it is not started again. */
  #exiting = false;
  /** The generation it was sent last, and the last that it has answered for. */
  #sent = 0;
  #answered = 0;
  /** Resolves `apply`, with messages about what failed. */
  #resolve: ((errors: readonly string[]) => void) | undefined;
  /** No log file older than this version is in use. */
  #logs = 0;
  #startedAt = 0;
  #pause = 0;
  #restartTimer: Timer | undefined;
  /** The exception that it died of. */
  #error: unknown;

  constructor(role: ChildRole, options: ChildOptions, owner: ChildOwner) {
    this.role = role;
    this.#options = options;
    this.#owner = owner;
  }

  get running(): boolean {
    return this.#thread !== undefined;
  }

  get exiting(): boolean {
    return this.#exiting;
  }

  /** Whether it uses nothing but the cycle that it was sent last. */
  get settled(): boolean {
    return this.#thread === undefined || this.#sent === this.#answered;
  }

  get logs(): number {
    return this.#logs;
  }

  /** Puts the owner's cycle in force. A child that is waiting to be started again is started at once. */
  apply(): Promise<readonly string[]> {
    const { role } = this;
    const timeout = this.#options.cycleTimeout ?? CYCLE_TIMEOUT_MS;
    return new Promise((resolve) => {
      this.#resolve?.([]);
      const timer = startTimer(timeout, () => {
        this.#resolve = undefined;
        resolve([`${nameOf(role)} has not taken the configuration over within ${timeout / 1000} s`]);
      });
      this.#resolve = (errors) => {
        timer.clear();
        resolve(errors);
      };
      this.#restartTimer?.clear();
      if (this.#thread === undefined) this.#start();
      else this.#sendCycle();
    });
  }

  send(message: ToChild): void {
    this.#thread?.postMessage(message);
  }

  /** Graceful shutdown. */
  quit(): void {
    if (this.#exiting) return;
    this.#exit({ type: "quit" });
  }

  /** Fast shutdown. */
  stop(): void {
    this.#exit({ type: "stop" });
  }

  #exit(message: ToChild): void {
    this.#exiting = true;
    this.#restartTimer?.clear();
    this.send(message);
  }

  kill(): void {
    void this.#thread?.terminate();
  }

  /** Starts it again, after a pause if it did not live long. */
  restart(): void {
    const lived = performance.now() - this.#startedAt;
    this.#pause = lived >= SHORT_LIFE_MS ? 0 : Math.min(this.#pause * 2 || FIRST_PAUSE_MS, GREATEST_PAUSE_MS);
    this.#restartTimer = startTimer(this.#pause, () => this.#start());
  }

  #start(): void {
    const { role } = this;
    this.#restartTimer = undefined;
    this.#startedAt = performance.now();
    this.#error = undefined;
    let thread: Worker;
    try {
      thread = new Worker(this.#options.entry, {
        workerData: role,
        env: this.#options.env(),
        // What `ps -L` shows.
        name: role.kind === "worker" ? `worker ${role.index + 1}` : role.kind,
        resourceLimits: heapLimits(role),
      });
    } catch (error) {
      // Out of threads or memory: handled as a child that dies at once.
      this.#error = error;
      this.#exited(1);
      return;
    }
    this.#thread = thread;
    thread.on(
      "message",
      boundary(undefined, (message: FromChild) => this.#received(message)),
    );
    thread.on("error", (error) => {
      this.#error = error;
    });
    thread.on(
      "exit",
      boundary(undefined, (code: number) => this.#exited(code)),
    );
    this.#logs = this.#sendCycle().logs.version;
  }

  #sendCycle(): CycleMessage {
    const message = this.#owner.cycleFor(this);
    this.#sent = message.data.generation;
    this.send(message);
    return message;
  }

  #received(message: FromChild): void {
    switch (message.type) {
      case "logs":
        this.#logs = message.version;
        break;
      case "closed":
        this.#owner.closed(this);
        break;
      default:
        this.#answered = message.generation;
        if (message.generation === this.#sent) this.#applied(message.type === "failed" ? message.errors : undefined);
    }
    this.#owner.changed();
  }

  #applied(errors: readonly string[] | undefined): void {
    if (errors === undefined) this.#owner.ready(this);
    const resolve = this.#resolve;
    this.#resolve = undefined;
    if (resolve !== undefined) resolve(errors ?? []);
    // It was started again by itself.
    else for (const error of errors ?? []) this.#options.log().write("emerg", error);
  }

  #exited(code: number): void {
    this.#thread = undefined;
    const text = `${nameOf(this.role)} exited with ${this.#error === undefined ? `code ${code}` : reasonOf(this.#error)}`;
    if (!this.#exiting || code !== 0) this.#logExit(text);
    const resolve = this.#resolve;
    this.#resolve = undefined;
    this.#owner.exited(this);
    this.#owner.changed();
    resolve?.([text]);
  }

  #logExit(text: string): void {
    const log = this.#options.log();
    log.write("alert", text);
    if (!(this.#error instanceof Error) || this.#error.stack === undefined || !log.wants("debug")) return;
    for (const line of sourceStack(this.#error.stack).split("\n")) log.write("debug", line);
  }
}

function nameOf({ kind, index }: ChildRole): string {
  return kind === "worker" ? `worker thread ${index + 1}` : "checker thread";
}

/** One line: the error's code where it has one (ERR_WORKER_OUT_OF_MEMORY), and its message. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return `error: ${String(error)}`;
  const name = "code" in error && typeof error.code === "string" ? error.code : error.name;
  return `${name}: ${error.message.split("\n", 1)[0]}`;
}
