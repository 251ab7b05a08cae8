/** Processes that share zones with a test, as workers share them with each other. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { receiveZone, Zone, type ZoneDescription } from "../../src/shm/zone.ts";
import { libc } from "../../src/sys/libc.ts";
import { NODE_FLAGS } from "./holdfast.ts";

/** The first descriptor of such a process after standard input, output, error and Node's channel. */
const FIRST = 4;
/** <linux/prctl.h> */
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9n;

/**
 * Starts a module as a process that has these zones, and further descriptors after theirs; `given` is how it gets them.
 * It is killed at the end of the test. What it says (`say`) comes as "message".
 */
export function startProcess(
  t: TestContext,
  module: URL,
  { zones = [], task, fds = [] }: { zones?: readonly Zone[]; task?: unknown; fds?: readonly number[] },
): ChildProcess {
  const descriptions: ZoneDescription[] = [];
  const memory = zones.map(({ handle }) => {
    if (!("fd" in handle.memory)) throw new Error(`zone "${handle.name}" is no shared memory`);
    const { kind, name, size, key } = handle;
    descriptions.push({ kind, name, size, key });
    return handle.memory.fd;
  });
  const child = fork(fileURLToPath(module), [JSON.stringify({ descriptions, task })], {
    execArgv: NODE_FLAGS,
    serialization: "advanced",
    stdio: ["ignore", "inherit", "inherit", "ipc", ...memory, ...fds],
  });
  t.after(() => kill(child));
  return child;
}

/** Kills it, and resolves when its process id is nobody's. */
export async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

/** Resolves when it has exited by itself; rejects where that was no success. */
export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  if (child.exitCode !== 0) throw new Error(`a process of the test exited with ${child.exitCode ?? child.signalCode}`);
}

/** In such a process: what it was started with. It ends with whoever started it. To be called once. */
export function given<Task>(): { readonly zones: readonly Zone[]; readonly task: Task } {
  libc().prctl(PR_SET_PDEATHSIG, SIGKILL);
  const { descriptions, task }: { descriptions: readonly ZoneDescription[]; task: Task } = JSON.parse(process.argv[2]);
  return { zones: descriptions.map((zone, i) => new Zone(receiveZone(zone, FIRST + i))), task };
}

/** In such a process: tells the test. */
export function say(message: unknown): void {
  process.send?.(message);
}
