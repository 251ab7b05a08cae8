/** A process that opens a zone's environment, and commits when it is told; or that dies, or stays, at a moment when others wait for it. */
import { existsSync, writeFileSync } from "node:fs";
import process from "node:process";
import { CommitLock } from "../../src/session/zone/commit_lock.ts";
import { openEnvironment } from "../../src/session/zone/environment.ts";
import { given, say } from "../support/sharing.ts";

export interface Task {
  readonly directory: string;
  /** "opening" is what it does until there is a file `go`; then it makes one `done`. */
  readonly what?: "opening" | "dies opening" | "dies committing";
}

const { directory, what } = given<Task>().task;
const die = (): void => {
  process.kill(process.pid, "SIGKILL");
};
const ear = new Int32Array(new SharedArrayBuffer(4));

if (what === "dies opening") new CommitLock(directory).opening(die);
else if (what === "dies committing") new CommitLock(directory).committing(die);
else if (what === "opening") {
  new CommitLock(directory).opening(() => {
    say("opening");
    while (!existsSync(`${directory}/go`)) Atomics.wait(ear, 0, 0, 5);
    writeFileSync(`${directory}/done`, "");
  });
} else {
  const { commits, lock } = openEnvironment(directory, 1 << 20, false);
  process.on("message", () => {
    say("begins");
    lock.committing(() => say({ after: existsSync(`${directory}/done`) }));
  });
  say({ opened: commits.last });
}
