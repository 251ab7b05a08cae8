import { httpDateOf } from "../../sys/clock.ts";
import { type HeadText, headText } from "../../wire/head_text.ts";
import { parseHttpTime } from "../../wire/http_time.ts";
import { CLIENT_CLOSED_REQUEST } from "../core/codes.ts";
import { finalizeRequest } from "../core/engine.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { subrequest } from "../core/subrequest.ts";
import type { AnswerHead, BodyKeeper, CacheStatus, KeeperOwner, RequestCache } from "../core/upstream.ts";
import type { Passing } from "../upstream/settings.ts";
import type { Cache } from "./cache.ts";
import { EntryLookup, type LookupUser } from "./entry_lookup.ts";
import { EntryUpdate } from "./entry_update.ts";
import { KeptAnswer } from "./kept_answer.ts";
import { freshHeld } from "./memory_use.ts";
import { answerPurge, isPurge } from "./purge_request.ts";
import { anyHolds } from "./request_conditions.ts";
import type { CacheSettings } from "./settings.ts";
import { statusFieldValue } from "./status_field.ts";
import { closeStored, type StoredResponse, sendHeld, sendStored } from "./stored_response.ts";
import { ageOf, isFresh, seconds } from "./validity.ts";

/**
 * Answers a request from a location's cache, or has it passed to a server, whose answer may be kept. `ownKey` makes the module's
 * key, where the configuration has none.
 */
export function tryCache(
  request: Request,
  settings: CacheSettings,
  ownKey: (request: Request) => string,
  passing: Passing,
): void {
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
  const key = settings.key === undefined ? ownKey(request) : settings.key.render(request);
  if (purge !== undefined) {
    finalizeRequest(request, answerPurge(request, purge, cache, key, settings.tags));
    return;
  }
  const bypassed = anyHolds(settings.bypass, request);
  // What Cache-Status says depends on the request.
  const held = bypassed || settings.statusField !== undefined ? undefined : freshHeld(cache, key, request.headers);
  if (held !== undefined) {
    const { stored, body } = held;
    cache.counters.served("HIT", stored.bodyBytes, typeof body === "string");
    request.cache = held;
    sendHeld(request, held, passing);
    return;
  }
  const own = new CachedRequest(request, cache, key, settings, passing);
  request.cache = own;
  own.begin(bypassed);
}

/** A request's dealings with the cache (ngx_http_file_cache_open, ngx_http_upstream_cache). */
class CachedRequest implements RequestCache, LookupUser {
  status: CacheStatus = "MISS";
  cached = false;
  head: AnswerHead | undefined = undefined;
  readonly convertsHead: boolean;
  private readonly cache: Cache;
  private readonly request: Request;
  private readonly settings: CacheSettings;
  private readonly passing: Passing;
  private readonly lookup: EntryLookup;
  /** A background subrequest's is its parent's. */
  private readonly update: EntryUpdate;
  private readonly answer: KeptAnswer;
  /** A background subrequest does the update. */
  private handedOn = false;
  private stored: StoredResponse | undefined = undefined;
  private staleIfError = false;
  private ended = false;

  constructor(request: Request, cache: Cache, key: string, settings: CacheSettings, passing: Passing) {
    this.cache = cache;
    this.request = request;
    this.settings = settings;
    this.passing = passing;
    this.convertsHead = settings.convertHead && request.method === "HEAD";
    this.lookup = new EntryLookup(request, cache, key, settings, this);
    this.update = updateOf(request) ?? new EntryUpdate(cache, this);
    this.answer = new KeptAnswer(request, cache, settings, passing, this.lookup, this.update);
  }

  get cacheable(): boolean {
    return !this.cached && this.answer.cacheable;
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

  get age(): number | undefined {
    const { stored } = this;
    return stored === undefined || !this.cached ? undefined : ageOf(stored.head, seconds());
  }

  statusField(): HeadText | undefined {
    const { status, stored, answer, lookup, update } = this;
    const field = this.settings.statusField;
    if (field === undefined) return undefined;
    const kept = !this.cached && answer.willBeKept;
    const valid = this.cached ? stored?.head.valid : kept ? answer.valid : undefined;
    const outcome = {
      status,
      key: lookup.key,
      unasked: this.cached && status !== "REVALIDATED" && (status !== "STALE" || this.handedOn),
      waited: update.patience !== 0,
      secondary: lookup.secondary,
      answered: answer.status,
      kept,
      left: valid === undefined ? undefined : valid - seconds(),
    };
    return headText(statusFieldValue(field, outcome));
  }

  begin(bypassed: boolean): void {
    const { request } = this;
    if (bypassed) {
      this.status = "BYPASS";
      this.pass();
      return;
    }
    if (this.settings.statusField !== undefined && this.serveHeld()) return;
    request.cleanup ??= [];
    request.cleanup.push(() => this.end(0));
    this.lookup.open();
  }

  private serveHeld(): boolean {
    const { request, cache, lookup } = this;
    const held = freshHeld(cache, lookup.key, request.headers);
    if (held === undefined) return false;
    const { stored: head, generation, body } = held;
    if (typeof body !== "string") body.use();
    this.stored = { head, generation, body };
    this.status = "HIT";
    this.serve();
    return true;
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
    if (isFresh(head, time)) {
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
      if (settings.backgroundUpdate && !isStreamed(request)) {
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
    if (!this.serveHeld()) this.lookup.again();
  }

  onFault(error: unknown): void {
    this.request.onFault(error);
  }

  // ---- the passage

  onUnkept(): void {
    this.answer.refuse();
    this.pass();
  }

  private pass(): void {
    this.answer.begin();
    this.passing.pass(this.request);
  }

  takeHead(head: AnswerHead): void {
    this.answer.take(head);
  }

  replaces(condition: string): boolean {
    if (this.status !== "EXPIRED" || this.stored === undefined) return false;
    const wanted = this.settings.useStale.has(condition) || (this.staleIfError && !condition.startsWith("http_"));
    if (!wanted || this.answer.isPurged(this.stored.head.tags)) return false;
    this.status = "STALE";
    return true;
  }

  confirmed(): boolean {
    if (this.status !== "EXPIRED" || this.stored === undefined) return false;
    const confirmed = this.answer.confirm(this.stored);
    if (confirmed === undefined) return false;
    this.stored = confirmed;
    this.status = "REVALIDATED";
    return true;
  }

  intercepted(): void {
    this.answer.intercepted();
    this.end(0);
  }

  keep(owner: KeeperOwner): BodyKeeper | undefined {
    const keeper = this.answer.keep(owner);
    if (keeper === undefined) this.end(0);
    else this.closeStored();
    return keeper;
  }

  end(code: number): void {
    if (this.ended) return;
    this.ended = true;
    // The subrequest that updates in the background answers nobody.
    if (!this.cached && !isBackground(this.request)) this.cache.counters.answered(this.status);
    if (!this.cached && (code === 502 || code === 504)) this.answer.failed(code);
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
    this.head = stored.head.answer;
    this.cache.counters.served(this.status, stored.head.bodyBytes, typeof stored.body === "string");
    sendStored(this.request, stored, this.passing);
  }
}

/** Its body is passed on as it comes: a subrequest would ask the server without it. */
function isStreamed({ bodyStarted, body }: Request): boolean {
  return bodyStarted && body === undefined;
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
