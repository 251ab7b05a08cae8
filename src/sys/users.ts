import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** Whether root started this process: in a child geteuid() later gives the user it has become. */
export const startedAsRoot: boolean = process.geteuid?.() === 0;

/** The user and group of the `user` directive. */
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

/** The third field of that line; `getent` also finds users that are in no file (LDAP and the like). */
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
