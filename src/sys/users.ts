import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { isMainThread, workerData } from "node:worker_threads";

/**
 * Whether root started this process. Whoever asks for its user asks this: by the time of a reload, or of a thread's start,
 * the process has become another.
 */
export const startedAsRoot: boolean = isMainThread ? process.geteuid?.() === 0 : workerData?.startedAsRoot === true;

/** A user and group by number, as `user` names them. */
export interface Identity {
  readonly user: string;
  readonly uid: number;
  readonly gid: number;
}

/** getpwnam(3): undefined where there is no such user. */
export function findUser(name: string): number | undefined {
  return find("passwd", name);
}

/** getgrnam(3): undefined where there is no such group. */
export function findGroup(name: string): number | undefined {
  return find("group", name);
}

/** The third field of a line of that database; `getent` knows the users that are in no file (LDAP and the like). */
function find(database: "passwd" | "group", name: string): number | undefined {
  if (name === "" || /[:\n]/.test(name)) return undefined;
  const line =
    lineOf(() => readFileSync(`/etc/${database}`, "latin1"), name) ??
    lineOf(
      () => execFileSync("getent", [database, name], { encoding: "latin1", stdio: ["ignore", "pipe", "ignore"] }),
      name,
    );
  const id = Number(line?.split(":")[2] ?? Number.NaN);
  return Number.isInteger(id) ? id : undefined;
}

function lineOf(read: () => string, name: string): string | undefined {
  try {
    return read()
      .split("\n")
      .find((line) => line.startsWith(`${name}:`));
  } catch {
    return undefined;
  }
}
