import type { Directives, Scope, Specs } from "../config/schema.ts";
import type { Address } from "../net/address.ts";
import type { Sliced } from "../sys/sliced.ts";
import type { Command, CommandRequest } from "./control/protocol.ts";
import type { Cycle } from "./cycle.ts";

/**
 * What the layers above give the runtime to run, assembled in src/program.ts: directives, and what is built from a
 * configuration. The runtime itself knows nothing of HTTP.
 */
export interface Program {
  /** Whether listeners can do TLS: -V then says so. */
  readonly tls?: boolean;
  /** Every table of directives but those of the main and events blocks, which are the runtime's own. */
  readonly directives: readonly Directives<Specs>[];
  /** `--with-…`/`--without-…` that -V prints. */
  readonly configureArguments: readonly string[];
  /** Host names to resolve before `build` (upstream servers, proxy_pass, listen). */
  hosts(root: Scope): readonly HostWanted[];
  /** What `holdfast NAME …` does beside nginx's options. */
  readonly tools?: readonly Tool[];
  /** Builds the application of a cycle: in the master, in every child while it serves, and for -t. Throws ConfigError. */
  build(cycle: Cycle): Sliced<Application>;
}

/** A command at the terminal, which asks at the control socket of the master that runs with a configuration. */
export interface Tool {
  readonly name: string;
  /** What follows the name, and what that does, for -?. */
  readonly usage: readonly (readonly [words: string, doc: string])[];
  /** Reads the words behind the name. Returns the sentence of what is wrong with them. */
  parse(words: readonly string[]): ToolRequest | string;
}

export interface ToolRequest {
  readonly request: CommandRequest;
  /** What is printed of a line of the answer: a byte string, which may have further lines. */
  readonly show: (line: CommandRequest) => string;
  /** Printed first. */
  readonly heading?: string;
  /** What is printed is pieces of one text, which has its line feeds. */
  readonly unbroken?: boolean;
  /** What the master is told, as with -s, when the answer has come. */
  readonly signal?: "quit";
}

export interface HostWanted {
  readonly host: string;
  readonly file: string;
  readonly line: number;
  /** The whole error message if it cannot be resolved, e.g. `host not found in upstream "x:80"`. */
  readonly error: string;
  /** nginx looks it up only once the whole http block has been read. */
  readonly stage?: "complete";
}

/** What was built from one configuration, ready to serve. */
export interface Application {
  readonly listeners: readonly ListenSpec[];
  /** Log files to open before the pid file is written (a failure is an [emerg] at the start and on reload). */
  readonly logFiles: readonly string[];
  /** Directories that the master makes while it has root's privileges (client_body_temp_path, proxy_temp_path …). */
  readonly directories: readonly string[];
  /** In a worker: serves from now on. `previous` served the cycle before in the same worker; its listeners are taken over. */
  serve(worker: WorkerContext, previous: WorkerService | undefined): WorkerService;
  /** In the checker: checks from now on. `previous` did for the cycle before. */
  check(previous: CheckerService | undefined): CheckerService;
  /** In the checker: what is answered at the control socket, by the name of the command. */
  readonly commands?: ReadonlyMap<string, Command>;
  /**
   * In the master, before a child serves, at a reload too: what must be done once and by nobody else. Returns warnings; throws what
   * refuses the configuration.
   */
  prepare?(doors: Doors): readonly string[];
  /** In the master, before it reads a configuration anew, which may take seconds. */
  reading?(): void;
  /** With `-t`: throws what a start would report later, and serve all the same. */
  test?(): void;
  /**
   * In the master that is told to end gracefully, before it closes a socket or tells a child, unless another master goes on serving:
   * resolves when clients find another machine.
   */
  announce?(): Promise<void>;
  /** The same where it is told to end at once. */
  giveUp?(): void;
  /** In the master that exits, when all children have ended. */
  leave?(shared: boolean): void;
  /** In the master: the worker with that slot in shared memory has exited, whatever the cause. */
  forget?(slot: number): void;
}

/** The listening sockets, as far as new connections go. */
export interface Doors {
  /** Lets new connections to these addresses wait outside: the kernel takes their first packet for lost. `undefined`: to all. */
  hold(hosts: readonly string[] | undefined): void;
  /** They may come in. */
  open(): void;
}

/** A socket to listen on. */
export interface ListenSpec {
  readonly address: Address;
  /** nginx's text of the address, by which a reload finds a socket that it has already. */
  readonly key: string;
  readonly backlog: number;
  readonly ipv6only: boolean | undefined;
  readonly reuseport: boolean;
  /** so_keepalive: undefined leaves the system's default. */
  readonly keepalive: boolean | { idle?: number; interval?: number; count?: number } | undefined;
  readonly deferred: boolean;
  /** SO_RCVBUF and SO_SNDBUF in bytes, TCP_FASTOPEN's queue; undefined leaves the system's. */
  readonly rcvbuf?: number | undefined;
  readonly sndbuf?: number | undefined;
  readonly fastopen?: number | undefined;
}

/** Listening descriptors by `ListenSpec.key`. They are the master's: a worker accepts from duplicates of them. */
export type Sockets = Readonly<Record<string, readonly number[]>>;

/** The most workers at a time, including those that are shutting down. */
export const MAX_WORKERS = 256;

export interface WorkerContext {
  readonly index: number;
  /** Its slot in shared memory, below MAX_WORKERS. No other living worker has it, not even one that is shutting down. */
  readonly slot: number;
  readonly count: number;
  /** worker_connections */
  readonly connections: number;
}

/** One cycle's application at work in a worker. */
export interface WorkerService {
  /**
   * Accepts from these sockets and no others. A socket that is not among them any more is first accepted from until its
   * queue is empty. Resolves when that is done, with messages about what failed.
   */
  listen(sockets: Sockets): Promise<readonly string[]>;
  /**
   * Graceful shutdown (SIGQUIT, SIGWINCH): empties the queues, then accepts no more and calls `closed`; closes idle
   * connections, and calls `done` when the last connection has been closed.
   */
  quit(closed: () => void, done: () => void): void;
  /** Closes everything now. */
  stop(): void;
  /** A newer cycle has taken over, and no new connection comes here. Calls `done` when the last request has ended. */
  retire(done: () => void): void;
  /** worker_shutdown_timeout has passed since `retire`: closes the connections that only this cycle still has. */
  expire?(): void;
}

/** One cycle's application at work in the checker. */
export interface CheckerService {
  stop(): void;
}
