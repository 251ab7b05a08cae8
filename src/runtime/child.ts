import { closeSync, fstatSync } from "node:fs";
import { deserialize } from "node:v8";
import { sentence } from "../config/errors.ts";
import { startEngine } from "../net/engines.ts";
import { refuseNew } from "../net/listening_socket.ts";
import type { ZoneHandles } from "../shm/registry.ts";
import { receiveZone, type ZoneHandle } from "../shm/zone.ts";
import { receiveDescriptors } from "../sys/descriptor_passing.ts";
import { exit } from "../sys/exit.ts";
import { giveReloadMemoryBack, giveStartupMemoryBack } from "../sys/give_back.ts";
import { logFault, logFaultsTo } from "../sys/guard.ts";
import { libc } from "../sys/libc.ts";
import { isOrphan } from "../sys/orphan.ts";
import { setTitle } from "../sys/title.ts";
import { endStart } from "../sys/v8_flags.ts";
import type { Program, Sockets } from "./application.ts";
import { type BuiltCycle, buildCycle } from "./build_cycle.ts";
import { Channel } from "./channel.ts";
import { eventsOf } from "./directives.ts";
import { reportLogFailures } from "./log/append_file.ts";
import { openMainLog } from "./log/directive.ts";
import { LentLogs } from "./log/lent_logs.ts";
import type { ErrorLog } from "./log/log.ts";
import { closeLogFilesExcept, flushLogFiles } from "./log/log_files.ts";
import {
  type ChildRole,
  descriptorsOf,
  encodeFromChild,
  type FromChild,
  type Logs,
  type SentZones,
  type ToChild,
  withDescriptors,
} from "./messages.ts";
import { refuseNewPrivileges } from "./privileges.ts";
import { Signals, signalText } from "./signals.ts";

/** What messages and descriptors come over: see master/spawned.ts. */
const CHANNEL = 3;
const DESCRIPTORS = 4;

/** What the two kinds of child do differently. */
export interface ChildTask {
  /** Before the first cycle: what the process is to be. Throws a message. */
  init(built: BuiltCycle, log: ErrorLog): void;
  /** Puts a cycle in force, with so many workers on these sockets. Resolves with messages about what failed. */
  take(built: BuiltCycle, workers: number, sockets: Sockets): Promise<readonly string[]>;
  /** That cycle is in force: the one before it may finish its requests. */
  retirePrevious(): void;
  /** The sockets to accept from have changed. Resolves with messages about what failed. */
  listen(sockets: Sockets): Promise<readonly string[]>;
  /** Graceful shutdown: `closed` when nothing is accepted any more, `done` when the last connection has been closed. */
  quit(closed: () => void, done: () => void): void;
  /** Fast shutdown. */
  stop(): void;
  /** Whether an earlier cycle still has requests to finish. */
  readonly retiring: boolean;
}

/** The task of a role. `allRetired` is to be called when no earlier cycle has requests to finish any more. */
export type TaskOf = (role: ChildRole, allRetired: () => void) => ChildTask;

/** Runs this process in the role that the master gave it, until it is told to exit or the master is gone. */
export function runChild(program: Program, role: ChildRole, taskOf: TaskOf): void {
  refuseNewPrivileges();
  setTitle(`${role.kind} process`);
  new Child(program, role, taskOf).run();
}

type CycleMessage = Extract<ToChild, { type: "cycle" }>;

/** Those that nginx's workers heed; SIGWINCH in a daemon only, since a terminal sends it when its size changes. */
const SIGNALS = [
  "SIGTERM",
  "SIGINT",
  "SIGQUIT",
  "SIGWINCH",
  "SIGUSR1",
  "SIGHUP",
  "SIGUSR2",
  "SIGALRM",
  "SIGIO",
] as const;

class Child {
  readonly #program: Program;
  readonly #role: ChildRole;
  readonly #task: ChildTask;
  readonly #logs = new LentLogs();
  /** The cycle in force, and its main error log. */
  #built: BuiltCycle | undefined;
  #log: ErrorLog | undefined;
  /** Messages are handled one after the other: a cycle is in force before the next one, or a quit, is looked at. */
  #queue: Promise<void> = Promise.resolve();
  #quitting = false;
  #channel: Channel | undefined;
  /** By inode: a socket that is received again keeps its descriptor, a zone its mapping. */
  #sockets: ReadonlyMap<string, number> = new Map();
  #zones: ReadonlyMap<string, ZoneHandle> = new Map();
  /** Another master has the sockets as well. */
  #shared = false;

