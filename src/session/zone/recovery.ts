import fs from "node:fs";
import { errnoCode, errorText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import type { Records } from "./records.ts";

/**
 * After a power failure. A database that is not written to the disk in order may then hold anything, and reading it may kill the
 * process. So the master notes in the zone's directory under which start of the system it is used, and that all has ended well; where
 * the system went down in between, the last snapshot takes the database's place.
 */

/** Changes with each start of the system. */
const BOOT_ID = "/proc/sys/kernel/random/boot_id";
const NOTE = "state";
const DATABASE = "data.mdb";
const SNAPSHOT = "snapshot.mdb";
const CLEAN = "clean";

/** Before a process of this master uses the zone. Returns what is to be said of it; throws a sentence. */
export function prepareZone(directory: string): string | undefined {
  const boot = bootId();
  const [before, ended] = (read(`${directory}/${NOTE}`) ?? "").trim().split(" ");
  const trusted = before === "" || before === boot || ended === CLEAN;
  const restored = trusted ? undefined : restore(directory);
  write(`${directory}/${NOTE}`, `${boot} ${process.pid}\n`);
  return restored;
}

/** When no process of this master uses the zone any more. */
export function leaveZone(directory: string): void {
  const boot = bootId();
  // Not if another master has taken over.
  if (read(`${directory}/${NOTE}`) === `${boot} ${process.pid}\n`) write(`${directory}/${NOTE}`, `${boot} ${CLEAN}\n`);
}

/** Writes a snapshot of the zone, beside the event loop. Throws what node:fs and LMDB do. */
export async function takeSnapshot(directory: string, records: Records): Promise<void> {
  const { mkdir, open, rename, rm } = fs.promises;
  const work = `${directory}/${SNAPSHOT}.new`;
  await rm(osPath(work), { recursive: true, force: true });
  await mkdir(osPath(work), { mode: 0o700 });
  await records.copyTo(Buffer.from(work, "latin1").toString("utf8"));
  const file = await open(osPath(`${work}/${DATABASE}`), "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(osPath(`${work}/${DATABASE}`), osPath(`${directory}/${SNAPSHOT}`));
  await rm(osPath(work), { recursive: true, force: true });
}

function restore(directory: string): string {
  const went = `the system went down while "${directory}" was in use, and what it had not written in order is lost`;
  move(`${directory}/${DATABASE}`, `${directory}/${DATABASE}.old`);
  move(`${directory}/lock.mdb`, `${directory}/lock.mdb.old`);
  if (!move(`${directory}/${SNAPSHOT}`, `${directory}/${DATABASE}`)) return `${went}: the zone begins empty`;
  return `${went}: the zone goes on from its last snapshot`;
}

function bootId(): string {
  return fs.readFileSync(BOOT_ID, "latin1").trim();
}

function read(path: string): string | undefined {
  try {
    return fs.readFileSync(osPath(path), "latin1");
  } catch {
    return undefined;
  }
}

function write(path: string, text: string): void {
  try {
    fs.writeFileSync(osPath(path), text, { mode: 0o644 });
  } catch (error) {
    throw new Error(`open() "${path}" failed (${errorText(errnoCode(error) ?? "EIO")})`);
  }
}

/** False where there is no such file. */
function move(from: string, to: string): boolean {
  try {
    fs.renameSync(osPath(from), osPath(to));
    return true;
  } catch (error) {
    const code = errnoCode(error) ?? "EIO";
    if (code === "ENOENT") return false;
    throw new Error(`rename() "${from}" to "${to}" failed (${errorText(code)})`);
  }
}
