import { startTimer, type Timer } from "../../sys/timers.ts";
import type { ErrorLog } from "../log/log.ts";
import { type ChildRole, decodeFromChild, nameOf, type ToChild } from "../messages.ts";
import { Spawned, type SpawnedOwner, type SpawnOptions } from "./spawned.ts";
import { Watchdog } from "./watchdog.ts";

/**
 * A process that lived for less than this, as others before it did, is started again after a pause, doubled each time up
 * to the greatest.
 */
const SHORT_LIFE_MS = 2000;
const FIRST_PAUSE_MS = 250;
const GREATEST_PAUSE_MS = 30_000;
/** How long a child may take to put a cycle in force. One that takes longer is killed, and another takes its place. */
const CYCLE_TIMEOUT_MS = 60_000;
/** It handles events meanwhile. One that has handled none for so long hangs, and would hold up the reload. */
const HUNG_MS = 10_000;
/** A child sends one for each signal and each message that it gets, or few. */
const MOST_MESSAGES_PER_SECOND = 200;

export interface ProcessOptions extends SpawnOptions {
  readonly log: () => ErrorLog;
  /** worker_watchdog_timeout in ms; 0 for none. */
  readonly watchdog?: () => number;
  /** In place of CYCLE_TIMEOUT_MS and HUNG_MS. */
  readonly cycleTimeout?: number;
  readonly hungTimeout?: number;
}

type CycleMessage = Extract<ToChild, { type: "cycle" }>;

/** Who has the children. */
export interface ProcessOwner {
  /** What a child is to put in force: the current cycle. */
  cycleFor(child: Process): CycleMessage;
  /** It has put the current cycle in force. */
  ready(child: Process): void;
  /** It accepts no more. */
  closed(child: Process): void;
  /** It asks for the log files to be reopened. */
  reopen(): void;
  /** One of its properties has changed. */
  changed(): void;
  /**
   * It has exited; `faulty` if by its own decision, with a status that says so. Unless it was told to exit, the owner may
   * call `restart`. True where `apply` is to wait for the one that takes its place.
   */
  exited(child: Process, pid: number | undefined, faulty: boolean): boolean;
}

/** A child as the master sees it (ngx_process_t): a process, and what it was told and has answered. */
export class Process implements SpawnedOwner {
  readonly role: ChildRole;
  readonly #options: ProcessOptions;
  readonly #owner: ProcessOwner;
  #process: Spawned | undefined;
  /** Told to exit, so it is not started again. */
  #exiting = false;
  /** The generation it was sent last, and the last that it has answered for. */
  #sent = 0;
  #answered = 0;
  /** How many messages it has sent since then (`performance.now()`). */
  #messages = 0;
  #messagesFrom = 0;
  /** Resolves `apply`, with messages about what failed. */
  #resolve: ((errors: readonly string[]) => void) | undefined;
  /** Until it has answered. */
  #cycleTimer: Timer | undefined;
  #startedAt = 0;
  /** How many short lives there were in a row. */
  #shortLives = 0;
  #restartTimer: Timer | undefined;
  readonly #watchdog: Watchdog;
  /** The watchdog has ended it. */
  #aborted = false;

