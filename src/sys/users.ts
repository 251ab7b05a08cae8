import { readFileSync } from "node:fs";
import { childProcess } from "./builtin.ts";

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

/** getgrnam(3): undefined where there is no such group. Of several names the first that there is. */
export function findGroup(...names: readonly string[]): number | undefined {
  return find("group", ...names);
}

/**
 * The third field of that line; `getent` also finds users that are in no file (LDAP and the like), but takes 50 ms: it is asked
 * when no name is in the file.
 */
function find(database: "passwd" | "group", ...names: readonly string[]): number | undefined {
  const known = names.filter((name) => name !== "" && !/[:\n]/.test(name));
  if (known.length === 0) return undefined;
  const line =
    firstOf(known, () => readFileSync(`/etc/${database}`, "latin1")) ??
    firstOf(known, (name) =>
      childProcess().execFileSync("getent", [database, name], {
        encoding: "latin1",
        stdio: ["ignore", "pipe", "ignore"],
      }),
    );
  const id = Number(line?.split(":")[2] ?? Number.NaN);
  return Number.isInteger(id) ? id : undefined;
}

function firstOf(names: readonly string[], read: (name: string) => string): string | undefined {
  for (const name of names) {
    try {
      const found = read(name)
        .split("\n")
        .find((line) => line.startsWith(`${name}:`));
      if (found !== undefined) return found;
    } catch {
      // There is no such file, or program, or it does not know the name.
    }
  }
  return undefined;
}
