import { readFileSync } from "node:fs";
import { type FileVersion, fileVersion, isSameVersion } from "../../sys/file_version.ts";
import { osPath } from "../../sys/paths.ts";
import type { CycleData } from "../cycle.ts";

/** Of what was read, which version of its file it is. */
const versions = new WeakMap<Uint8Array, FileVersion>();

/**
 * Reads a file that is part of the configuration. One that has not changed since the previous cycle is not read again
 * (ssl_object_cache_inheritable). Throws as node:fs does.
 */
export function readConfigurationFile(path: string, previous: CycleData["files"] | undefined): Uint8Array {
  const version = fileVersion(path);
  const known = previous?.get(path);
  if (known !== undefined && version !== undefined && isSameVersion(versions.get(known), version)) return known;
  const bytes = readFileSync(osPath(path));
  if (version !== undefined) versions.set(bytes, version);
  return bytes;
}
