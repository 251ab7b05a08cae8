import fs from "node:fs";
import { osPath } from "../../sys/paths.ts";
import type { Cache } from "./cache.ts";
import { digestOf } from "./digest.ts";
import { removeFile } from "./entry_file.ts";
import type { SharedPurge } from "./purge_outbox.ts";
import { MOST_TEXT, type PurgeRefusal } from "./purges.ts";

/** What a purge did. */
export type PurgeResult = "purged" | "not found" | PurgeRefusal;

/** Purges a key; with `*` at its end, all keys that begin so. */
export function purge(cache: Cache, key: string): PurgeResult {
  return purgeEverywhere(
    cache,
    key.endsWith("*") ? { kind: "prefix", text: key.slice(0, -1) } : { kind: "key", text: key },
  );
}

/** On this node, and where nodes share the cache's purges on all: then it does not matter whether there is such a key here. */
function purgeEverywhere(cache: Cache, one: SharedPurge): PurgeResult {
  const { outbox } = cache;
  const result = purgeHere(cache, one);
  if (outbox === undefined || (result !== "purged" && result !== "not found")) return result;
  const { kind, text } = one;
  // What begins with a key that is too long to tell is purged with it there.
  outbox.add(text.length > MOST_TEXT ? { kind: "prefix", text: text.slice(0, MOST_TEXT) } : { kind, text });
  return "purged";
}

/** On this node alone. */
export function purgeHere(cache: Cache, { kind, text }: SharedPurge): PurgeResult {
  return kind === "key" ? purgeKey(cache, text) : (cache.purges.many(kind, text) ?? "purged");
}

/** Its variants go with it: they are bound to the entry that is removed (StoredHead.family). */
function purgeKey(cache: Cache, key: string): PurgeResult {
  const { index } = cache;
  const digest = digestOf(key);
  cache.purges.one(digest);
  const generation = index.generationOf(digest);
  const path = cache.fileOf(digest);
  // The file goes first: of an entry without one the next request finds that out, a file without an entry would stay.
  const removed = removeFile(path);
  const known = index.drop(digest, generation);
  if (removed) return "purged";
  // A file that stays must not come back, not even with a restart: what begins with the key is purged with it.
  if (fs.existsSync(osPath(path))) return cache.purges.many("prefix", key) ?? "purged";
  return known ? "purged" : "not found";
}

/** Purges what has any of these tags, each between spaces. More than one purge has room for make several. */
export function purgeTags(cache: Cache, tags: string): PurgeResult {
  let text = " ";
  for (const tag of tags.trim().split(" ")) {
    if (text.length + tag.length + 1 > MOST_TEXT && text !== " ") {
      const result = purgeEverywhere(cache, { kind: "tags", text });
      if (result !== "purged") return result;
      text = " ";
    }
    text += `${tag} `;
  }
  return purgeEverywhere(cache, { kind: "tags", text });
}
