import type { ChildProcess } from "node:child_process";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import { serialize } from "node:v8";
import { childProcess } from "../../sys/builtin.ts";
import { descriptorSocket, sendDescriptors } from "../../sys/descriptor_passing.ts";
import { boundary } from "../../sys/guard.ts";
import { childEnvironment } from "../../sys/launch.ts";
import { libc } from "../../sys/libc.ts";
import { programText } from "../../sys/program_text.ts";
import { startTimer } from "../../sys/timers.ts";
import { Channel } from "../channel.ts";
import { type ChildRole, descriptorsOf, MOST_FROM_CHILD, nameOf, type ToChild } from "../messages.ts";
import { heapFlags } from "./heap.ts";

/** They make a child exit. */
const EXIT_SIGNALS: readonly NodeJS.Signals[] = ["SIGTERM", "SIGINT", "SIGQUIT"];
/** A child that has closed its channel cannot be told anything: it fails if it has not exited this long after. */
const CLOSED_MS = 5000;

export interface SpawnOptions {
  /** The module that a child runs. */
  readonly entry: URL;
  /** The variables that a child sees. */
  readonly env: () => NodeJS.ProcessEnv;
  /** Its standard error; by default the master's. */
  readonly standardError?: () => number | undefined;
}

/** What becomes of a spawned process. Nothing more comes after `exited`. */
export interface SpawnedOwner {
  /** Whether it has answered before: it has handlers for signals by then. */
  readonly answering: boolean;
  /** The bytes are lent for the call. */
  message(bytes: Buffer): void;
  /** It does what no child does. */
  failed(why: string): void;
  /**
   * `code` 0 also where a signal told it to exit before it had a handler; undefined where another signal has ended it, or
   * it could not be started.
   */
  exited(how: string, code: number | undefined): void;
}

/** One system process: what messages go over, and what descriptors are passed over beside them. */
export class Spawned {
  readonly #child: ChildProcess;
  readonly #channel: Channel;
  /** The master's end of the socket that descriptors are passed over. */
  readonly #socket: number;
  #over = false;

  /** Throws where the system refuses at once: out of processes or memory. */
  constructor(role: ChildRole, options: SpawnOptions, owner: SpawnedOwner) {
    const [mine, theirs] = descriptorSocket();
    this.#socket = mine;
    try {
      this.#child = start(role, options, theirs);
    } catch (error) {
      libc().close(mine);
      throw error;
    } finally {
      libc().close(theirs);
    }
    const [, , , pipe] = this.#child.stdio;
    this.#channel = Channel.of(pipe, {
      most: MOST_FROM_CHILD,
      message: (bytes) => {
        if (!this.#over) owner.message(bytes);
      },
      tooLong: () => owner.failed("sent a message that is too long"),
      closed: () => {
        // It has exited, mostly.
        const look = (): void => {
          if (!this.#over) owner.failed("has closed its channel");
        };
        startTimer(CLOSED_MS, look, { background: true });
      },
    });
    this.#watch(owner);
  }

  #watch(owner: SpawnedOwner): void {
    const { pid } = this;
    this.#child.on(
      "error",
      boundary(undefined, (error: Error) => {
        // spawn() has failed; other errors are of a child that exits.
        if (pid !== undefined) return;
        this.#end();
        owner.exited(`could not be started: ${error.message}`, undefined);
      }),
    );
    this.#child.on(
      "exit",
      boundary(undefined, (code: number | null, signal: NodeJS.Signals | null) => {
        const how = signal === null ? `with code ${code}` : `on signal ${constants.signals[signal]}`;
        // One that comes before the child has a handler ends it as well, but not in its own way.
        const heeded = signal !== null && !owner.answering && EXIT_SIGNALS.includes(signal);
        this.#end();
        owner.exited(`exited ${how}`, heeded ? 0 : (code ?? undefined));
      }),
    );
  }

  /** undefined where it could not be started, which the owner is told. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Nothing is sent to one that is over, or has closed its channel. Returns the errno name of a failure. */
  send(message: ToChild): string | undefined {
    if (!this.#channel.isOpen) return undefined;
    const failed = sendDescriptors(this.#socket, descriptorsOf(message));
    if (failed === undefined) this.#channel.send(serialize(message));
    return failed;
  }

  closeChannel(): void {
    this.#channel.close();
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  #end(): void {
    this.#over = true;
    this.#channel.close();
    libc().close(this.#socket);
  }
}

/** Descriptor 3 of the child is the channel, 4 what descriptors are passed over (runtime/child.ts), 5 the program's text. */
function start(role: ChildRole, { entry, env, standardError }: SpawnOptions, descriptors: number): ChildProcess {
  const name = nameOf(role);
  // The name is what ps shows until the child has set its title.
  return childProcess().spawn(process.execPath, [...heapFlags(role), fileURLToPath(entry), name], {
    argv0: `holdfast: ${name}`,
    env: childEnvironment(JSON.stringify(role), env()),
    stdio: ["inherit", "inherit", standardError?.() ?? "inherit", "pipe", descriptors, programText() ?? "ignore"],
  });
}
