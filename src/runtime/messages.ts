import type { CycleData, Sockets } from "./cycle.ts";
import type { OpenLogs } from "./log/open_log.ts";

/** What a thread is, in its `workerData`. */
export interface ThreadRole {
  readonly kind: "worker" | "watcher";
  /** Workers count from 0. */
  readonly index: number;
  /** Its place in shared memory: no two living workers have the same, where one that leaves and its successor share an index. */
  readonly slot: number;
  readonly count: number;
  /** For `startedAsRoot` (users.ts): the thread cannot tell. */
  readonly startedAsRoot: boolean;
}

/** The log files in force; each time one of them is replaced or goes, the version counts up. */
export interface SharedLogs {
  readonly version: number;
  readonly files: OpenLogs;
}

/** From the supervisor to a thread. */
export type ToThread =
  | {
      readonly type: "cycle";
      readonly data: CycleData;
      readonly count: number;
      readonly sockets: Sockets;
      readonly logs: SharedLogs;
    }
  /** Another worker has come or gone: what this one accepts from has changed. */
  | { readonly type: "sockets"; readonly sockets: Sockets }
  /** Finish what there is, then leave. */
  | { readonly type: "quit" }
  | { readonly type: "stop" }
  | { readonly type: "reopen"; readonly logs: SharedLogs };

/** From a thread to the supervisor. */
export type FromThread =
  | { readonly type: "ready"; readonly generation: number }
  /** It uses no log file that this version has no more. */
  | { readonly type: "logs"; readonly version: number }
  /** It was told to quit, and accepts no more. */
  | { readonly type: "closed" }
  /** It could not take that generation over; sentences for the log. */
  | { readonly type: "failed"; readonly generation: number; readonly errors: readonly string[] };
