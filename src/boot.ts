import { fileURLToPath } from "node:url";
import { servesPasswords } from "./http/modules/auth_basic/password_thread.ts";
import { program } from "./program.ts";
import { run } from "./runtime/start.ts";
import { setProgramText } from "./sys/program_text.ts";
import { beginStart } from "./sys/v8_flags.ts";

/**
 * Starts this process's part. `entry`: the module that called, in a folder of Holdfast's home; children start there. `text`: the descriptor of
 * the program's text, where that module has read it from a file.
 */
export function boot(entry: URL, text?: number): void {
  // A thread shares V8's flags with the process that it belongs to.
  if (servesPasswords()) return;
  beginStart();
  setProgramText(text);
  run(program(), entry, fileURLToPath(new URL("../", entry)));
}
