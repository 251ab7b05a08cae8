import fs from "node:fs";
import { errnoCode, errnoText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import type { SymlinkRule } from "../core/location.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { FileError, NOT_FOUND, statFile } from "./open_file.ts";

/**
 * The file at a path (a byte string), or undefined. Errors other than a missing file are logged as [crit], as nginx
 * does for `if (-f …)` and `try_files`.
 */
export function testFile(request: Request, path: string): fs.Stats | undefined {
  // As in C, NUL ends the path.
  const end = path.indexOf("\0");
  const name = end < 0 ? path : path.slice(0, end);
  if (name === "") return undefined;
  const { disableSymlinks: rule, openFileCache } = request.location.core;
  if (rule !== undefined || openFileCache !== undefined) return statKnown(request, name, rule);
  try {
    return fs.statSync(osPath(name), { throwIfNoEntry: false });
  } catch (error) {
    const code = errnoCode(error) ?? "EIO";
    if (code !== "ENAMETOOLONG") logError(request, "crit", `stat() "${name}" failed ${errnoText(code)}`);
    return undefined;
  }
}

/** With `disable_symlinks`, where a file behind a refused link counts as missing, and with `open_file_cache`. */
function statKnown(request: Request, name: string, rule: SymlinkRule | undefined): fs.Stats | undefined {
  try {
    return statFile(request, name, rule);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    const { code, call } = error;
    if (!NOT_FOUND.has(code)) logError(request, "crit", `${call} "${name}" failed ${errnoText(code)}`);
    return undefined;
  }
}
