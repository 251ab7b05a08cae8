import fs from "node:fs";
import { osPath } from "../../sys/paths.ts";
import { loopTurn } from "./loop_turn.ts";
import { knownFile, type OpenFileCaching } from "./open_file_cache.ts";
import type { FileHead } from "./served_file.ts";

/**
 * A cache of small files. Each use asks the system whether the file has changed (one stat() in place of open, fstat,
 * read and close), so nothing stale is ever sent; requests in one turn of the event loop share the answer.
 */

/** A file in memory. */
export interface SmallFile extends FileHead {
  readonly path: string;
  /** A byte string. */
  readonly body: string;
  readonly ino: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  /** The turn of the event loop in which it was last checked. */
  turn: number;
}

/** Files longer than this are never kept. */
export const SMALL = 16 * 1024;
/** How many bytes are kept at most. */
const MOST = 8 * 1024 * 1024;
/** A file changed more recently than this may change again without new times: file systems have coarse clocks. */
const SETTLED_MS = 2000;
/** Estimated memory of an entry besides its body. */
const OVERHEAD = 512;

const files = new Map<string, SmallFile>();
let bytes = 0;

const NO_THROW = { throwIfNoEntry: false } as const;

/** The file if it is in memory and has not changed, as far as `caching` wants that to be known. */
export function smallFile(path: string, caching: OpenFileCaching | undefined): SmallFile | undefined {
  const file = files.get(path);
  if (file === undefined) return undefined;
  const turn = loopTurn();
  if (file.turn === turn) return file;
  const known = caching === undefined ? undefined : knownFile(caching, path)?.stats;
  if (known !== undefined && isSame(file, known)) return file;
  const stats = statOf(file);
  if (stats === undefined || !isSame(file, stats)) {
    drop(file);
    return undefined;
  }
  caching?.files.keep(path, stats, undefined, caching.files.find(path)?.fd ?? -1);
  file.turn = turn;
  return file;
}

function statOf({ path }: SmallFile): fs.Stats | undefined {
  try {
    return fs.statSync(osPath(path), NO_THROW);
  } catch {
    return undefined;
  }
}

function isSame(file: SmallFile, { ino, size, mtimeMs, ctimeMs }: fs.Stats): boolean {
  return ino === file.ino && size === file.body.length && mtimeMs === file.mtimeMs && ctimeMs === file.ctimeMs;
}

/**
 * Keeps a file that was just read, unless it changed too recently to notice the next change. `stats` were taken before
 * it was read.
 */
export function keepSmallFile(path: string, body: string, stats: fs.Stats, head: FileHead): void {
  const { ino, mtimeMs, ctimeMs } = stats;
  const newest = Math.max(mtimeMs, ctimeMs);
  if (Date.now() - newest < SETTLED_MS || body.length > SMALL) return;
  const known = files.get(path);
  if (known !== undefined) drop(known);
  bytes += body.length + OVERHEAD;
  files.set(path, { path, body, ...head, ino, mtimeMs, ctimeMs, turn: 0 });
  for (const oldest of files.values()) {
    if (bytes <= MOST) break;
    drop(oldest);
  }
}

function drop(file: SmallFile): void {
  if (files.delete(file.path)) bytes -= file.body.length + OVERHEAD;
}
