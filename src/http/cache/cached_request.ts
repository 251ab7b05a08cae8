import fs from "node:fs";
import { FILE_PIECE, type FileReadHandler } from "../../net/engine.ts";
import { engine } from "../../net/engines.ts";
import type { StreamError } from "../../net/stream.ts";
import { now } from "../../sys/clock.ts";
import { errorCode, errorText } from "../../sys/errno.ts";
import { readCached } from "../../sys/page_cache.ts";
import { osPath } from "../../sys/paths.ts";
import { CLIENT_CLOSED_REQUEST, OK } from "../core/codes.ts";
import { finalizeRequest, sendHeader } from "../core/engine.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { subrequest } from "../core/subrequest.ts";
import type { AnswerHead, BodyKeeper, CacheStatus, KeeperOwner, RequestCache } from "../core/upstream.ts";
import { sendFile, sendSmall } from "../files/static_file.ts";
import { copyResponse } from "../upstream/headers.ts";
import type { ResponseRules, UpstreamSettings } from "../upstream/settings.ts";
import type { Cache, Waiter } from "./cache.ts";
import { FOUND, FULL, SCARCE } from "./cache_index.ts";
import { CacheWriter } from "./cache_writer.ts";
import { digestOf, variantOf } from "./digest.ts";
import { answerText, decodeHead, fileFacts, type StoredHead } from "./entry_file.ts";
import type { HeldResponse } from "./memory_tier.ts";
import type { CacheSettings } from "./settings.ts";
import { type Freshness, freshnessOf } from "./validity.ts";

/** How a location passes on what is not in the cache. */
export interface Passing {
  readonly settings: UpstreamSettings;
  readonly rules: ResponseRules;
  /** Passes the request to a server. */
  readonly pass: (request: Request) => void;
}

/**
 * Answers a request from a location's cache, or has it passed to a server, whose answer may be kept. `ownKey` makes the module's
 * key, where the configuration has none.
 */
export function tryCache(request: Request, settings: CacheSettings, ownKey: () => string, passing: Passing): void {
  const cache = settings.methods.has(request.method) ? settings.cacheOf(request) : undefined;
  if (cache === undefined) {
    passing.pass(request);
    return;
  }
  if (typeof cache === "string") {
    logError(request, "error", `cache "${cache}" not found`);
    finalizeRequest(request, 500);
    return;
  }
  const key = settings.key === undefined ? ownKey() : settings.key.render(request);
  const own = new CachedRequest(request, cache, key, settings, passing);
  request.cache = own;
  own.begin();
}

/** An open file of the cache, or a response in memory. */
interface Stored {
  readonly head: StoredHead;
  readonly generation: number;
  /** undefined: in a file. */
  readonly body: string | undefined;
  readonly fd: number;
  readonly stats: fs.Stats | undefined;
}

const { O_RDONLY, O_NONBLOCK } = fs.constants;
const NOTHING = Buffer.alloc(0);
/** What is read of a file whose head has an unknown length. */
const FIRST_READ = 8192;
/** How long the use of a response in memory goes unnoted in the index, ms. */
const UNNOTED_MS = 1000;

/** A request's dealings with the cache (ngx_http_file_cache_open, ngx_http_upstream_cache). */
class CachedRequest implements RequestCache, FileReadHandler, Waiter {
  status: CacheStatus = "MISS";
  cached = false;
  cacheable = true;
  head: AnswerHead | undefined = undefined;
  digest = "";
  patience = 0;
  readonly convertsHead: boolean;
  readonly key: string;
  readonly cache: Cache;
  private readonly request: Request;
  private readonly settings: CacheSettings;
  private readonly passing: Passing;
  private main = "";
  /** The digest is that of the request's variant. */
  private secondary = false;
  /** Of the update that this request has claimed; 0 for none. */
  token = 0;
  /** A background subrequest does the update. */
  private handedOn = false;
  private stored: Stored | undefined = undefined;
  /** What of the file is read. */
  private opened = -1;
  private generation = 0;
  private staleIfError = false;
  private freshness: Freshness | undefined = undefined;
  private answer: AnswerHead | undefined = undefined;
  private ended = false;

  constructor(request: Request, cache: Cache, key: string, settings: CacheSettings, passing: Passing) {
    this.request = request;
    this.cache = cache;
    this.key = key;
    this.settings = settings;
    this.passing = passing;
    this.convertsHead = settings.convertHead && request.method === "HEAD";
  }

