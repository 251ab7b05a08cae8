import fs from "node:fs";
import { errorCode, errorText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";

/** The file beside a cache's entries that keeps its pending purges over a restart: JSON, written beside and renamed. */

/** What a purge of many keys goes by. */
export type PurgeKind = "prefix" | "tags";

export interface PurgeRecord {
  readonly kind: PurgeKind;
  /** A prefix of keys; or tags, each between spaces: ` a b `. A byte string. */
  readonly text: string;
  readonly number: number;
  /** Since when it is pending, seconds of the clock that all processes share. */
  readonly since: number;
}

export interface SavedPurges {
  /** The number of the last purge. */
  readonly last: number;
  readonly records: readonly PurgeRecord[];
}

/** With this begin the names of files in the cache's directory that are about purges. */
export const PURGES = ".purges";
export const PURGES_FILE = `${PURGES}.json`;
/** The most that is read of it, bytes: more than it can have. */
const MOST = 4 * 1024 * 1024;

/**
 * What the file has. One that cannot be read or understood counts as a purge of everything: what was purged before must not come
 * back.
 */
export function readPurges(path: string, report: (sentence: string) => void): SavedPurges {
  let text: string;
  try {
    const size = fs.statSync(osPath(path)).size;
    text = size > MOST ? "" : fs.readFileSync(osPath(path), "utf8");
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return { last: 0, records: [] };
    report(`open() "${path}" failed (${errorText(code)}), the whole cache is purged`);
    return everything();
  }
  const saved = parse(text);
  if (saved === undefined) report(`"${path}" has no list of purges, the whole cache is purged`);
  return saved ?? everything();
}

function everything(): SavedPurges {
  const last = Date.now();
  return { last, records: [{ kind: "prefix", text: "", number: last, since: 0 }] };
}

function parse(text: string): SavedPurges | undefined {
  let saved: unknown;
  try {
    saved = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof saved !== "object" || saved === null || !("last" in saved) || !("records" in saved)) return undefined;
  const { last, records } = saved;
  if (typeof last !== "number" || !Array.isArray(records) || !records.every(isRecord)) return undefined;
  return { last, records };
}

function isRecord(value: unknown): value is PurgeRecord {
  if (typeof value !== "object" || value === null) return false;
  const { kind, text, number, since }: Partial<Record<keyof PurgeRecord, unknown>> = value;
  return (
    (kind === "prefix" || kind === "tags") &&
    typeof text === "string" &&
    typeof number === "number" &&
    typeof since === "number"
  );
}

/**
 * Has the disk keep what was written. Until then a loss of power may leave an empty file, which is a purge of everything.
 */
export function syncPurges(path: string, report: (sentence: string) => void): void {
  const directory = path.slice(0, path.lastIndexOf("/"));
  for (const one of [path, directory]) {
    try {
      const fd = fs.openSync(osPath(one), "r");
      try {
        fs.fsyncSync(fd);
      } finally {
        fs.closeSync(fd);
      }
    } catch (error) {
      const code = errorCode(error);
      // It could not be written, which was said; or it cannot be synced, as in some file systems.
      if (code !== "ENOENT" && code !== "EINVAL") report(`fsync() "${one}" failed (${errorText(code)})`);
    }
  }
}

/** Where it fails, purges are in force all the same, but not after a restart. */
export function writePurges(path: string, saved: SavedPurges, report: (sentence: string) => void): void {
  const beside = `${path}.${process.pid}`;
  try {
    fs.writeFileSync(osPath(beside), JSON.stringify(saved), { mode: 0o600 });
    fs.renameSync(osPath(beside), osPath(path));
  } catch (error) {
    const why = errorText(errorCode(error));
    report(`write() "${path}" failed (${why}), purges that are pending will not survive a restart`);
    fs.rmSync(osPath(beside), { force: true });
  }
}
