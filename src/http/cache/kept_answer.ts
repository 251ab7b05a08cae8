import type { Request } from "../core/request.ts";
import type { AnswerHead, BodyKeeper, KeeperOwner } from "../core/upstream.ts";
import type { Passing } from "../upstream/settings.ts";
import type { Cache } from "./cache.ts";
import { CacheWriter } from "./cache_writer.ts";
import { variantOf } from "./digest.ts";
import { entryOf, headLength, MOST_HEAD, removeFile } from "./entry_file.ts";
import type { EntryLookup } from "./entry_lookup.ts";
import type { EntryUpdate } from "./entry_update.ts";
import { renewStored } from "./renewal.ts";
import { anyHolds, asksForAll } from "./request_conditions.ts";
import type { CacheSettings } from "./settings.ts";
import type { StoredResponse } from "./stored_response.ts";
import { tagsOf } from "./tags.ts";
import { confirmedValidity, type Freshness, freshnessOf, seconds, validUntil } from "./validity.ts";

/** What a server answers to a request that was passed on, on its way into the cache. */
export class KeptAnswer {
  /** It may be kept. */
  cacheable = true;
  private readonly request: Request;
  private readonly cache: Cache;
  private readonly settings: CacheSettings;
  private readonly passing: Passing;
  private readonly lookup: EntryLookup;
  private readonly update: EntryUpdate;
  /** As far as the request says. */
  private wanted = true;
  /** The number of the last purge before the fetch began. */
  private purge = 0;
  private head: AnswerHead | undefined = undefined;
  private freshness: Freshness | undefined = undefined;

  constructor(
    request: Request,
    cache: Cache,
    settings: CacheSettings,
    passing: Passing,
    lookup: EntryLookup,
    update: EntryUpdate,
  ) {
    this.request = request;
    this.cache = cache;
    this.settings = settings;
    this.passing = passing;
    this.lookup = lookup;
    this.update = update;
  }

  /** It is not to be kept, whatever it says. */
  refuse(): void {
    this.wanted = false;
    this.cacheable = false;
  }

  /** The request is passed on now. */
  begin(): void {
    if (!asksForAll(this.request, this.settings)) this.refuse();
    this.purge = this.cache.purges.last;
  }

  /** Of the server's answer; 0 before there is one. */
  get status(): number {
    return this.head?.status ?? 0;
  }

  /** Until when it is fresh, seconds since 1970; 0: it is not. */
  get valid(): number {
    const { head, freshness, settings } = this;
    return head === undefined || freshness === undefined ? 0 : freshness.valid || validUntil(head.status, settings);
  }

  /** As far as its head says. */
  get willBeKept(): boolean {
    return this.cacheable && this.valid !== 0 && !anyHolds(this.settings.noCache, this.request);
  }

  take(head: AnswerHead): void {
    this.head = head;
    this.freshness = freshnessOf(head, this.passing.settings.ignored, seconds());
    this.cacheable = this.wanted && this.freshness.keep;
  }

  /** Whether the entry was purged since the fetch began. */
  isPurged(tags: string): boolean {
    const { cache, lookup, purge } = this;
    return cache.purges.overtook({ key: lookup.key, tags, purge }, lookup.main);
  }

  /** The stored response that the answer, a 304, confirms, as it is with that; undefined where it is none. */
  confirm(stored: StoredResponse): StoredResponse | undefined {
    const { request, cache, head, freshness, settings, lookup, passing } = this;
    if (head?.status !== 304 || freshness === undefined || !settings.revalidate || !this.wanted) return undefined;
    const tags = tagsOf(head.headers, settings.tags);
    if (tags !== "" && tags !== stored.head.tags) {
      // A purge of its new tags would not reach it: the next request gets it anew.
      removeFile(cache.fileOf(lookup.digest));
      cache.index.drop(lookup.digest, stored.generation);
      return stored;
    }
    const validity = confirmedValidity(freshness, stored.head.answer, passing.settings.ignored, settings);
    return validity.valid === 0 ? stored : renewStored(request, cache, lookup.digest, stored, validity);
  }

  /** An error page takes its place: its status is what is kept. */
  intercepted(): void {
    this.fail(this.status, this.valid);
  }

  /** There is none, but that status. */
  failed(status: number): void {
    this.fail(status, validUntil(status, this.settings));
  }

  /** Has the status answered in place of a response until then; 0: not at all. */
  private fail(status: number, until: number): void {
    const left = until - seconds();
    if (!this.cacheable || left < 0 || this.isPurged("")) return;
    const { index } = this.cache;
    const { digest } = this.lookup;
    const generation = index.generationOf(digest);
    removeFile(this.cache.fileOf(digest));
    index.fail(digest, generation, this.update.token, { status, seconds: left, purge: this.purge });
  }

  /** What keeps its body; undefined where it is not kept. */
  keep(owner: KeeperOwner): BodyKeeper | undefined {
    const { request, cache, settings, head, freshness, lookup, update } = this;
    if (head === undefined || freshness === undefined) return undefined;
    const { valid } = this;
    this.cacheable = this.willBeKept;
    if (!this.cacheable) return undefined;
    const { vary, updating, error } = freshness;
    const variant = vary === "" ? "" : variantOf(lookup.main, vary, request.headers);
    if (lookup.secondary && variant !== lookup.digest) {
      update.release();
      lookup.leaveVariant();
    }
    const entry = entryOf(head, {
      key: lookup.key,
      vary,
      variant,
      purge: this.purge,
      family: lookup.family || Math.random(),
      toHead: request.method === "HEAD" && !settings.convertHead,
      tags: tagsOf(head.headers, settings.tags),
      valid,
      updating,
      error,
      date: seconds(),
    });
    if (headLength(entry) > MOST_HEAD) {
      this.cacheable = false;
      return undefined;
    }
    const { main, digest } = lookup;
    return new CacheWriter(owner, entry, { cache, main, digest, update });
  }
}
