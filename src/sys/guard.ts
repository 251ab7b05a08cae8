import { eventLoop } from "./event_loop.ts";
import { sourceStack } from "./source_stack.ts";
import { writeWhole } from "./write.ts";

/**
 * Containment of exceptions. Whatever calls handlers on the request path (stream events, timers, deferred calls) passes
 * an exception to `contain`, which ends the connection or check that it happened in; the worker goes on.
 */

/** The owner of an event handler, if it can clean up after an exception. */
export interface FaultOwner {
  /** One of its handlers threw. It logs the exception, and closes and frees what it holds. */
  onFault(error: unknown): void;
}

/** The part of an error log that is used here. */
export interface FaultLog {
  write(level: "alert", message: string): void;
}

let log: FaultLog | undefined;

/** Sets the log for exceptions that no owner logs: the main error log. Before it is set they go to standard error. */
export function logFaultsTo(errorLog: FaultLog): void {
  log = errorLog;
}

/** Calls `owner.onFault`. If it is no FaultOwner, only logs the exception and returns false. */
export function contain(owner: unknown, error: unknown): boolean {
  try {
    if (isFaultOwner(owner)) {
      owner.onFault(error);
      return true;
    }
    logFault(error);
  } catch (second) {
    logFault(second);
  }
  return false;
}

function isFaultOwner(owner: unknown): owner is FaultOwner {
  return typeof owner === "object" && owner !== null && "onFault" in owner && typeof owner.onFault === "function";
}

/** Logs an [alert] with the stack; `during` is appended, such as " while reading …". */
export function logFault(error: unknown, during = ""): void {
  const message = faultText(error) + during;
  if (log !== undefined) log.write("alert", message);
  else writeWhole(2, Buffer.from(`holdfast: [alert] ${message}\n`, "latin1"));
}

const MOST_FRAMES = 8;

/** `exception: TypeError: … at f (…/src/x.ts:1:2) at …`, on one line. */
export function faultText(error: unknown): string {
  if (!(error instanceof Error)) return `exception: ${String(error)}`;
  const frames = (error.stack ?? "").split("\n").filter((line) => line.startsWith("    at "));
  const places = sourceStack(frames.slice(0, MOST_FRAMES).join("\n")).replaceAll("file://", "");
  return `exception: ${error.name}: ${error.message}${places.replaceAll(/\n? {4}at /g, " at ")}`;
}

/** Calls `run(owner)`, passing an exception to `contain`. */
export function guarded<T>(run: (owner: T) => void, owner: T): void {
  try {
    run(owner);
  } catch (error) {
    contain(owner, error);
  }
}

/** Wraps a callback (of a timer, a Node API) so that an exception in it goes to `contain`. */
export function boundary<A extends readonly unknown[]>(
  owner: unknown,
  callback: (...args: A) => void,
): (...args: A) => void {
  return (...args) => {
    try {
      callback(...args);
    } catch (error) {
      contain(owner, error);
    }
  };
}

/** Calls `run(owner)` in the next turn of the loop, after the I/O that is ready. */
export function defer<T>(run: (owner: T) => void, owner: T): void {
  eventLoop().defer(guarded<T>, run, owner);
}

/** Calls `run(owner)` after the current event, before the next one. */
export function afterEvent<T>(run: (owner: T) => void, owner: T): void {
  eventLoop().afterEvent(guarded<T>, run, owner);
}
