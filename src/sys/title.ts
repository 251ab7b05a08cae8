import { writeFileSync } from "node:fs";

/** What ps shows of this process: `holdfast: ` and that text as its command, cut to the room that there is. */
export function setTitle(text: string): void {
  process.title = `holdfast: ${text}`;
  try {
    // The title sets the process's name as well, of which the system keeps 15 bytes; killall and pgrep go by it.
    writeFileSync("/proc/self/comm", "holdfast");
  } catch {
    // No /proc: the name is the title's beginning.
  }
}
