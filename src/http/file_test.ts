import fs from "node:fs";
import { errnoCode, errnoText } from "../config/errno.ts";
import { osPath } from "../config/paths.ts";
import { logError } from "./log_context.ts";
import type { Request } from "./request.ts";

/**
 * What is at a path (a byte string), or undefined where nothing is. Other failures than a missing file are logged as
 * [crit], as nginx does for `if (-f …)` and `try_files`.
 */
export function statFile(request: Request, path: string): fs.Stats | undefined {
  // A C string ends there.
  const end = path.indexOf("\0");
  const name = end < 0 ? path : path.slice(0, end);
  if (name === "") return undefined;
  try {
    return fs.statSync(osPath(name), { throwIfNoEntry: false });
  } catch (error) {
    const code = errnoCode(error) ?? "EIO";
    if (code !== "ENAMETOOLONG") logError(request, "crit", `stat() "${name}" failed ${errnoText(code)}`);
    return undefined;
  }
}
