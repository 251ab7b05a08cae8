import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** Whether root started this process, which by now may be another user. (In a thread: who it was when that started.) */
export const startedAsRoot: boolean = process.geteuid?.() === 0;

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