  constructor(program: Program, role: ChildRole, taskOf: TaskOf) {
    this.#program = program;
    this.#role = role;
    this.#task = taskOf(role, () => this.#closeEarlierCycles());
  }

  run(): void {
    new Signals(SIGNALS).answer((name) => this.#signal(name));
    process.on("uncaughtException", (error) => {
      logFault(error);
      this.#flushAndExit(1);
    });
    this.#channel = Channel.at(CHANNEL, {
      most: Number.POSITIVE_INFINITY,
      message: (bytes) => this.#receive(deserialize(bytes)),
      tooLong() {},
      closed: () => this.#masterGone(),
    });
  }

  #signal(name: (typeof SIGNALS)[number]): void {
    const received = `${signalText(name)} received`;
    switch (name) {
      case "SIGTERM":
      case "SIGINT":
        this.#log?.write("notice", `${received}, exiting`);
        this.#exit();
        break;
      case "SIGQUIT":
        this.#log?.write("notice", `${received}, shutting down`);
        this.#enqueue(() => this.#quit());
        break;
      case "SIGUSR1":
        this.#log?.write("notice", `${received}, reopening logs`);
        this.#post({ type: "reopen" });
        break;
      default:
        this.#log?.write("notice", name === "SIGWINCH" && this.#role.daemon ? `${received}, shutting down` : received);
        if (name === "SIGWINCH" && this.#role.daemon) this.#enqueue(() => this.#quit());
    }
  }

  /** Nobody could end this process, or start another in its place, and its sockets would keep a new master from starting. */
  #masterGone(): void {
    this.#log?.write("alert", "the master process has exited, gracefully shutting down");
    this.#enqueue(async () => {
      // What a master does before its workers empty the queues: none who comes later is reset as a queue is closed. It must
      // not be done to a master that lives, and has only given this process up.
      if (await isOrphan()) this.#refuseNew();
      this.#quit();
    });
  }

  #refuseNew(): void {
    if (!this.#shared) for (const fd of this.#sockets.values()) refuseNew(fd);
  }

  #enqueue(task: () => void | Promise<void>): void {
    this.#queue = this.#queue.then(task).catch((error) => logFault(error));
  }

  #receive(message: ToChild): void {
    if (message.type === "stop") {
      this.#exit();
      return;
    }
    if (message.type === "ping") {
      this.#post({ type: "pong" });
      return;
    }
    const sent = descriptorsOf(message);
    try {
      const received = receiveDescriptors(DESCRIPTORS, sent.length);
      const here = withDescriptors(message, new Map(sent.map((fd, i) => [fd, received[i]])));
      this.#enqueue(() => this.#handle(here));
    } catch (error) {
      const failure = `the master's descriptors could not be received: ${sentence(error)}`;
      if (!(error instanceof RangeError)) {
        logFault(failure);
        this.#flushAndExit(1);
        return;
      }
      if (message.type === "cycle") {
        this.#post({ type: "failed", generation: message.data.generation, errors: [failure] });
      } else {
        this.#log?.write("alert", failure);
      }
    }
  }

  #post(message: FromChild): void {
    this.#channel?.send(encodeFromChild(message));
  }

  async #handle(message: ToChild): Promise<void> {
    if (this.#quitting && (message.type === "cycle" || message.type === "sockets")) {
      this.#passOver(message);
      return;
    }
    switch (message.type) {
      case "cycle":
        await this.#cycle(message);
        break;
      case "sockets": {
        const sockets = this.#known(message.sockets);
        this.#shared = message.shared;
        for (const error of await this.#task.listen(sockets)) this.#log?.write("alert", error);
        this.#closeUnusedSockets(sockets);
        break;
      }
      case "reopen":
        this.#takeLogs(message.logs);
        break;
      case "quit":
        this.#quit();
    }
  }

  /** Told to quit by a signal, of which the master knows nothing: it finishes under the cycle it has, and accepts no more. */
  #passOver(message: ToChild): void {
    for (const fd of new Set(descriptorsOf(message))) closeSync(fd);
    if (message.type === "cycle") this.#post({ type: "ready", generation: message.data.generation });
  }

  async #cycle(message: CycleMessage): Promise<void> {
    const { generation } = message.data;
    const sockets = this.#known(message.sockets);
    this.#shared = message.shared;
    const reload = this.#built !== undefined;
    let errors: readonly string[];
    try {
      this.#takeLogs(message.logs);
      errors = await this.#take(message, sockets);
    } catch (error) {
      errors = [sentence(error)];
    }
    if (errors.length > 0) {
      this.#post({ type: "failed", generation, errors });
      return;
    }
    this.#closeUnusedSockets(sockets);
    if (reload) this.#closeEarlierCycles();
    this.#post({ type: "ready", generation });
  }

  async #take({ data, zones, count }: CycleMessage, sockets: Sockets): Promise<readonly string[]> {
    const built = await buildCycle(this.#program, { ...data, zones: this.#mapped(zones) });
    const log = openMainLog(built.cycle);
    logFaultsTo(log);
    reportLogFailures((text) => log.write("alert", text));
    if (this.#built === undefined) {
      this.#task.init(built, log);
      await this.#prepareEngine(log, built);
      giveStartupMemoryBack({ thoroughly: this.#role.kind === "checker" });
    }
    const errors = await this.#task.take(built, count, sockets);
    this.#built = built;
    this.#log = log;
    this.#task.retirePrevious();
    endStart();
    return errors;
  }

  /** Before the first connection. The engine, and what it lacks, is the same in all children: the first worker logs it. */
  async #prepareEngine(log: ErrorLog, { cycle }: BuiltCycle): Promise<void> {
    const said = await startEngine(eventsOf(cycle.root).use);
    if (this.#role.kind === "checker" || this.#role.index > 0) return;
    for (const line of said) log.write("notice", line);
  }

  /** The zones of a cycle; those of the cycle before are mapped already. */
  #mapped(zones: SentZones): ZoneHandles {
    const mapped = new Map<string, ZoneHandle>();
    const handles: Record<string, ZoneHandle> = {};
    for (const [key, { fd, ...description }] of Object.entries(zones)) {
      const inode = inodeOf(fd);
      const known = this.#zones.get(inode);
      if (known === undefined) handles[key] = receiveZone(description, fd);
      else {
        handles[key] = { ...description, memory: known.memory };
        libc().close(fd);
      }
      mapped.set(inode, handles[key]);
    }
    this.#zones = mapped;
    return handles;
  }

  /** The same sockets, by the descriptors that they had before where they were received before. */
  #known(sockets: Sockets): Sockets {
    const known = new Map(this.#sockets);
    const fds = new Map<number, number>();
    for (const fd of new Set(Object.values(sockets).flat())) {
      const inode = inodeOf(fd);
      const before = known.get(inode);
      if (before === undefined) known.set(inode, fd);
      else closeSync(fd);
      fds.set(fd, before ?? fd);
    }
    this.#sockets = known;
    return Object.fromEntries(Object.entries(sockets).map(([key, all]) => [key, all.map((fd) => fds.get(fd) ?? fd)]));
  }

  #closeUnusedSockets(sockets: Sockets): void {
    const used = new Set(Object.values(sockets).flat());
    for (const fd of this.#sockets.values()) if (!used.has(fd)) closeSync(fd);
    this.#sockets = new Map([...this.#sockets].filter(([, fd]) => used.has(fd)));
  }

  #quit(): void {
    if (this.#quitting) return;
    this.#quitting = true;
    setTitle(`${this.#role.kind} process is shutting down`);
    this.#task.quit(
      () => {
        this.#closeUnusedSockets({});
        this.#post({ type: "closed" });
      },
      () => this.#exit(),
    );
  }

  #exit(): void {
    this.#task.stop();
    // A socket that was just closed sends its FIN or RST in the next turn of the loop.
    setImmediate(() => this.#flushAndExit(0));
  }

  #flushAndExit(code: number): void {
    flushLogFiles();
    exit(code);
  }

  #takeLogs({ files, standardError }: Logs): void {
    this.#logs.take(files);
    if (standardError === undefined) return;
    libc().dup2(standardError, 2);
    libc().close(standardError);
  }

  /** Once none of them has requests to finish any more. */
  #closeEarlierCycles(): void {
    if (this.#built === undefined || this.#task.retiring) return;
    // The master has opened all that the configuration names.
    closeLogFilesExcept(new Set(this.#logs.files.keys()));
    this.#logs.release();
    giveReloadMemoryBack();
  }
}

function inodeOf(fd: number): string {
  const { dev, ino } = fstatSync(fd);
  return `${dev}:${ino}`;
}
