import { fileURLToPath } from "node:url";
import { servesPasswords } from "./http/modules/auth_basic/password_thread.ts";
import { program } from "./program.ts";
import { run } from "./runtime/start.ts";

/** Starts this thread's part. `entry`: the module that called, in a folder of Holdfast's home; the threads start there. */
export function boot(entry: URL): void {
  if (!servesPasswords()) run(program(), entry, fileURLToPath(new URL("../", entry)));
}
