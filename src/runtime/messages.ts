import type { Sockets } from "./application.ts";
import type { CycleData } from "./cycle.ts";
import type { OpenLogs } from "./log/open_log.ts";

/** What travels between the master and its children: the workers and the checker. */

/** What a child is; its `workerData`. */
export interface ChildRole {
  readonly kind: "worker" | "checker";
  /** Workers count from 0. */
  readonly index: number;
  /** Its slot in shared memory. A worker that is shutting down and its successor have one index but different slots. */
  readonly slot: number;
  /** For `startedAsRoot` (sys/users.ts): a child cannot tell by itself. */
  readonly startedAsRoot: boolean;
}

/** The log files in force. The version counts up each time one of them is replaced or removed. */
export interface SharedLogs {
  readonly version: number;
  readonly files: OpenLogs;
}

export type ToChild =
  | {
      readonly type: "cycle";
      readonly data: CycleData;
      readonly count: number;
      readonly sockets: Sockets;
      readonly logs: SharedLogs;
    }
  /** Another worker has started or exited, which changes what this one accepts from. */
  | { readonly type: "sockets"; readonly sockets: Sockets }
  | { readonly type: "reopen"; readonly logs: SharedLogs }
  /** Graceful shutdown. */
  | { readonly type: "quit" }
  /** Fast shutdown. */
  | { readonly type: "stop" };

export type FromChild =
  /** That cycle is in force here. */
  | { readonly type: "ready"; readonly generation: number }
  /** It could not be put in force; messages for the log. */
  | { readonly type: "failed"; readonly generation: number; readonly errors: readonly string[] }
  /** No log file older than that version is in use here. */
  | { readonly type: "logs"; readonly version: number }
  /** After "quit": it accepts no more. */
  | { readonly type: "closed" };
