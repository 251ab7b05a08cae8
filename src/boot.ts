import { fileURLToPath } from "node:url";
import { program } from "./program.ts";
import { run } from "./runtime/start.ts";

/** Starts this thread's part. `entry`: the module that called, in a folder of Holdfast's home; the threads start there. */
export function boot(entry: URL): void {
  run(program(), entry, fileURLToPath(new URL("../", entry)));
}
