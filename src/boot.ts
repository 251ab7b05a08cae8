import { fileURLToPath } from "node:url";
import { servesPasswords } from "./http/modules/auth_basic/password_thread.ts";
import { program } from "./program.ts";
import { run } from "./runtime/start.ts";
import { beginStart } from "./sys/v8_flags.ts";

/** Starts this process's part. `entry`: the module that called, in a folder of Holdfast's home; children start there. */
export function boot(entry: URL): void {
  // A thread shares V8's flags with the process that it belongs to.
  if (servesPasswords()) return;
  beginStart();
  run(program(), entry, fileURLToPath(new URL("../", entry)));
}
