import fs from "node:fs";
import { errnoCode } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";

/**
 * Removes the temporary files of processes that have died: each process has a directory of its own in there, named by its id.
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
    if (!/^[0-9]+$/.test(name) || isAlive(Number(name))) continue;
    await fs.promises.rm(osPath(`${directory}/${name}`), { recursive: true, force: true }).catch(() => undefined);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoCode(error) !== "ESRCH";
  }
}