  constructor(role: ChildRole, options: ProcessOptions, owner: ProcessOwner) {
    this.role = role;
    this.#options = options;
    this.#owner = owner;
    this.#watchdog = new Watchdog(() => this.#patience, {
      ping: () => this.send({ type: "ping" }),
      expired: (ms) => this.#stuck(ms),
    });
  }

  get running(): boolean {
    return this.#process !== undefined;
  }

  get exiting(): boolean {
    return this.#exiting;
  }

  /** Whether it uses nothing but the cycle that it was sent last. */
  get settled(): boolean {
    return this.#process === undefined || this.#sent === this.#answered;
  }

  get answering(): boolean {
    return this.#answered > 0;
  }

  /** How many short lives it has had in a row. */
  get shortLives(): number {
    return this.#shortLives;
  }

  /** How long it may handle no event, in ms; 0 for no end. One that starts loads the program, and handles none. */
  get #patience(): number {
    const always = this.#options.watchdog?.() ?? 0;
    if (!this.answering || this.settled) return always;
    const hung = this.#options.hungTimeout ?? HUNG_MS;
    return always === 0 ? hung : Math.min(always, hung);
  }

  /** Puts the owner's cycle in force. A child that is waiting to be started again is started at once. */
  apply(): Promise<readonly string[]> {
    return new Promise((resolve) => {
      this.#resolve?.([]);
      this.#resolve = resolve;
      this.#restartTimer?.clear();
      if (this.#process === undefined) this.#start();
      else this.#sendCycle();
    });
  }

  send(message: ToChild): void {
    const failed = this.#process?.send(message);
    if (failed !== undefined) this.failed(`could not be sent descriptors: sendmsg() failed (${failed})`);
  }

  /** It is not what it should be: another takes its place. */
  failed(why: string): void {
    this.#options.log().write("alert", `${nameOf(this.role)} ${this.#process?.pid} ${why}, killing it`);
    // In this order: it would take a closed channel for the master's end.
    this.kill();
    this.#process?.closeChannel();
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
    this.#cycleTimer?.clear();
    this.send(message);
  }

  kill(): void {
    this.#process?.kill("SIGKILL");
  }

  #stuck(ms: number): void {
    // One that is stopped does not end by it.
    const signal = this.#aborted ? "SIGKILL" : "SIGABRT";
    this.#aborted = true;
    const name = `${nameOf(this.role)} ${this.#process?.pid}`;
    this.#options.log().write("alert", `${name} has handled no event for ${ms / 1000} s, ending it by ${signal}`);
    this.#process?.kill(signal);
  }

  /** Starts it again, after a pause if it did not live long. */
  restart(): void {
    const lived = performance.now() - this.#startedAt;
    this.#shortLives = lived < SHORT_LIFE_MS ? this.#shortLives + 1 : 0;
    const pause = this.#shortLives < 2 ? 0 : FIRST_PAUSE_MS * 2 ** (this.#shortLives - 2);
    this.#restartTimer = startTimer(Math.min(pause, GREATEST_PAUSE_MS), () => this.#start());
  }

  #start(): void {
    this.#restartTimer = undefined;
    this.#startedAt = performance.now();
    this.#answered = 0;
    this.#aborted = false;
    try {
      this.#process = new Spawned(this.role, this.#options, this);
    } catch (error) {
      // Handled as a child that dies at once.
      this.exited(`could not be started: ${error instanceof Error ? error.message : error}`, undefined);
      return;
    }
    const { pid } = this.#process;
    if (pid === undefined) return;
    this.#options.log().write("notice", `start ${nameOf(this.role)} ${pid}`);
    this.#sendCycle();
  }

  #sendCycle(): void {
    const message = this.#owner.cycleFor(this);
    this.#sent = message.data.generation;
    const timeout = this.#options.cycleTimeout ?? CYCLE_TIMEOUT_MS;
    this.#cycleTimer?.clear();
    this.#cycleTimer = startTimer(timeout, () => this.#late(timeout));
    if (this.answering) this.#watchdog.watch();
    this.send(message);
  }

  #late(ms: number): void {
    const why = `has not taken the configuration over within ${ms / 1000} s`;
    const resolve = this.#resolve;
    this.#resolve = undefined;
    this.failed(why);
    resolve?.([`${nameOf(this.role)} ${why}`]);
  }

  message(bytes: Buffer): void {
    if (this.#flooded()) {
      this.failed("sent too many messages");
      return;
    }
    const message = decodeFromChild(bytes);
    switch (message?.type) {
      case "pong":
        this.#watchdog.answered();
        return;
      case "closed":
        this.#owner.closed(this);
        break;
      case "reopen":
        this.#owner.reopen();
        break;
      case "ready":
      case "failed":
        this.#answered = message.generation;
        if (this.settled) this.#cycleTimer?.clear();
        this.#watchdog.watch();
        if (this.settled) this.#applied(message.type === "failed" ? message.errors : undefined);
        break;
      default:
        this.failed("sent what is no message");
        return;
    }
    this.#owner.changed();
  }

  #flooded(): boolean {
    const time = performance.now();
    if (time - this.#messagesFrom > 1000) {
      this.#messagesFrom = time;
      this.#messages = 0;
    }
    return ++this.#messages > MOST_MESSAGES_PER_SECOND;
  }

  #applied(errors: readonly string[] | undefined): void {
    if (errors === undefined) this.#owner.ready(this);
    const resolve = this.#resolve;
    this.#resolve = undefined;
    if (resolve !== undefined) resolve(errors ?? []);
    // It was started again by itself.
    else for (const error of errors ?? []) this.#options.log().write("emerg", error);
  }

  exited(how: string, code: number | undefined): void {
    const pid = this.#process?.pid;
    this.#process = undefined;
    this.#watchdog.stop();
    this.#cycleTimer?.clear();
    const text = `${nameOf(this.role)}${pid === undefined ? "" : ` ${pid}`} ${how}`;
    // SIGTERM or SIGQUIT to the child alone makes it exit with 0, too.
    this.#options.log().write(code === 0 ? "notice" : "alert", text);
    // Where it could not be started at all, `code` is undefined as well.
    const waiting = this.#owner.exited(this, pid, pid === undefined || (code !== undefined && code !== 0));
    this.#owner.changed();
    if (waiting) return;
    const resolve = this.#resolve;
    this.#resolve = undefined;
    // It was told to exit: another takes the configuration over in its place.
    resolve?.(code === 0 ? [] : [text]);
  }
}
