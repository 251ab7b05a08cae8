import fs from "node:fs";
import { enumeration } from "../../../config/directives.ts";
import { errorText } from "../../../sys/errno.ts";
import { osPath } from "../../../sys/paths.ts";
import type { HeadText } from "../../../wire/head_text.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { DECLINED } from "../../core/codes.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { Handler } from "../../core/types.ts";
import { mapUriToPath } from "../../files/file_root.ts";
import { FileError, FORBIDDEN, NOT_FOUND, openFile } from "../../files/open_file.ts";
import { sendKnown, sendOpen } from "../../files/plain_file.ts";
import { smallFile } from "../../files/small_files.ts";

/** Files that stand for others, compressed: `gzip_static` and the like. */

/** A coding that a location has files of. */
export interface FileCoding {
  readonly name: HeadText;
  /** Of the files' names. */
  readonly suffix: string;
  /** Whether the client accepts it or not. */
  readonly always: boolean;
  /** How much the client wants it: 0, not at all, to 1000. */
  readonly quality: (request: Request) => number;
}

/** `gzip_static`, `brotli_static`, `zstd_static` */
export const modeOf = (doc: string) =>
  enumeration({ in: HTTP_LOCATION, values: ["off", "on", "always"], default: "off", doc });

const { S_IFMT, S_IFDIR, S_IFREG } = fs.constants;
const NO_THROW = { throwIfNoEntry: false } as const;

/**
 * Answers with the file in the coding that the client wants most; of several that it wants alike, in the first one, and only
 * then in one that it gets `always`.
 */
export function precompressed(codings: readonly FileCoding[]): Handler | undefined {
  return codings.length === 0 ? undefined : (request) => serve(request, codings);
}

function serve(request: Request, codings: readonly FileCoding[]): number {
  const { method, uri } = request;
  if ((method !== "GET" && method !== "HEAD") || uri.charCodeAt(uri.length - 1) === 0x2f) return DECLINED;
  const { gzipVary } = request.location.core;
  let tried = 0;
  for (let left = codings.length; left > 0; left--) {
    let best = -1;
    let most = -1;
    for (let i = 0; i < codings.length; i++) {
      const quality = (tried & (1 << i)) === 0 ? codings[i].quality(request) : -1;
      if (quality <= most) continue;
      most = quality;
      best = i;
    }
    tried |= 1 << best;
    const coding = codings[best];
    // Whether the file is there decides on Vary.
    if (most === 0 && !coding.always && !gzipVary) continue;
    const code = serveCoded(request, coding, most > 0 || coding.always);
    if (code !== DECLINED) return code;
  }
  return DECLINED;
}

/** `wanted`: else the file is only looked for. */
function serveCoded(request: Request, { name, suffix, always }: FileCoding, wanted: boolean): number {
  const mapped = mapUriToPath(request);
  if (mapped === undefined) return 500;
  const path = mapped.path + suffix;
  const { disableSymlinks: rule, openFileCache } = request.location.core;
  if (rule === undefined) {
    const known = smallFile(path, openFileCache);
    if (known !== undefined) {
      if (!always) request.gzipVary = true;
      return wanted ? sendKnown(request, known, name) : DECLINED;
    }
    if (!mayBeThere(path)) return DECLINED;
  }
  let fd: number;
  try {
    fd = openFile(request, path, rule);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    if (!NOT_FOUND.has(error.code)) {
      const level = FORBIDDEN.has(error.code) ? "error" : "crit";
      logError(request, level, `${error.call} "${path}" failed (${errorText(error.code)})`);
    }
    return DECLINED;
  }
  let sending = false;
  try {
    if (!always) request.gzipVary = true;
    if (!wanted) return DECLINED;
    const stats = fs.fstatSync(fd);
    const kind = stats.mode & S_IFMT;
    if (kind === S_IFDIR) return DECLINED;
    if (kind !== S_IFREG) {
      logError(request, "crit", `"${path}" is not a regular file`);
      return 404;
    }
    sending = true;
    return sendOpen(request, path, fd, stats, name);
  } finally {
    if (!sending) fs.closeSync(fd);
  }
}

/** Most files have no other that stands for them: an exception for each would cost more than to ask. */
function mayBeThere(path: string): boolean {
  try {
    return fs.statSync(osPath(path), NO_THROW) !== undefined;
  } catch {
    return true;
  }
}
