import type { Directives, Scope, Specs } from "../config/schema.ts";
import type { ConfigTree } from "../config/types.ts";
import type { Address } from "../net/address.ts";
import type { Sliced } from "../sys/sliced.ts";

/**
 * One generation of the configuration ("cycle", as nginx calls it). The supervisor makes it and posts `CycleData` to
 * every thread, which builds the same tree from it.
 */
export interface CycleData {
  readonly generation: number;
  readonly tree: ConfigTree;
  /** `-p` and `-e`/`-g` as resolved absolute values; prefix ends with "/". */
  readonly prefix: string;
  readonly confPrefix: string;
  readonly errorLog: string;
  /** Shared zones by name; kept from generation to generation while name and size stay the same. */
  readonly zones: Readonly<Record<string, SharedArrayBuffer>>;
  /** Names resolved when the configuration was loaded: host → addresses (without port; port 0). */
  readonly hosts: Readonly<Record<string, readonly Address[]>>;
}

export interface Cycle {
  readonly data: CycleData;
  readonly root: Scope;
  /**
   * The shared zone of that name. While the supervisor builds, a missing one is made (zeroed) or kept from the previous
   * generation when its size is the same; in the other threads it is always there.
   */
  zone(
    name: string,
    bytes: number,
    /** Called when the previous generation had this zone in another size: copies its states into the fresh one. */
    previous?: (old: SharedArrayBuffer, fresh: SharedArrayBuffer) => void,
  ): SharedArrayBuffer;
  /** A path relative to the prefix made absolute (`conf`: relative to the configuration file's directory). */
  path(path: string, base?: "prefix" | "conf"): string;
}

/** What a worker hands its listeners on to. */
export interface ListenSpec {
  readonly address: Address;
  /** nginx's text of the address; the key by which a reload finds an unchanged listener. */
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

/**
 * Listening descriptors by the key of their address. They belong to the supervisor: a worker accepts from duplicates of
 * those it is given, and may take part in a socket's queue with others.
 */
export type Sockets = Readonly<Record<string, readonly number[]>>;

/** What the layers above `runtime` give it to run; assembled in main.ts. The runtime knows nothing of HTTP. */
export interface Program {
  /** Whether listeners can do TLS: -V then says so. */
  readonly tls?: boolean;
  /** Every table of directives there is; "main" and "events" ones of the runtime itself are added by it. */
  readonly directives: readonly Directives<Specs>[];
  /** `--with-…`/`--without-…` that -V prints. */
  readonly configureArguments: readonly string[];
  /** Host names that must be resolved before `build` (upstream servers, proxy_pass, listen): each with its place for the error. */
  hosts(root: Scope): readonly HostWanted[];
  /** Builds a generation's runtime tree. Runs in every thread, while it serves, and for -t. Throws ConfigError. */
  build(cycle: Cycle): Sliced<Application>;
}

export interface HostWanted {
  readonly host: string;
  readonly file: string;
  readonly line: number;
  /** The whole error sentence if it cannot be resolved, e.g. `host not found in upstream "x:80"`. */
  readonly error: string;
  /** nginx looks it up only once the whole http block has been read. */
  readonly stage?: "complete";
}

/** A generation's runtime tree, ready to serve. */
export interface Application {
  readonly listeners: readonly ListenSpec[];
  /** Paths of log files to open before the pid file is written (their failure is an [emerg] at start and on reload). */
  readonly logFiles: readonly string[];
  /** Directories the supervisor makes before privileges are dropped (client_body_temp_path, proxy_temp_path …). */
  readonly directories: readonly string[];
  /** Called in a worker. `previous` is the same worker's service of the last generation, whose listeners live on. */
  serve(worker: WorkerContext, previous: WorkerService | undefined): WorkerService;
  /** Called in the supervisor when the worker with that place in shared memory has gone, however it ended. */
  forget?(slot: number): void;
  /** Called in the watcher thread: starts active checks. */
  watch(watcher: WatcherContext, previous: WatcherService | undefined): WatcherService;
}

/** The most workers there may be at once, those that still finish requests included. */
export const MAX_WORKERS = 256;

export interface WorkerContext {
  readonly index: number;
  /** Its place in shared memory (below MAX_WORKERS), which no other living worker has: one that still finishes requests keeps its own. */
  readonly slot: number;
  readonly count: number;
  /** worker_connections */
  readonly connections: number;
}

export interface WatcherContext {
  readonly generation: number;
}

export interface WorkerService {
  /**
   * Accepts from these sockets and no others; from those of an address that is listened on no more, once what waits
   * in their queues has been accepted. Resolves when that is so, with sentences of what failed.
   */
  listen(sockets: Sockets): Promise<readonly string[]>;
  /**
   * Accepts what waits, then no more: `closed`. Closes idle connections; `done` is called when the last connection has
   * gone (SIGQUIT, SIGWINCH).
   */
  drain(closed: () => void, done: () => void): void;
  /** Closes everything now. */
  stop(): void;
  /** A newer generation has taken over: no new connection comes to this one; `done` when its last request has ended. */
  retire(done: () => void): void;
  /** worker_shutdown_timeout has passed since `retire`: closes what this generation alone still has. Never what lives on. */
  expire?(): void;
}

export interface WatcherService {
  stop(): void;
}