  get lastModified(): string | undefined {
    const head = this.revalidated;
    if (head === undefined) return undefined;
    return head.headers.get("last-modified");
  }

  get etag(): string | undefined {
    return this.revalidated?.headers.get("etag");
  }

  /** The head of the expired response that the server is asked about. */
  private get revalidated(): AnswerHead | undefined {
    if (!this.settings.revalidate || this.status !== "EXPIRED") return undefined;
    const answer = this.stored?.head.answer;
    return answer?.status === 200 || answer?.status === 206 ? answer : undefined;
  }

  // ---- finding a response

  begin(): void {
    const { request, settings } = this;
    if (anyHolds(settings.bypass, request)) {
      this.status = "BYPASS";
      this.main = this.digest = digestOf(this.key);
      this.pass();
      return;
    }
    const held = this.cache.memory?.get(this.key);
    if (held !== undefined && this.serveHeld(held)) return;
    this.main = this.digest = digestOf(this.key);
    request.cleanup ??= [];
    request.cleanup.push(() => this.end(0));
    this.open();
  }

  /** A fresh response that is in memory; false where it is not what the index has any more. */
  private serveHeld(held: HeldResponse): boolean {
    const { cache } = this;
    const { head, generation, place } = held;
    if (cache.index.generationAt(place) !== generation) {
      cache.memory?.drop(this.key);
      return false;
    }
    if (head.valid < seconds() || head.vary !== "") return false;
    const time = now();
    if (time - held.usedAt > UNNOTED_MS) {
      held.usedAt = time;
      cache.index.open(held.digest, 1);
    }
    this.status = "HIT";
    this.digest = held.digest;
    this.stored = { head, generation, body: held.body, fd: -1, stats: undefined };
    this.serve();
    return true;
  }

  private open(): void {
    const { index } = this.cache;
    const code = index.open(this.digest, this.settings.minUses);
    if (code === FULL) {
      logError(this.request, "alert", `could not allocate node in cache keys zone "${this.cache.name}"`);
      this.passUncached();
    } else if (code === SCARCE) {
      this.passUncached();
    } else if (code === FOUND && index.error !== 0) {
      this.status = "HIT";
      finalizeRequest(this.request, index.error);
    } else if (index.exists || !index.loaded) {
      this.openFile(index.generation, index.headBytes);
    } else if (this.settings.minUses > 1 && code !== FOUND) {
      this.passUncached();
    } else {
      this.claimOrWait();
    }
  }

  private openFile(generation: number, headBytes: number): void {
    const path = this.cache.fileOf(this.digest);
    try {
      this.opened = fs.openSync(osPath(path), O_RDONLY | O_NONBLOCK);
    } catch (error) {
      const code = errorCode(error);
      if (generation !== 0) this.cache.index.drop(this.digest, generation);
      if (code === "ENOENT" || code === "ENOTDIR") {
        if (generation === 0 && this.settings.minUses > 1) this.passUncached();
        else this.claimOrWait();
        return;
      }
      logError(this.request, "crit", `open() "${path}" failed (${errorText(code)})`);
      this.passUncached();
      return;
    }
    this.generation = generation;
    const length = Math.max(headBytes, FIRST_READ);
    const bytes = readCached(this.opened, 0, length);
    if (bytes !== undefined) this.read(bytes);
    else engine().readFile(this.opened, 0, Math.min(length, FILE_PIECE), this);
  }

  onFileRead(bytes: Buffer, error: StreamError | undefined): void {
    if (this.request.finalized) {
      this.closeFile();
      return;
    }
    if (error !== undefined) {
      logError(this.request, "crit", `read() "${this.cache.fileOf(this.digest)}" failed (${error.message})`);
    }
    this.read(bytes);
  }

  onFault(error: unknown): void {
    this.request.onFault(error);
  }

  private read(bytes: Buffer): void {
    const head = decodeHead(bytes);
    const stats = fs.fstatSync(this.opened);
    const wrong = typeof head === "string" ? head : this.wrongWith(head, stats.size);
    if (wrong !== undefined || typeof head === "string") {
      this.refuseFile(wrong ?? "");
      return;
    }
    if (head.vary !== "") {
      const variant = variantOf(this.main, head.vary, this.request.headers);
      if (variant !== head.variant) {
        this.closeFile();
        this.reopen(variant);
        return;
      }
    }
    const { index } = this.cache;
    const generation = this.generation || index.commit(this.digest, 0, fileFacts(head.headBytes, stats));
    this.stored = { head, generation, body: undefined, fd: this.opened, stats };
    this.opened = -1;
    this.decide(head);
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
    this.closeFile();
    fs.rmSync(osPath(path), { force: true });
    this.cache.index.drop(this.digest, this.generation);
    this.claimOrWait();
  }

