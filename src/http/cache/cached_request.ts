import { httpDateOf } from "../../sys/clock.ts";
import { parseHttpTime } from "../../wire/http_time.ts";
import { CLIENT_CLOSED_REQUEST } from "../core/codes.ts";
import { finalizeRequest } from "../core/engine.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { subrequest } from "../core/subrequest.ts";
import type { AnswerHead, BodyKeeper, CacheStatus, KeeperOwner, RequestCache } from "../core/upstream.ts";
import type { Passing } from "../upstream/settings.ts";
import type { Cache } from "./cache.ts";
import { CacheWriter } from "./cache_writer.ts";
import { variantOf } from "./digest.ts";
import { entryOf } from "./entry_file.ts";
import { EntryLookup, type LookupUser } from "./entry_lookup.ts";
import { EntryUpdate } from "./entry_update.ts";
import { answerPurge, isPurge } from "./purge_request.ts";
import { renewStored } from "./renewal.ts";
import { anyHolds, asksForAll } from "./request_conditions.ts";
import type { CacheSettings } from "./settings.ts";
import { closeStored, type StoredResponse, sendStored } from "./stored_response.ts";
import { tagsOf } from "./tags.ts";
import { confirmedValidity, type Freshness, freshnessOf, seconds, validUntil } from "./validity.ts";

/**
 * Answers a request from a location's cache, or has it passed to a server, whose answer may be kept. `ownKey` makes the module's
 * key, where the configuration has none.
 */
export function tryCache(request: Request, settings: CacheSettings, ownKey: () => string, passing: Passing): void {
  const purge = settings.purge !== undefined && isPurge(settings.purge, request) ? settings.purge : undefined;
  const cache = purge !== undefined || settings.methods.has(request.method) ? settings.cacheOf(request) : undefined;
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
  if (purge !== undefined) {
    finalizeRequest(request, answerPurge(request, purge, cache, key, settings.tags));
    return;
  }
  const own = new CachedRequest(request, cache, key, settings, passing);
  request.cache = own;
  own.begin();
}

/** A request's dealings with the cache (ngx_http_file_cache_open, ngx_http_upstream_cache). */
class CachedRequest implements RequestCache, LookupUser {
  status: CacheStatus = "MISS";
  cached = false;
  cacheable = true;
  /** What the server answers may be kept, as far as the request says. */
  private wanted = true;
  head: AnswerHead | undefined = undefined;
  readonly convertsHead: boolean;
  private readonly cache: Cache;
  private readonly request: Request;
  private readonly settings: CacheSettings;
  private readonly passing: Passing;
  private readonly lookup: EntryLookup;
  /** A background subrequest's is its parent's. */
  private readonly update: EntryUpdate;
  /** A background subrequest does the update. */
  private handedOn = false;
  private stored: StoredResponse | undefined = undefined;
  private staleIfError = false;
  /** The number of the last purge before the answer's fetch began. */
  private purge = 0;
  private freshness: Freshness | undefined = undefined;
  private answer: AnswerHead | undefined = undefined;
  private ended = false;

  constructor(request: Request, cache: Cache, key: string, settings: CacheSettings, passing: Passing) {
    this.request = request;
    this.cache = cache;
    this.settings = settings;
    this.passing = passing;
    this.convertsHead = settings.convertHead && request.method === "HEAD";
    this.lookup = new EntryLookup(request, cache, key, settings.minUses, this);
    this.update = updateOf(request) ?? new EntryUpdate(cache, this);
  }

