import { type ChildProcess, fork, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { waitFor } from "./wait.ts";

const MAIN = fileURLToPath(new URL("slow_disk_main.ts", import.meta.url));

/** Why there can be no slow disk here. */
export const NO_SLOW_DISK: string | false =
  process.getuid?.() === 0 && existsSync("/dev/fuse") ? false : "root and /dev/fuse are needed to mount a file system";

/**
 * A file system whose reads wait until they are told to go on; everything else is answered at once. What was read is kept by
 * the kernel, but for files that were made by another process.
 */
export interface SlowDisk {
  /** Where it is mounted. This process must not open a file there but asynchronously. */
  readonly path: string;
  /** How many reads wait. */
  readonly held: number;
  /** Adds a file (a byte string). */
  add(name: string, content: string): Promise<void>;
  /** Cuts a file. */
  truncate(name: string, length: number): Promise<void>;
  /** Reads wait from now on; are answered, those that wait too; or fail with EIO. */
  hold(): Promise<void>;
  serve(): Promise<void>;
  fail(): Promise<void>;
}

/** Skips the test, with the reason, where the system does not allow it. */
export async function slowDisk(t: TestContext): Promise<SlowDisk | undefined> {
  const path = mkdtempSync(join(tmpdir(), "holdfast-slow-"));
  const child = fork(MAIN, [path]);
  let held = 0;
  let done = 0;
  let outcome: string | undefined;
  child.on("message", (message: { held?: number; done?: true; mounted?: true; failed?: string }) => {
    if (message.held !== undefined) held = message.held;
    if (message.done) done++;
    if (message.mounted) outcome = "";
    if (message.failed !== undefined) outcome = message.failed;
  });
  child.on("exit", () => {
    outcome ??= "its process has ended";
  });
  t.after(() => unmount(child, path));
  const failed = await waitFor(() => outcome !== undefined && { outcome }, "the file system");
  if (failed.outcome !== "") {
    t.skip(`a file system cannot be mounted: ${failed.outcome}`);
    return undefined;
  }
  let asked = 0;
  const ask = async (message: Record<string, string | number>): Promise<void> => {
    const number = ++asked;
    child.send(message);
    await waitFor(() => done >= number, "the file system");
  };
  return {
    path,
    get held() {
      return held;
    },
    add: (file, content) => ask({ file, content }),
    truncate: (file, length) => ask({ file, length }),
    hold: () => ask({ mode: "hold" }),
    serve: () => ask({ mode: "serve" }),
    fail: () => ask({ mode: "fail" }),
  };
}

async function unmount(child: ChildProcess, path: string): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    // Without it whoever waits for a file gets an error.
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  }
  spawnSync("umount", ["-l", path]);
  rmdirSync(path);
}
