import { chmodSync, chownSync, mkdirSync, statSync } from "node:fs";
import { errnoCode, errnoText } from "../sys/errno.ts";
import { osPath } from "../sys/paths.ts";
import type { Identity } from "../sys/users.ts";
import { errorLogFiles, type Generation } from "./generation.ts";
import { chownFailed, closeLogs, type OpenLogs, openLogFor } from "./log/open_log.ts";

/**
 * What a generation needs on disk before it can serve: directories are made and log files opened, to be that user's who
 * the process becomes. Answers the descriptors of the logs. Throws the sentence of the first failure.
 */
export function prepareFiles(generation: Generation, identity: Identity | undefined): OpenLogs {
  for (const directory of generation.application.directories) makeDirectory(directory, identity);
  const files = new Map<string, number>();
  try {
    for (const path of [...errorLogFiles(generation), ...generation.application.logFiles]) {
      if (!files.has(path)) files.set(path, openLogFor(path, identity));
    }
    return files;
  } catch (error) {
    closeLogs(files);
    throw error;
  }
}

/** nginx makes the last part of the path only, for its own user alone. */
function makeDirectory(path: string, identity: Identity | undefined): void {
  const name = osPath(path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path);
  try {
    mkdirSync(name, 0o700);
  } catch (error) {
    const code = errnoCode(error) ?? "EIO";
    if (code !== "EEXIST") throw new Error(`mkdir() "${path}" failed ${errnoText(code)}`);
  }
  if (identity === undefined) return;
  try {
    const { uid, mode } = statSync(name);
    if (uid !== identity.uid) chownSync(name, identity.uid, -1);
    if ((mode & 0o700) !== 0o700) chmodSync(name, mode | 0o700);
  } catch (error) {
    chownFailed(path, identity, error);
  }
}
