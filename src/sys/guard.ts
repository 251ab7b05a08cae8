import { sourceStack } from "./source_stack.ts";
import { writeWhole } from "./write.ts";

/**
 * The boundary of an event. Whatever calls code on the request path (a stream's event, a deadline, a deferred call)
 * catches what that throws and hands it to `contain`: the one piece of work ends, the thread goes on.
 */

/** Who an event belongs to, when it can end what it was at work on. */
export interface FaultOwner {
  /** An exception left one of its callbacks. It logs that, and ends: nothing it holds stays behind. */
  onFault(error: unknown): void;
}

/** What is needed of an error log here. */
export interface FaultLog {
  write(level: "alert", message: string): void;
}

let log: FaultLog | undefined;

/** Where exceptions are logged that belong to no request: the thread's main error log. Until then, standard error. */
export function logFaultsTo(errorLog: FaultLog): void {
  log = errorLog;
}

/** Ends what `owner` was at work on. False where it is no FaultOwner: the exception was logged, and that is all. */
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

/** [alert] with the stack. `during` says what for, as the error log says it: " while …". */
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

/** Calls `run(owner)`; an exception ends the owner's work. */
export function guarded<T>(run: (owner: T) => void, owner: T): void {
  try {
    run(owner);
  } catch (error) {
    contain(owner, error);
  }
}

/** A callback for what others call (a timer, an answer awaited): an exception in it ends the owner's work. */
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

/** Calls `run(owner)` in the next turn of the loop, after I/O that is ready. */
export function defer<T>(run: (owner: T) => void, owner: T): NodeJS.Immediate {
  return setImmediate(guarded<T>, run, owner);
}

/** Calls `run(owner)` when the event at hand is over, before the next one. */
export function afterEvent<T>(run: (owner: T) => void, owner: T): void {
  process.nextTick(guarded<T>, run, owner);
}
