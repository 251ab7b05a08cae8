import type { ZoneHandles } from "../shm/registry.ts";
import type { ZoneDescription } from "../shm/zone.ts";
import type { Sockets } from "./application.ts";
import type { CycleData } from "./cycle.ts";
import type { OpenLogs } from "./log/open_log.ts";

/** What travels between the master and its children: the workers and the checker. */

/** What a child is. */
export interface ChildRole {
  readonly kind: "worker" | "checker";
  /** Workers count from 0. */
  readonly index: number;
  /** Its slot in shared memory. A worker that is shutting down and its successor have one index but different slots. */
  readonly slot: number;
  /** Whether the master runs in the background. */
  readonly daemon: boolean;
}

/** What logs and ps show. */
export function nameOf({ kind }: ChildRole): string {
  return `${kind} process`;
}

/**
 * The log files in force, which the master opens, since its children may not be allowed to. `standardError` replaces
 * descriptor 2 where the process that started the daemon has left.
 */
export interface Logs {
  readonly files: OpenLogs;
  readonly standardError: number | undefined;
}

/** By ZoneHandles' key; `fd` is the descriptor of its memory. */
export type SentZones = Readonly<Record<string, ZoneDescription & { readonly fd: number }>>;

/**
 * Descriptors in a message are the sender's numbers. They are passed before the message, in the order of
 * `descriptorsOf`, and replaced by the receiver's (`withDescriptors`).
 */
export type ToChild =
  | {
      readonly type: "cycle";
      readonly data: Omit<CycleData, "zones">;
      readonly zones: SentZones;
      readonly count: number;
      readonly sockets: Sockets;
      readonly shared: boolean;
      readonly logs: Logs;
    }
  /**
   * Another worker has started or exited, which changes what this one accepts from, or another master has; `shared`:
   * another master has these sockets as well.
   */
  | { readonly type: "sockets"; readonly sockets: Sockets; readonly shared: boolean }
  | { readonly type: "reopen"; readonly logs: Logs }
  /** To be answered at once, by "pong". */
  | { readonly type: "ping" }
  /** Graceful shutdown. */
  | { readonly type: "quit" }
  /** Fast shutdown. */
  | { readonly type: "stop" };

export type FromChild =
  /** That cycle is in force here. */
  | { readonly type: "ready"; readonly generation: number }
  /** It could not be put in force; messages for the log. */
  | { readonly type: "failed"; readonly generation: number; readonly errors: readonly string[] }
  | { readonly type: "pong" }
  /** It has got SIGUSR1, and asks the master to reopen the log files. */
  | { readonly type: "reopen" }
  /** After "quit", or by SIGQUIT: it accepts no more. */
  | { readonly type: "closed" };

/** The most bytes of a child's message, and how much it says of its errors. */
export const MOST_FROM_CHILD = 128 * 1024;
const MOST_ERRORS = 20;
const MOST_ERROR_LENGTH = 1024;

/** A child's message as it travels: text that no reader of it has to trust. */
export function encodeFromChild(message: FromChild): Uint8Array {
  if (message.type !== "failed") return Buffer.from(JSON.stringify(message));
  const errors = message.errors.slice(0, MOST_ERRORS).map((error) => error.slice(0, MOST_ERROR_LENGTH));
  return Buffer.from(JSON.stringify({ ...message, errors }));
}

/** undefined if it is none: the child may have been taken over. */
export function decodeFromChild(bytes: Buffer): FromChild | undefined {
  let message: unknown;
  try {
    message = JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
  if (typeof message !== "object" || message === null || !("type" in message)) return undefined;
  const { type } = message;
  if (type === "pong" || type === "reopen" || type === "closed") return { type };
  if (!("generation" in message) || typeof message.generation !== "number") return undefined;
  const { generation } = message;
  if (type === "ready") return { type, generation };
  if (type !== "failed" || !("errors" in message) || !Array.isArray(message.errors)) return undefined;
  return { type, generation, errors: message.errors.filter((error) => typeof error === "string") };
}

/** The zones of a cycle, to be sent. */
export function sentZones(zones: ZoneHandles): SentZones {
  return Object.fromEntries(
    Object.entries(zones).map(([key, { memory, ...zone }]) => {
      if (!("fd" in memory)) throw new Error(`zone "${zone.name}" is no shared memory`);
      return [key, { ...zone, fd: memory.fd }];
    }),
  );
}

/** The descriptors that a message refers to, each once. Those of standard input, output and error are every child's anyway. */
export function descriptorsOf(message: ToChild): number[] {
  const fds = new Set<number>();
  each(message, (fd) => {
    if (fd > 2) fds.add(fd);
    return fd;
  });
  return [...fds];
}

/** The same message, with the receiver's descriptors. */
export function withDescriptors(message: ToChild, received: ReadonlyMap<number, number>): ToChild {
  return each(message, (fd) => received.get(fd) ?? fd);
}

function each(message: ToChild, change: (fd: number) => number): ToChild {
  switch (message.type) {
    case "cycle":
      return {
        ...message,
        sockets: eachSocket(message.sockets, change),
        logs: eachLog(message.logs, change),
        zones: Object.fromEntries(
          Object.entries(message.zones).map(([key, zone]) => [key, { ...zone, fd: change(zone.fd) }]),
        ),
      };
    case "sockets":
      return { ...message, sockets: eachSocket(message.sockets, change) };
    case "reopen":
      return { ...message, logs: eachLog(message.logs, change) };
    default:
      return message;
  }
}

function eachSocket(sockets: Sockets, change: (fd: number) => number): Sockets {
  return Object.fromEntries(Object.entries(sockets).map(([key, fds]) => [key, fds.map(change)]));
}

function eachLog({ files, standardError }: Logs, change: (fd: number) => number): Logs {
  return {
    files: new Map([...files].map(([path, fd]) => [path, change(fd)])),
    standardError: standardError === undefined ? undefined : change(standardError),
  };
}