  /** The response depends on fields in which this request differs: that for its variant has a name of its own. */
  private reopen(variant: string): void {
    if (this.secondary) {
      this.refuseFile("has incorrect vary hash");
      return;
    }
    this.secondary = true;
    this.digest = variant;
    this.open();
  }

  /** Serves the response if it may be; else has it updated. */
  private decide(head: StoredHead): void {
    const { settings, request } = this;
    const time = seconds();
    if (head.valid >= time) {
      this.status = "HIT";
      this.serve();
      return;
    }
    const background = isBackground(request);
    const whileUpdating = settings.useStale.has("updating") || head.valid + head.updating >= time;
    this.staleIfError = head.valid + head.error >= time;
    const token = this.cache.token();
    if (!this.cache.index.claim(this.digest, token, 0)) {
      if (whileUpdating && !background) {
        this.status = "UPDATING";
        this.serve();
        return;
      }
      this.token = background ? tokenOf(request.subrequest?.parent.cache) : 0;
    } else {
      this.token = token;
      if (whileUpdating && !background && settings.backgroundUpdate) {
        this.updateInBackground();
        return;
      }
    }
    this.status = "EXPIRED";
    this.pass();
  }

  private updateInBackground(): void {
    const { request } = this;
    const finalized = (_subrequest: Request, code: number): number => {
      this.handedOn = false;
      this.release();
      return code;
    };
    const options = { clone: true, background: true, headerOnly: true, finalized };
    if (subrequest(request, request.uri, request.args, options) === undefined) {
      finalizeRequest(request, 500);
      return;
    }
    this.handedOn = true;
    this.status = "STALE";
    this.serve();
  }

  // ---- waiting for another's update

  /** Nothing is stored: passes the request on, with `…_cache_lock` only if nobody else does. */
  private claimOrWait(): void {
    const { settings, cache, request } = this;
    if (!settings.lock) {
      this.pass();
      return;
    }
    const token = cache.token();
    if (cache.index.claim(this.digest, token, settings.lockAge)) {
      this.token = token;
      this.pass();
      return;
    }
    const time = now();
    if (this.patience === 0) this.patience = time + settings.lockTimeout;
    if (this.patience <= time) {
      if (settings.lockTimeout > 0) logError(request, "info", "cache lock timeout");
      this.passUncached();
      return;
    }
    request.onAbort = () => {
      logError(request, "info", "client prematurely closed connection");
      finalizeRequest(request, CLIENT_CLOSED_REQUEST);
    };
    cache.wait(this);
  }

  goOn(): void {
    const { request } = this;
    if (request.finalized) return;
    request.onAbort = undefined;
    this.open();
  }

  // ---- the passage

  private passUncached(): void {
    this.cacheable = false;
    this.pass();
  }

  private pass(): void {
    if (this.cacheable && !this.rangeAllows()) this.cacheable = false;
    this.passing.pass(this.request);
  }

  /** `…_cache_max_range_offset`: whether all of it may be asked for although the client wants a part. */
  private rangeAllows(): boolean {
    const { maxRangeOffset } = this.settings;
    if (maxRangeOffset === undefined) return true;
    const range = this.request.headers.get("range");
    if (range === undefined) return true;
    const start = /^bytes= *([0-9]+)/i.exec(range)?.[1];
    return maxRangeOffset > 0 && start !== undefined && Number(start) < maxRangeOffset;
  }

  takeHead(head: AnswerHead): void {
    this.answer = head;
    this.freshness = freshnessOf(head, this.passing.settings.ignored, seconds());
    if (!this.freshness.keep) this.cacheable = false;
  }

  replaces(condition: string): boolean {
    if (this.status !== "EXPIRED" || this.stored === undefined) return false;
    const wanted = this.settings.useStale.has(condition) || (this.staleIfError && !condition.startsWith("http_"));
    if (wanted) this.status = "STALE";
    return wanted;
  }