  get lastModified(): string | undefined {
    const time = parseHttpTime(this.revalidated?.headers.get("last-modified") ?? "");
    return time === -1 ? undefined : httpDateOf(time * 1000);
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

  begin(): void {
    const { request, settings, lookup } = this;
    if (anyHolds(settings.bypass, request)) {
      this.status = "BYPASS";
      this.pass();
      return;
    }
    this.stored = lookup.held();
    if (this.stored !== undefined) {
      this.status = "HIT";
      this.serve();
      return;
    }
    request.cleanup ??= [];
    request.cleanup.push(() => this.end(0));
    lookup.open();
  }

  // ---- what was found

  onFailure(status: number): void {
    this.status = "HIT";
    finalizeRequest(this.request, status);
  }

  /** Serves the response if it may be; else has it updated. */
  onStored(stored: StoredResponse): void {
    this.stored = stored;
    const { settings, request } = this;
    const { head } = stored;
    const time = seconds();
    if (head.valid >= time) {
      this.status = "HIT";
      this.serve();
      return;
    }
    this.staleIfError = head.valid + head.error >= time;
    const whileUpdating = settings.useStale.has("updating") || head.valid + head.updating >= time;
    if (whileUpdating && !isBackground(request)) {
      if (!this.update.claim(this.lookup.digest, 0)) {
        this.status = "UPDATING";
        this.serve();
        return;
      }
      if (settings.backgroundUpdate) {
        this.updateInBackground();
        return;
      }
    } else {
      this.update.claim(this.lookup.digest, 0);
    }
    this.status = "EXPIRED";
    this.pass();
  }

  private updateInBackground(): void {
    const { request } = this;
    const options = { clone: true, background: true, headerOnly: true };
    const updating = subrequest(request, request.uri, request.args, options);
    if (updating === undefined) {
      finalizeRequest(request, 500);
      return;
    }
    const { update } = this;
    updating.cleanup ??= [];
    updating.cleanup.push(() => update.release());
    this.handedOn = true;
    this.status = "STALE";
    this.serve();
  }

  /** The update that goes over to the subrequest that runs in the background. */
  handOn(): EntryUpdate | undefined {
    return this.handedOn ? this.update : undefined;
  }

  /** Passes the request on; with `…_cache_lock` only if nobody else does. */
  onMissing(): void {
    const { settings, request, update, lookup } = this;
    if (!settings.lock || update.token !== 0 || update.claim(lookup.digest, settings.lockAge)) {
      this.pass();
    } else if (update.wait(lookup.digest, settings.lockTimeout)) {
      request.onAbort = leftWaiting;
    } else {
      if (settings.lockTimeout > 0) logError(request, "info", "cache lock timeout");
      this.onUnkept();
    }
  }

  /** The wait is over. */
  goOn(): void {
    const { request } = this;
    if (request.finalized) return;
    request.onAbort = undefined;
    this.lookup.open();
  }

  onFault(error: unknown): void {
    this.request.onFault(error);
  }

  // ---- the passage

  onUnkept(): void {
    this.wanted = false;
    this.pass();
  }

  private pass(): void {
    this.wanted &&= asksForAll(this.request, this.settings);
    this.cacheable = this.wanted;
    this.purge = this.cache.purges.last;
    this.passing.pass(this.request);
  }

  takeHead(head: AnswerHead): void {
    this.answer = head;
    this.freshness = freshnessOf(head, this.passing.settings.ignored, seconds());
    this.cacheable = this.wanted && this.freshness.keep;
  }

  replaces(condition: string): boolean {
    if (this.status !== "EXPIRED" || this.stored === undefined) return false;
    const wanted = this.settings.useStale.has(condition) || (this.staleIfError && !condition.startsWith("http_"));
    if (!wanted || this.isPurged(this.stored.head.tags)) return false;
    this.status = "STALE";
    return true;
  }

  /** Whether the entry was purged since its fetch began. */
  private isPurged(tags: string): boolean {
    const { cache, lookup, purge } = this;
    return cache.purges.overtook({ key: lookup.key, tags, purge }, lookup.main);
  }

  confirmed(): boolean {
    const { answer, stored, freshness, settings, lookup } = this;
    if (answer?.status !== 304 || this.status !== "EXPIRED" || !settings.revalidate || !this.wanted) return false;
    if (stored === undefined || freshness === undefined) return false;
    this.status = "REVALIDATED";
    const validity = confirmedValidity(freshness, stored.head.answer, this.passing.settings.ignored, settings);
    if (validity.valid !== 0) this.stored = renewStored(this.request, this.cache, lookup.digest, stored, validity);
    return true;
  }

  intercepted(): void {
    const { freshness, answer, settings } = this;
    if (!this.cacheable || freshness === undefined || answer === undefined) return;
    this.fail(answer.status, freshness.valid || validUntil(answer.status, settings));
  }

  /** Has the status answered in place of a response until then; 0: not at all. */
  private fail(status: number, until: number): void {
    if (until !== 0 && !this.isPurged("")) this.cache.index.fail(this.lookup.digest, this.update.token, status, until);
  }

  keep(owner: KeeperOwner): BodyKeeper | undefined {
    const { request, settings, answer, freshness, lookup } = this;
    const valid = answer === undefined ? 0 : freshness?.valid || validUntil(answer.status, settings);
    if (valid === 0 || anyHolds(settings.noCache, request)) this.cacheable = false;
    if (!this.cacheable || answer === undefined || freshness === undefined) {
      this.end(0);
      return undefined;
    }
    this.closeStored();
    const { vary } = freshness;
    const variant = vary === "" ? "" : variantOf(lookup.main, vary, request.headers);
    if (lookup.secondary && variant !== lookup.digest) {
      this.update.release();
      lookup.leaveVariant();
    }
    const { updating, error } = freshness;
    const entry = entryOf(answer, {
      key: lookup.key,
      vary,
      variant,
      purge: this.purge,
      family: lookup.family || Math.random(),
      tags: tagsOf(answer.headers, settings.tags),
      valid,
      updating,
      error,
      date: seconds(),
    });
    const { cache, update } = this;
    const { main, digest } = lookup;
    const { tempPath } = this.passing.settings;
    return new CacheWriter(owner, entry, { cache, main, digest, update, tempPath });
  }

  end(code: number): void {
    if (this.ended) return;
    this.ended = true;
    if (this.cacheable && !this.cached && (code === 502 || code === 504)) {
      this.fail(code, validUntil(code, this.settings));
    }
    this.release();
    this.lookup.close();
    this.closeStored();
  }

  private release(): void {
    if (!this.handedOn) this.update.release();
  }

  /** Unless its file is being sent. */
  private closeStored(): void {
    if (this.stored !== undefined && !this.cached) closeStored(this.stored);
    if (!this.cached) this.stored = undefined;
  }

  serve(): void {
    const { stored } = this;
    if (stored === undefined) throw new Error("there is no stored response");
    this.release();
    this.cached = true;
    this.cacheable = false;
    this.head = stored.head.answer;
    sendStored(this.request, stored, this.passing);
  }
}

/** It updates an entry, and nobody waits for what it answers. */
function isBackground({ subrequest: own }: Request): boolean {
  return own?.options.background === true;
}

/** The update that a request has handed on to its subrequest. */
function updateOf({ subrequest: own }: Request): EntryUpdate | undefined {
  const cache = own?.parent.cache;
  return cache instanceof CachedRequest && own?.options.background === true ? cache.handOn() : undefined;
}

function leftWaiting(request: Request): void {
  logError(request, "info", "client prematurely closed connection");
  finalizeRequest(request, CLIENT_CLOSED_REQUEST);
}
