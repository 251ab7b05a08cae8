import fs from "node:fs";
import { errnoCode } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";

/** A directory of a process that cannot be asked after is removed when nothing was put in it for so long, ms. */
const FOREIGN_MS = 3_600_000;

/**
 * Names this process among all that write to a cache's directory: its id, when it began, and the namespace that its id is of.
 * An id alone is not enough: a container that starts again has the same ones, and several containers may share a directory.
 */
export function processName(): string {
  own ??= `${process.pid}-${beginOf(process.pid) ?? 0}-${namespace()}`;
  return own;
}

let own: string | undefined;

/**
 * Removes the temporary files of processes that have died: each process has a directory of its own in there, with its name.
 * What cannot be removed now is left for the next time.
 */
export async function sweepTemporary(directory: string): Promise<void> {
  let names: string[];
  try {
    names = await fs.promises.readdir(osPath(directory));
  } catch {
    return;
  }
  for (const name of names) {
    const path = `${directory}/${name}`;
    if (await isLeft(path, name))
      await fs.promises.rm(osPath(path), { recursive: true, force: true }).catch(() => undefined);
  }
}

async function isLeft(path: string, name: string): Promise<boolean> {
  const [, pid, began, space] = /^(\d+)(?:-(\d+)-(\d+))?$/.exec(name) ?? [];
  if (pid === undefined) return false;
  if (space === undefined || space === namespace()) return !isAlive(Number(pid), began);
  try {
    return Date.now() - (await fs.promises.stat(osPath(path))).mtimeMs > FOREIGN_MS;
  } catch {
    return false;
  }
}

function isAlive(pid: number, began: string | undefined): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (errnoCode(error) === "ESRCH") return false;
  }
  const begin = beginOf(pid);
  return began === undefined || begin === undefined || began === begin;
}

/** When a process began, clock ticks since the system did (proc(5)); undefined where that cannot be read. */
function beginOf(pid: number): string | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name before it may have spaces and parentheses.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

function namespace(): string {
  try {
    return String(fs.statSync("/proc/self/ns/pid").ino);
  } catch {
    return "0";
  }
}