  confirmed(): boolean {
    if (this.answer?.status !== 304 || this.status !== "EXPIRED" || !this.settings.revalidate) return false;
    if (this.stored === undefined) return false;
    this.status = "REVALIDATED";
    return true;
  }

  intercepted(): void {
    const { freshness, answer } = this;
    if (!this.cacheable || freshness === undefined || answer === undefined) return;
    this.fail(answer.status, freshness.valid);
  }

  /** Has the status answered in place of a response for as long as `…_cache_valid` says, or until `valid`. */
  private fail(status: number, valid: number): void {
    const time = seconds();
    const period = this.settings.validFor(status);
    const until = valid !== 0 ? valid : period === 0 ? 0 : time + period;
    if (until !== 0) this.cache.index.fail(this.digest, this.token, status, until);
  }

  keep(owner: KeeperOwner): BodyKeeper | undefined {
    const { request, settings, answer, freshness } = this;
    if (anyHolds(settings.noCache, request)) this.cacheable = false;
    if (!this.cacheable || answer === undefined || freshness === undefined) return undefined;
    const time = seconds();
    const period = settings.validFor(answer.status);
    const valid = freshness.valid !== 0 ? freshness.valid : period === 0 ? 0 : time + period;
    if (valid === 0) {
      this.cacheable = false;
      return undefined;
    }
    const { vary } = freshness;
    const variant = vary === "" ? "" : variantOf(this.main, vary, request.headers);
    if (this.secondary && variant !== this.digest) {
      // The answer does not depend on the fields that those before did.
      this.release();
      this.digest = this.main;
    }
    return new CacheWriter(
      owner,
      {
        key: this.key,
        vary,
        variant,
        text: answerText(answer),
        contentLength: answer.contentLength,
        version: answer.version,
        status: answer.status,
        bodyBytes: 0,
        bodyChecksum: 0,
        valid,
        updating: freshness.updating,
        error: freshness.error,
        date: time,
      },
      { cache: this.cache, digest: this.digest, token: this.token, tempPath: this.passing.settings.tempPath },
    );
  }

  end(code: number): void {
    if (this.ended) return;
    this.ended = true;
    if (this.cacheable && !this.cached && (code === 502 || code === 504)) this.fail(code, 0);
    this.release();
    this.cache.leave(this);
    if (this.stored !== undefined && this.stored.fd >= 0 && !this.cached) fs.closeSync(this.stored.fd);
    this.closeFile();
  }

  /** Gives its update up; those that wait for it go on. */
  private release(): void {
    if (this.token === 0 || this.handedOn) return;
    this.cache.index.release(this.digest, this.token);
    this.token = 0;
    this.cache.updated(this.digest);
  }

  private closeFile(): void {
    if (this.opened >= 0) fs.closeSync(this.opened);
    this.opened = -1;
  }

  // ---- the stored response

  serve(): void {
    const { request, stored, passing } = this;
    if (stored === undefined) throw new Error("there is no stored response");
    const { head, body, fd, stats } = stored;
    this.cached = true;
    this.cacheable = false;
    this.head = head.answer;
    if (head.answer.version === 9) request.version = 9;
    copyResponse(request, head.answer, passing.rules, passing.settings);
    request.disableNotModified = false;
    request.seekable = true;
    const code = sendHeader(request);
    if (code !== OK || request.headerOnly || (body === undefined && stats === undefined)) {
      if (fd >= 0) fs.closeSync(fd);
      finalizeRequest(request, code);
      return;
    }
    if (body !== undefined) {
      finalizeRequest(request, sendSmall(request, body));
      return;
    }
    if (stats === undefined) return;
    const part = { prefix: NOTHING, start: head.headBytes, end: head.headBytes + head.bodyBytes };
    finalizeRequest(request, sendFile(request, fd, this.cache.fileOf(this.digest), stats, part));
  }
}

/** It updates an entry, and nobody waits for what it answers. */
function isBackground({ subrequest: own }: Request): boolean {
  return own?.options.background === true;
}

/** The update that a request has claimed. */
function tokenOf(cache: RequestCache | undefined): number {
  return cache instanceof CachedRequest ? cache.token : 0;
}

/** Whether any of the strings is neither empty nor 0 (ngx_http_test_predicates). */
function anyHolds(conditions: CacheSettings["bypass"], request: Request): boolean {
  for (const condition of conditions) {
    const value = condition.render(request);
    if (value !== "" && value !== "0") return true;
  }
  return false;
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
