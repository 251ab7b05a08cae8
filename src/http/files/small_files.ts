import fs from "node:fs";
import { defer } from "../../sys/guard.ts";
import { osPath } from "../../sys/paths.ts";
import type { HeadText } from "../../wire/head_text.ts";

/**
 * Small files as they were last read. Each use asks the system whether the file is still the same (one stat() in place
 * of open, fstat, read and close), so nothing stale is ever sent; requests of one turn of the event loop share the answer.
 */

/** A file this thread has in memory. */
export interface SmallFile {
  readonly path: string;
  /** Its bytes. */
  readonly body: string;
  /** Modification time in seconds since 1970, and its forms in a head. */
  readonly lastModified: number;
  readonly lastModifiedText: HeadText;
  readonly etag: HeadText;
  readonly ino: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  /** The turn of the loop in which it was last seen unchanged. */
  turn: number;
}

/** Longer files are always read anew. */
export const SMALL = 16 * 1024;
/** What one thread keeps at most, in bytes. */
const MOST = 8 * 1024 * 1024;
/** A file changed this short a time ago may change again without its times showing it (file systems tick slowly). */
const SETTLED_MS = 2000;
/** What an entry costs beside its body. */
const OVERHEAD = 512;

const files = new Map<string, SmallFile>();
let bytes = 0;
let turn = 1;
let turnEnds = false;

const NO_THROW = { throwIfNoEntry: false } as const;

function endTurn(): void {
  turnEnds = false;
  turn++;
}

/** The file when it is in memory and still the same. */
export function smallFile(path: string): SmallFile | undefined {
  const file = files.get(path);
  if (file === undefined || file.turn === turn) return file;
  if (!isSame(file)) {
    drop(file);
    return undefined;
  }
  file.turn = turn;
  if (!turnEnds) {
    turnEnds = true;
    defer(endTurn, undefined);
  }
  return file;
}

function isSame(file: SmallFile): boolean {
  try {
    const stats = fs.statSync(osPath(file.path), NO_THROW);
    return (
      stats !== undefined &&
      stats.ino === file.ino &&
      stats.size === file.body.length &&
      stats.mtimeMs === file.mtimeMs &&
      stats.ctimeMs === file.ctimeMs
    );
  } catch {
    return false;
  }
}

/** Keeps a file that was just read, if its times can be trusted to show the next change. `stats` are from before reading. */
export function keepSmallFile(
  path: string,
  body: string,
  stats: fs.Stats,
  head: Pick<SmallFile, "lastModified" | "lastModifiedText" | "etag">,
): void {
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
