import fs from "node:fs";
import { FILE_PIECE, type FileReadHandler } from "../../net/engine.ts";
import { engine } from "../../net/engines.ts";
import type { StreamError } from "../../net/stream.ts";
import { errorCode, errorText } from "../../sys/errno.ts";
import { readCached } from "../../sys/page_cache.ts";
import { osPath } from "../../sys/paths.ts";
import { logError, logOf } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { type CheckWaiter, WRONG_BODY } from "./body_check.ts";
import type { Cache } from "./cache.ts";
import { FOUND, FULL, SCARCE } from "./cache_index.ts";
import { digestOf, fieldNames, variantOf } from "./digest.ts";
import { claimedHeadBytes, decodeHead, fileFacts, removeFile, type StoredHead } from "./entry_file.ts";
import type { MainContents } from "./memory_tier.ts";
import { openedResponse } from "./memory_use.ts";
import type { CacheSettings } from "./settings.ts";
import type { StoredResponse } from "./stored_response.ts";

/** Whoever has an entry looked up gets one of these calls. */
export interface LookupUser {
  /** It is there, fresh or not; the file is the user's to close. */
  onStored(stored: StoredResponse): void;
  /** That status is answered in its place. */
  onFailure(status: number): void;
  onMissing(): void;
  /** Its answer is not to be kept: it was not asked for often enough, or something failed. */
  onUnkept(): void;
}

type LookupSettings = Pick<CacheSettings, "minUses" | "revalidate">;

const { O_RDONLY, O_NONBLOCK } = fs.constants;
/** What is read of a file whose head has an unknown length. */
const FIRST_READ = 8192;

/**
 * Finds a key's response, in memory or in a file, and verifies it (ngx_http_file_cache_open). A response that depends on fields of
 * the request has a digest and a file for each variant: the key's own names the fields.
 */
export class EntryLookup implements FileReadHandler, CheckWaiter {
  readonly key: string;
  private readonly request: Request;
  private readonly cache: Cache;
  private readonly settings: LookupSettings;
  private readonly user: LookupUser;
  private keyDigest = "";
  private entryDigest = "";
  /** Of the key's own entry; 0 as long as none is known. */
  family = 0;
  /** What of the file is read, and the generation that the index gave for it; 0 where it did not know. */
  private fd = -1;
  private generation = 0;
  /** The engine reads it: it is closed after that. */
  private reading = false;
  /** It has been read a second time. */
  private readAgain = false;
  /** What the index says of the file; 0: nothing. */
  private identity = 0;
  /** Its body has been read to check it. */
  private checked = false;
  /** How often the entry was asked for. */
  private uses = 0;
  /** What the key's own entry has, where that is another one. */
  private mainContents: MainContents | undefined = undefined;

  constructor(request: Request, cache: Cache, key: string, settings: LookupSettings, user: LookupUser) {
    this.request = request;
    this.cache = cache;
    this.key = key;
    this.settings = settings;
    this.user = user;
  }

  /** The digest of the key. */
  get main(): string {
    if (this.keyDigest === "") this.keyDigest = digestOf(this.key);
    return this.keyDigest;
  }

  /** That of the entry: of the key, or of the request's variant. */
  get digest(): string {
    return this.entryDigest === "" ? this.main : this.entryDigest;
  }

  /** The entry is a variant's. */
  get secondary(): boolean {
    return this.digest !== this.main;
  }

  /** The answer does not depend on the fields that those before did: it is for the key's own entry. */
  leaveVariant(): void {
    this.entryDigest = this.main;
  }

  /** Looks the key up once more. */
  again(): void {
    this.entryDigest = "";
    this.open();
  }

  open(): void {
    const { user, cache } = this;
    const { minUses } = this.settings;
    const { index } = cache;
    let code = index.open(this.digest, minUses);
    if (code === FULL && cache.makeRoom()) code = index.open(this.digest, minUses);
    if (code === FULL) {
      cache.zoneTrouble(logOf(this.request));
      user.onUnkept();
    } else if (code === SCARCE) {
      user.onUnkept();
    } else if (code === FOUND && index.error !== 0 && !this.isPurged()) {
      user.onFailure(index.error);
    } else if (index.exists || !index.loaded) {
      this.generation = index.generation;
      this.identity = index.identity;
      this.uses = index.askedFor;
      const { headBytes } = index;
      if (!this.openHeld()) this.openFile(headBytes, code === FOUND);
    } else if (minUses > 1 && code !== FOUND) {
      user.onUnkept();
    } else {
      user.onMissing();
    }
  }

  /** Whether the status that the index has was purged. */
  private isPurged(): boolean {
    const { index, purges } = this.cache;
    if (!purges.overtook({ key: this.key, tags: "", purge: index.errorPurge }, this.main)) return false;
    index.drop(this.digest, 0);
    return true;
  }

  /** Whether the response is in memory, expired as it is. To be revalidated it must be a file. */
  private openHeld(): boolean {
    const { generation } = this;
    const { memory, purges } = this.cache;
    const held = memory?.get(this.key, this.request.headers);
    if (held === undefined || typeof held.body !== "string" || this.settings.revalidate) return false;
    if (purges.covers(held.stored)) return false;
    if (held.digest !== this.digest && !this.secondary) {
      this.entryDigest = held.digest;
      this.open();
      return true;
    }
    if (held.digest !== this.digest || held.generation !== generation) return false;
    this.user.onStored({ head: held.stored, generation, body: held.body });
    return true;
  }

