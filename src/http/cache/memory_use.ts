import fs from "node:fs";
import { now } from "../../sys/clock.ts";
import { readCached } from "../../sys/page_cache.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import { SharedFile } from "../files/static_file.ts";
import type { Cache } from "./cache.ts";
import { fieldNames } from "./digest.ts";
import { checksum, type StoredHead } from "./entry_file.ts";
import type { HeldResponse, MainContents, MemoryTier } from "./memory_tier.ts";
import type { StoredResponse } from "./stored_response.ts";
import { isFresh, seconds } from "./validity.ts";

/** How requests come by responses in memory, and how responses come there. */

/** How long the use of a response in memory goes unnoted in the index, ms. */
const UNNOTED_MS = 1000;

/** The response in memory to a request for the key with those fields, where it is fresh. */
export function freshHeld(cache: Cache, key: string, headers: HeaderList): HeldResponse | undefined {
  const { memory } = cache;
  const held = memory?.get(key, headers);
  if (memory === undefined || held === undefined) return undefined;
  const time = now();
  if (!isFresh(held.stored, seconds()) || cache.purges.covers(held.stored)) return undefined;
  if (typeof held.body !== "string" && !held.body.isIntact()) {
    memory.forget(held);
    return undefined;
  }
  if (time - held.notedAt > UNNOTED_MS) noteUse(cache, held, time);
  return held;
}

function noteUse({ index }: Cache, held: HeldResponse, time: number): void {
  held.notedAt = time;
  index.open(held.digest, 1);
  const { digest } = held.owner.main;
  if (digest !== held.digest) index.open(digest, 1);
}

/** A file of the cache that was opened for a request, and whose head is right. */
export interface OpenedFile {
  readonly key: string;
  readonly headers: HeaderList;
  readonly head: StoredHead;
  readonly digest: string;
  /** The key's own entry, if this is not it. */
  readonly main: MainContents | undefined;
  readonly generation: number;
  /** How often the entry was asked for. */
  readonly uses: number;
  /** What was read of the file, from its beginning; undefined where that is not to be had any more. */
  readonly bytes: Buffer | undefined;
  readonly path: string;
  readonly fd: number;
  readonly stats: fs.Stats;
}

/** So often an entry must have been asked for until its response is held in memory, unless this worker wrote it. */
const USES = 2;

/** The response in a file, which is held in memory if it is fresh and asked for more often; undefined where its body is not what it should be. */
export function openedResponse(cache: Cache, file: OpenedFile): StoredResponse | undefined {
  const { head, generation, fd, path, stats, uses } = file;
  const { memory } = cache;
  if (memory === undefined || uses < USES || generation === 0 || head.toHead || !isFresh(head, seconds())) {
    return { head, generation, body: new SharedFile(fd, path, stats) };
  }
  const small = head.bodyBytes <= memory.longest;
  const text = small ? bodyText(file) : undefined;
  if (text === WRONG) return undefined;
  const body = text ?? new SharedFile(fd, path, stats);
  if (typeof body === "string") fs.closeSync(fd);
  if (typeof body === "string" || !small) hold(cache, memory, file, body);
  return { head, generation, body };
}

const WRONG = Symbol();

/** The body as a byte string; undefined where the disk would have to be waited for. */
function bodyText({ head, bytes, fd }: OpenedFile): string | typeof WRONG | undefined {
  const { headBytes, bodyBytes, bodyChecksum } = head;
  if (bodyBytes === 0) return "";
  const end = headBytes + bodyBytes;
  const body =
    bytes !== undefined && bytes.length >= end ? bytes.subarray(headBytes, end) : readCached(fd, headBytes, bodyBytes);
  if (body?.length !== bodyBytes) return undefined;
  return checksum(body) === bodyChecksum ? body.latin1Slice() : WRONG;
}

function hold(cache: Cache, memory: MemoryTier, file: OpenedFile, body: string | SharedFile): void {
  const { key, headers, head, digest, generation } = file;
  const place = cache.index.place(digest);
  const main = file.main ?? { digest, place, generation, fields: fieldNames(head.vary) };
  memory.put(key, main, headers, { head, digest, place, generation, body }, now());
  cache.counters.holds(memory.bytes);
}
