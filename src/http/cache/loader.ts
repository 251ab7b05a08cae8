import fs from "node:fs";
import { clockNow } from "../../sys/clock.ts";
import { errorCode, errorText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import type { LogLine } from "../core/log_context.ts";
import type { Cache } from "./cache.ts";
import { blocksOf, LEAST_FILE } from "./entry_file.ts";
import { BLOCK } from "./entry_table.ts";
import { PURGES } from "./purge_file.ts";

export interface LoaderPort {
  /** As it is configured now; undefined when the work is to end. */
  readonly cache: () => Cache | undefined;
  readonly log: LogLine;
  readonly sleep: (ms: number) => Promise<void>;
}

/** Names in a directory that are read at a time. */
const NAMES_AT_ONCE = 256;
/** Files that are looked at at a time. */
const FILES_AT_ONCE = 16;

/** The work is to end. */
class Stopped extends Error {}

/**
 * Finds the files of earlier runs (ngx_http_file_cache_loader). They are not read: a name is a digest, and whoever asks for an
 * entry first has its file checked. What is no file of the cache in one of its directories is removed, as nginx does; other
 * directories and symbolic links are left alone, so that nothing outside is touched. nginx walks through them.
 */
export class Loader {
  readonly #port: LoaderPort;
  #files = 0;
  #until = 0;
  /** Symbolic links were passed over. */
  #links = 0;

  constructor(port: LoaderPort) {
    this.#port = port;
  }

  async run(): Promise<void> {
    try {
      this.#begin();
      await this.#walk(this.#cache.directory, 0);
    } catch (error) {
      if (error instanceof Stopped) return;
      throw error;
    }
    const { index, directory } = this.#cache;
    index.setLoaded();
    const mebibytes = ((index.table.blocks * BLOCK) / 2 ** 20).toFixed(3);
    this.#port.log("notice", `http file cache: ${directory} ${mebibytes}M, bsize: ${BLOCK}`);
    if (this.#links > 0)
      this.#port.log("warn", `cache "${directory}": symbolic links are not followed (${this.#links} found)`);
  }

  get #cache(): Cache {
    const cache = this.#port.cache();
    if (cache === undefined) throw new Stopped();
    return cache;
  }

  #begin(): void {
    this.#files = 0;
    this.#until = clockNow() + this.#cache.settings.loader.threshold;
  }

  async #walk(path: string, depth: number): Promise<void> {
    const { levels } = this.#cache.settings;
    const subdirectory = depth < levels.length ? new RegExp(`^[0-9a-f]{${levels[depth]}}$`) : undefined;
    const below: string[] = [];
    let names: string[] = [];
    try {
      const directory = await fs.promises.opendir(osPath(path), { encoding: "latin1", bufferSize: NAMES_AT_ONCE });
      for await (const entry of directory) {
        const { name } = entry;
        if (entry.isDirectory()) {
          if (subdirectory?.test(name) === true) below.push(name);
        } else if (entry.isSymbolicLink()) {
          this.#links++;
        } else if (!isKept(name)) {
          names.push(name);
          if (names.length < Math.min(FILES_AT_ONCE, this.#cache.settings.loader.files - this.#files)) continue;
          await this.#find(path, names);
          names = [];
        }
      }
      await this.#find(path, names);
    } catch (error) {
      if (error instanceof Stopped) throw error;
      this.#port.log("crit", `opendir() "${path}" failed (${errorText(errorCode(error))})`);
    }
    for (const name of below) await this.#walk(`${path}/${name}`, depth + 1);
  }

  async #find(directory: string, names: readonly string[]): Promise<void> {
    const cache = this.#cache;
    const paths = names.map((name) => `${directory}/${name}`);
    const found = await lstatAll(paths);
    for (const [i, stats] of found.entries()) {
      if (!(stats instanceof fs.Stats)) this.#failed("lstat", paths[i], stats);
      else if (!this.#add(cache, paths[i], names[i], stats)) await this.#remove(paths[i]);
    }
    this.#files += names.length;
    if (this.#files < cache.settings.loader.files && clockNow() < this.#until) return;
    await this.#port.sleep(cache.settings.loader.sleep);
    this.#begin();
  }

  /** False: it is no file of the cache, or there is no memory for it. */
  #add(cache: Cache, path: string, name: string, stats: fs.Stats): boolean {
    if (!/^[0-9a-f]{32}$/.test(name)) return false;
    const digest = Buffer.from(name, "hex").latin1Slice();
    // Where nobody looks for it: there were other levels once.
    if (cache.fileOf(digest) !== path) return false;
    if (!stats.isFile() || stats.size < LEAST_FILE) {
      this.#port.log("crit", `cache file "${path}" is too small`);
      return false;
    }
    if (cache.index.add(digest, { headBytes: 0, blocks: blocksOf(stats), identity: 0 })) return true;
    cache.zoneTrouble(this.#port.log);
    return false;
  }

  async #remove(path: string): Promise<void> {
    try {
      await fs.promises.unlink(osPath(path));
    } catch (error) {
      this.#failed("unlink", path, error);
    }
  }

  #failed(call: string, path: string, error: unknown): void {
    const code = errorCode(error);
    if (code !== "ENOENT") this.#cache.diskTrouble(this.#port.log, `${call}() "${path}" failed (${errorText(code)})`);
  }
}

/** Not to be removed: a temporary file of nginx's, or another file of Holdfast's own. */
function isKept(name: string): boolean {
  return /\.[0-9]{10}$/.test(name) || name.startsWith(`${PURGES}.`);
}

/** What there is to know of files, or why not. By callbacks: promises of node:fs take twice the CPU. */
function lstatAll(paths: readonly string[]): Promise<readonly unknown[]> {
  return new Promise((resolve) => {
    const found: unknown[] = [];
    let left = paths.length;
    if (left === 0) resolve(found);
    for (const [i, path] of paths.entries()) {
      fs.lstat(osPath(path), (error, stats) => {
        found[i] = error ?? stats;
        if (--left === 0) resolve(found);
      });
    }
  });
}