  /** `enough`: it was asked for often enough to be kept. */
  private openFile(headBytes: number, enough: boolean): void {
    const { cache, generation } = this;
    const path = cache.fileOf(this.digest);
    // Most of those that the index does not know are not there: an exception for each would cost more than the miss.
    if (generation === 0 && !fs.existsSync(osPath(path))) {
      this.onNoFile(enough);
      return;
    }
    try {
      this.fd = fs.openSync(osPath(path), O_RDONLY | O_NONBLOCK);
    } catch (error) {
      const code = errorCode(error);
      if (code === "ENOENT" || code === "ENOTDIR") {
        if (generation !== 0) cache.index.drop(this.digest, generation);
        this.onNoFile(enough);
        return;
      }
      cache.diskTrouble(logOf(this.request), `open() "${path}" failed (${errorText(code)})`);
      this.user.onUnkept();
      return;
    }
    this.readAgain = false;
    this.readFile(Math.max(headBytes, FIRST_READ));
  }

  private onNoFile(enough: boolean): void {
    if (enough || this.settings.minUses <= 1) this.user.onMissing();
    else this.user.onUnkept();
  }

  private readFile(length: number): void {
    const bytes = readCached(this.fd, 0, length);
    if (bytes !== undefined) {
      this.read(bytes);
    } else {
      this.reading = true;
      engine().readFile(this.fd, 0, Math.min(length, FILE_PIECE), this);
    }
  }

  onFileRead(bytes: Buffer, error: StreamError | undefined): void {
    this.reading = false;
    if (this.request.finalized) {
      this.close();
    } else if (error === undefined) {
      this.read(bytes);
    } else {
      const { cache } = this;
      cache.diskTrouble(logOf(this.request), `read() "${cache.fileOf(this.digest)}" failed (${error.message})`);
      this.close();
      this.user.onUnkept();
    }
  }

  onFault(error: unknown): void {
    this.request.onFault(error);
  }

  private read(bytes: Buffer): void {
    const head = decodeHead(bytes);
    if (typeof head === "string" && !this.readAgain) {
      // The validity may have been written meanwhile (renewal.ts), or the head is longer than was known.
      this.readAgain = true;
      this.readFile(Math.max(bytes.length, claimedHeadBytes(bytes)));
      return;
    }
    const stats = fs.fstatSync(this.fd);
    const wrong = typeof head === "string" ? head : this.wrongWith(head, stats.size);
    if (wrong !== undefined || typeof head === "string") {
      this.refuseFile(wrong ?? "");
      return;
    }
    const { purges } = this.cache;
    // Of a file that the index does not know: who put it in may have died before it looked whether the key had been purged.
    const overtaken = this.identity === 0 && purges.tookOne(this.main, head.purge);
    if (overtaken || purges.covers(head) || (this.secondary && head.family !== this.family)) {
      this.removeFile();
      return;
    }
    if (head.toHead && this.request.method !== "HEAD") {
      this.close();
      this.user.onMissing();
      return;
    }
    this.family = head.family;
    if (head.vary !== "") {
      const variant = variantOf(this.main, head.vary, this.request.headers);
      if (variant !== head.variant) {
        this.reopen(variant, head.vary);
        return;
      }
    }
    const facts = fileFacts(head.headBytes, stats);
    let { generation } = this;
    let lent: Buffer | undefined = bytes;
    if (facts.identity !== this.identity) {
      if (!this.isChecked(head, stats)) return;
      generation = this.cache.index.adopt(this.digest, generation, facts);
      lent = undefined;
    }
    const { cache, key, digest, mainContents: main, uses, fd } = this;
    const { headers } = this.request;
    const path = cache.fileOf(digest);
    const opened = { key, headers, head, digest, main, generation, uses, bytes: lent, path, fd, stats };
    const stored = openedResponse(cache, opened);
    if (stored === undefined) {
      this.refuseFile(WRONG_BODY);
      return;
    }
    this.fd = -1;
    this.user.onStored(stored);
  }

  /** Whether the body of a file that the index does not know is right. If not, or only later, that is seen to here. */
  private isChecked(head: StoredHead, stats: fs.Stats): boolean {
    const { digest, generation, fd } = this;
    const { checks } = this.cache;
    const right = checks.atOnce(fd, head);
    if (right === undefined && !this.checked) {
      this.fd = -1;
      checks.begin({ digest, generation, fd, stats, head, log: logOf(this.request) }, this);
      return false;
    }
    if (right === false) {
      this.refuseFile(WRONG_BODY);
    } else if (right === undefined) {
      // It changes all the while, or there is no memory to note that it is right.
      this.close();
      this.user.onUnkept();
    }
    return right === true;
  }

  onChecked(): void {
    this.checked = true;
    if (!this.request.finalized) this.open();
  }

  private wrongWith(head: StoredHead, size: number): string | undefined {
    if (head.key !== this.key) return "has md5 collision";
    if (head.headBytes + head.bodyBytes !== size) return "is truncated";
    return undefined;
  }

  /** A file that is not what it should be is never served. */
  private refuseFile(wrong: string): void {
    const path = this.cache.fileOf(this.digest);
    logError(this.request, wrong === "version mismatch" ? "info" : "crit", `cache file "${path}" ${wrong}`);
    this.removeFile();
  }

  /** Nor is one that was purged. */
  private removeFile(): void {
    this.close();
    removeFile(this.cache.fileOf(this.digest));
    this.cache.index.drop(this.digest, this.generation);
    this.user.onMissing();
  }

  private reopen(variant: string, vary: string): void {
    if (this.secondary) {
      this.refuseFile("has incorrect vary hash");
      return;
    }
    const { cache, main: digest, generation } = this;
    if (cache.memory !== undefined && generation !== 0) {
      this.mainContents = { digest, place: cache.index.place(digest), generation, fields: fieldNames(vary) };
    }
    this.close();
    this.entryDigest = variant;
    this.open();
  }

  close(): void {
    if (this.fd < 0 || this.reading) return;
    fs.closeSync(this.fd);
    this.fd = -1;
  }
}
