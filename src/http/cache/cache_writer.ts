import fs from "node:fs";
import { now } from "../../sys/clock.ts";
import { errorCode, errorText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import { KeptFile, type KeptFileOwner } from "../core/kept_file.ts";
import { logOf } from "../core/log_context.ts";
import type { TempFile } from "../core/temp_file.ts";
import type { BodyKeeper, KeeperOwner } from "../core/upstream.ts";
import type { Cache } from "./cache.ts";
import { checksum, decodeHead, encodeHead, fileFacts, headLength, removeFile, type TextToStore } from "./entry_file.ts";
import type { EntryUpdate } from "./entry_update.ts";
import { processName } from "./temporary.ts";

/** Where a response goes. */
export interface Destination {
  readonly cache: Cache;
  /** The digest of the key, and that of the entry. */
  readonly main: string;
  readonly digest: string;
  /** It is over when the response is in the cache, or will not be. */
  readonly update: EntryUpdate;
}

/** So many bytes are written beside the event loop; fewer only with the last. */
const AT_ONCE = 64 * 1024;

/** A system call that has failed; the message is nginx's sentence. */
class WriteError extends Error {}

/**
 * Writes an answer into a file of the cache: first a temporary one, which gets its name when the answer is whole. Only then
 * the index knows it. Long answers are written beside the event loop. What is left at the end is written at once, so that who
 * gets the last bytes finds the response in the cache; only where a write is under way then, it may be there a moment later.
 */
export class CacheWriter implements BodyKeeper, KeptFileOwner {
  ended = false;
  private readonly owner: KeeperOwner;
  private readonly to: Destination;
  private readonly entry: TextToStore;
  private readonly headBytes: number;
  private readonly kept: KeptFile;
  /** The answer is whole. */
  private whole = false;
  /** Of the body that has come. */
  private bodyBytes = 0;
  private bodyChecksum = 0;
  /** The body as a byte string, as long as the memory tier would take it. */
  private text: string | undefined;

  constructor(owner: KeeperOwner, entry: TextToStore, to: Destination) {
    this.owner = owner;
    this.entry = entry;
    this.to = to;
    this.headBytes = headLength(entry);
    // The directory says whose it is: the manager removes what is left of a process that has died.
    this.kept = new KeptFile(this, { path: `${to.cache.temporary}/${processName()}`, levels: [] }, this.headBytes);
    this.text = to.cache.memory === undefined ? undefined : "";
  }

  get full(): boolean {
    return this.kept.full;
  }

  push(bytes: Uint8Array): void {
    if (this.ended) return;
    this.bodyBytes += bytes.length;
    this.bodyChecksum = checksum(bytes, this.bodyChecksum);
    if (this.text !== undefined) {
      if (this.bodyBytes > (this.to.cache.memory?.longest ?? 0)) this.text = undefined;
      else this.text += Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).latin1Slice();
    }
    this.kept.push(bytes);
    this.write();
  }

  finish(): void {
    const { contentLength } = this.entry;
    if (!this.owner.bodiless && contentLength >= 0 && contentLength !== this.bodyBytes) {
      // What an application answers to HEAD announces a body that it need not have.
      this.close();
      return;
    }
    this.whole = true;
    if (!this.ended && !this.kept.writing) this.complete();
  }

  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.kept.close();
    this.to.update.release();
  }

  private write(): void {
    if (this.kept.left >= AT_ONCE) this.kept.write();
  }

  onWritten(): void {
    if (this.whole) this.complete();
    else this.write();
  }

  onWriteOver(): void {
    this.owner.onKept();
  }

  onFailure(sentence: string): void {
    this.to.cache.diskTrouble(logOf(this.owner.request), `${sentence} while reading upstream`);
    this.close();
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }

  /** Writes the rest of the body and the head, and puts the file into the cache. */
  private complete(): void {
    try {
      const file = this.kept.open();
      if (file !== undefined) this.completeIn(file);
    } catch (error) {
      if (!(error instanceof WriteError)) throw error;
      this.onFailure(error.message);
    }
    this.close();
  }

  private completeIn(file: TempFile): void {
    const { bodyBytes, bodyChecksum, kept } = this;
    const head = encodeHead({ ...this.entry, bodyBytes, bodyChecksum, toHead: this.entry.toHead && bodyBytes === 0 });
    const rest = kept.rest();
    if (kept.written === 0) {
      writeAll(file, Buffer.concat([head, rest]), 0);
    } else {
      writeAll(file, rest, this.headBytes + kept.written);
      writeAll(file, head, 0);
    }
    this.putIn(file, head);
  }

  private putIn(file: TempFile, bytes: Buffer): void {
    const { cache, main, digest } = this.to;
    if (cache.purges.overtook(this.entry, main)) return;
    const generation = this.nameFile(file, cache.fileOf(digest));
    if (generation === 0) return;
    cache.keepBounds();
    const head = this.text === undefined || this.entry.vary !== "" ? "" : decodeHead(bytes);
    if (this.text !== undefined && typeof head !== "string" && !head.toHead) {
      const place = cache.index.place(digest);
      const main = { digest, place, generation, fields: [] };
      const { headers } = this.owner.request;
      cache.memory?.put(head.key, main, headers, { head, body: this.text, digest, place, generation }, now());
      cache.counters.holds(cache.memory?.bytes ?? 0);
    }
    cache.counters.stored(this.headBytes + this.bodyBytes);
  }

  /** Gives the file its name in the cache, and tells the index. Its generation; 0 where it is not in the cache after all. */
  private nameFile(file: TempFile, path: string): number {
    const { cache, main, digest, update } = this.to;
    const { index, slot } = cache;
    index.putIn(digest, slot);
    try {
      rename(file.path, path);
      file.giveAway();
      const facts = fileFacts(this.headBytes, fs.fstatSync(file.fd));
      let generation = index.commit(digest, update.token, facts);
      if (generation === 0 && cache.makeRoom()) generation = index.commit(digest, update.token, facts);
      if (generation === 0) {
        removeFile(path);
      } else if (cache.purges.overtook(this.entry, main)) {
        // By a purge that has not seen the file yet.
        removeFile(path);
        cache.index.drop(digest, generation);
        return 0;
      }
      return generation;
    } finally {
      index.putIn("", slot);
    }
  }
}

function writeAll(file: TempFile, bytes: Buffer, position: number): void {
  try {
    for (let at = 0; at < bytes.length; ) {
      const count = fs.writeSync(file.fd, bytes, at, bytes.length - at, position + at);
      if (count === 0) throw new WriteError(`pwrite() "${file.path}" failed (nothing written)`);
      at += count;
    }
  } catch (error) {
    if (error instanceof WriteError) throw error;
    throw new WriteError(`pwrite() "${file.path}" failed (${errorText(errorCode(error))})`);
  }
}

/** Renames a file; the directories of its new name are made only where they are missing. */
function rename(from: string, to: string): void {
  try {
    try {
      fs.renameSync(osPath(from), osPath(to));
    } catch (error) {
      if (errorCode(error) !== "ENOENT") throw error;
      fs.mkdirSync(osPath(to.slice(0, to.lastIndexOf("/"))), { recursive: true, mode: 0o700 });
      fs.renameSync(osPath(from), osPath(to));
    }
  } catch (error) {
    throw new WriteError(`rename() "${from}" to "${to}" failed (${errorText(errorCode(error))})`);
  }
}
