import { spawnSync } from "node:child_process";

/**
 * Whether a program is installed, as the `skip` option of a test: false where it is, the reason where it is not. Under
 * CI=true a missing one throws: there, a test that does not run is a failure.
 *
 *     test("…", { skip: have("nginx") }, async (t) => { … });
 */
export function have(program: string): false | string {
  const path = `${process.env.PATH ?? ""}:/usr/sbin:/sbin:/usr/local/sbin`;
  const found = spawnSync("sh", ["-c", `command -v "$1"`, "sh", program], { env: { ...process.env, PATH: path } });
  if (found.status === 0) return false;
  const reason = `${program} is not installed`;
  if (process.env.CI === "true") throw new Error(reason);
  return reason;
}
