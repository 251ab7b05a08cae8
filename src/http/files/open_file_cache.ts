import fs from "node:fs";
import { fail } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { parseNumber, parseSec } from "../../config/values.ts";
import { now } from "../../sys/clock.ts";
import { startTimer } from "../../sys/timers.ts";

/**
 * `open_file_cache` (ngx_open_file_cache.c): what is known of paths, and files held open. Small files that are in memory
 * (small_files.ts) are asked for there; what is in force here spares them the question whether they have changed.
 */

/** What is known of a path: what stat() said, or why that failed. */
interface KnownFile {
  readonly stats: fs.Stats | undefined;
  readonly error: Error | undefined;
  /** Held open; -1 if it is not. Who sends the file opens it again through this one. */
  readonly fd: number;
  readonly uses: number;
  /** When it was looked at, and when it was asked for last; ms of the monotonic clock. */
  created: number;
  accessed: number;
}

/** A location's settings; times in ms. */
export interface OpenFileCaching {
  readonly files: OpenFileCache;
  readonly valid: number;
  readonly minUses: number;
  readonly errors: boolean;
}

/** How old the order of use may be. */
const ORDER_MS = 1000;

export class OpenFileCache {
  private readonly max: number;
  private readonly inactive: number;
  /** The one that was used longest ago comes first. */
  private readonly known = new Map<string, KnownFile>();
  private sweeping = false;

  constructor(max: number, inactive: number) {
    this.max = max;
    this.inactive = inactive;
  }

  /** What is known of a path, whether or not it is still valid. */
  find(path: string): KnownFile | undefined {
    const file = this.known.get(path);
    if (file === undefined) return undefined;
    const time = now();
    if (time - file.accessed > ORDER_MS) {
      this.known.delete(path);
      this.known.set(path, file);
      file.accessed = time;
    }
    return file;
  }

  /** Keeps what was found out about a path, and owns the descriptor, which may be the one that it has. */
  keep(path: string, stats: fs.Stats | undefined, error: Error | undefined, fd: number): void {
    const old = this.known.get(path);
    if (old !== undefined && old.fd !== fd) close(old);
    this.known.delete(path);
    const time = now();
    this.known.set(path, { stats, error, fd, uses: (old?.uses ?? 0) + 1, created: time, accessed: time });
    for (const oldest of this.known.keys()) {
      if (this.known.size <= this.max) break;
      this.drop(oldest);
    }
    if (!this.sweeping) this.sweepLater();
  }

  drop(path: string): void {
    const file = this.known.get(path);
    if (file === undefined) return;
    this.known.delete(path);
    close(file);
  }

  /** Also ends the cache of a configuration that was replaced: nobody asks it any more. */
  private sweepLater(): void {
    this.sweeping = true;
    const sweep = (): void => {
      this.sweeping = false;
      const limit = now() - this.inactive;
      for (const [path, { accessed }] of this.known) {
        if (accessed > limit) break;
        this.drop(path);
      }
      if (this.known.size > 0) this.sweepLater();
    };
    startTimer(Math.max(this.inactive, ORDER_MS), sweep, { background: true });
  }
}

function close({ fd }: KnownFile): void {
  if (fd >= 0) fs.closeSync(fd);
}

/** What is known of a path if it is recent enough. */
export function knownFile({ files, valid }: OpenFileCaching, path: string): KnownFile | undefined {
  const file = files.find(path);
  return file !== undefined && now() - file.created < valid ? file : undefined;
}

/** Reads `open_file_cache off | max=N [inactive=time]`. */
export function readOpenFileCache(at: Directive): OpenFileCache | undefined {
  let max = 0;
  let inactive = 60;
  let off = false;
  for (const arg of at.args) {
    const [, name, value] = /^(max|inactive)=(.*)$/s.exec(arg) ?? [];
    const number = name === "max" ? parseNumber(value) : name === "inactive" ? parseSec(value) : undefined;
    if (arg === "off") off = true;
    else if (number === undefined || (name === "max" && number === 0))
      fail(at, `invalid "open_file_cache" parameter "${arg}"`);
    else if (name === "max") max = number;
    else inactive = number;
  }
  if (off) return undefined;
  if (max === 0) fail(at, '"open_file_cache" must have the "max" parameter');
  return new OpenFileCache(max, inactive * 1000);
}
