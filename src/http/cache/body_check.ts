import fs from "node:fs";
import { FILE_PIECE, type FileReadHandler } from "../../net/engine.ts";
import { engine } from "../../net/engines.ts";
import type { StreamError } from "../../net/stream.ts";
import { defer } from "../../sys/guard.ts";
import { readCached } from "../../sys/page_cache.ts";
import type { LogLine } from "../core/log_context.ts";
import type { Cache } from "./cache.ts";
import { checksum, fileFacts, removeFile, type StoredHead } from "./entry_file.ts";

/** An open file whose head is right. */
interface FileToCheck {
  readonly digest: string;
  /** 0 where the index does not know it. */
  readonly generation: number;
  readonly fd: number;
  readonly stats: fs.Stats;
  readonly head: StoredHead;
  readonly log: LogLine;
}

/** Somebody who looks the entry up again when its file has been checked. */
export interface CheckWaiter {
  onChecked(): void;
  onFault(error: unknown): void;
}

/** Bodies of up to so many bytes are read at once, where they are in memory. */
const AT_ONCE = 64 * 1024;
/** So many files are read at a time: the others wait. */
const MOST = 4;

/**
 * Compares the bodies of files with their checksums before they are served, where the index does not know a file, as after a
 * restart, or somebody has written to it. One that is right is known from then on; one that is wrong is removed.
 */
export class BodyChecks {
  readonly #cache: Cache;
  readonly #running = new Map<string, BodyCheck>();
  readonly #queue: BodyCheck[] = [];
  #reading = 0;

  constructor(cache: Cache) {
    this.#cache = cache;
  }

  /** Whether a small body in memory is right; undefined for others. */
  atOnce(fd: number, { headBytes, bodyBytes, bodyChecksum }: StoredHead): boolean | undefined {
    if (bodyBytes > AT_ONCE) return undefined;
    const bytes = readCached(fd, headBytes, bodyBytes);
    return bytes?.length === bodyBytes ? checksum(bytes) === bodyChecksum : undefined;
  }

  /** Reads it beside the event loop, and tells the waiter. The descriptor is closed here. */
  begin(file: FileToCheck, waiter: CheckWaiter): void {
    const running = this.#running.get(file.digest);
    if (running !== undefined) {
      fs.closeSync(file.fd);
      running.waiters.push(waiter);
      return;
    }
    const check = new BodyCheck(file, (right) => this.#end(check, right));
    check.waiters.push(waiter);
    this.#running.set(file.digest, check);
    this.#queue.push(check);
    this.#next();
  }

  #next(): void {
    while (this.#reading < MOST) {
      const check = this.#queue.shift();
      if (check === undefined) return;
      this.#reading++;
      check.read();
    }
  }

  #end({ file, waiters }: BodyCheck, right: boolean): void {
    const { digest, generation, fd, stats, head, log } = file;
    const { index } = this.#cache;
    if (!this.#running.delete(digest)) return;
    this.#reading--;
    fs.closeSync(fd);
    if (right) {
      index.adopt(digest, generation, fileFacts(head.headBytes, stats));
    } else {
      const path = this.#cache.fileOf(digest);
      log("crit", `cache file "${path}" ${WRONG_BODY}`);
      // Another may have taken its place meanwhile, and be one that nobody knows.
      if (removeFile(path, stats.ino)) index.drop(digest, generation);
      else index.doubt(digest);
    }
    for (const waiter of waiters) defer(onChecked, waiter);
    this.#next();
  }
}

export const WRONG_BODY = "has a body with a wrong checksum";

function onChecked(waiter: CheckWaiter): void {
  waiter.onChecked();
}

class BodyCheck implements FileReadHandler {
  readonly file: FileToCheck;
  readonly waiters: CheckWaiter[] = [];
  readonly #end: (right: boolean) => void;
  #done = 0;
  #checksum = 0;

  constructor(file: FileToCheck, end: (right: boolean) => void) {
    this.file = file;
    this.#end = end;
  }

  read(): void {
    const { headBytes, bodyBytes, bodyChecksum } = this.file.head;
    const left = bodyBytes - this.#done;
    if (left === 0) this.#end(this.#checksum === bodyChecksum);
    else engine().readFile(this.file.fd, headBytes + this.#done, Math.min(left, FILE_PIECE), this);
  }

  onFileRead(bytes: Buffer, error: StreamError | undefined): void {
    if (error !== undefined || bytes.length === 0) {
      this.#end(false);
      return;
    }
    this.#checksum = checksum(bytes, this.#checksum);
    this.#done += bytes.length;
    this.read();
  }

  onFault(): void {
    this.#end(false);
  }
}
