import { flushCompileCache } from "node:module";
import { libc } from "./libc.ts";

/**
 * Ends this process, once the handlers of "exit" have run. Node's own way then waits for V8's threads to end, and one of
 * them may wait for a garbage collection, which is this thread's to do: then the process would hang for ever, and a
 * graceful shutdown with it. _exit(2) waits for nobody.
 */
export function exit(code: number): never {
  process.emit("exit", code);
  // Node writes it in its own way only.
  flushCompileCache();
  libc()._exit(code);
  throw new Error("_exit() returned");
}
