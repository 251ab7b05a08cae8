import fs from "node:fs";
import { osPath } from "../../sys/paths.ts";
import type { Cache } from "./cache.ts";
import { digestOf } from "./digest.ts";
import { removeFile } from "./entry_file.ts";
import { MOST_TEXT, type PurgeRefusal } from "./purges.ts";

/** What a purge did. */
export type PurgeResult = "purged" | "not found" | PurgeRefusal;

/** Purges a key; with `*` at its end, all keys that begin so. */
export function purge(cache: Cache, key: string): PurgeResult {
  if (key.endsWith("*")) return cache.purges.many("prefix", key.slice(0, -1)) ?? "purged";
  return purgeKey(cache, key);
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
      const refused = cache.purges.many("tags", text);
      if (refused !== undefined) return refused;
      text = " ";
    }
    text += `${tag} `;
  }
  return cache.purges.many("tags", text) ?? "purged";
}
