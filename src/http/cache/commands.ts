import { type Command, CommandError, type CommandReply, type CommandRequest } from "../../runtime/control/protocol.ts";
import { startTimer } from "../../sys/timers.ts";
import type { Cache } from "./cache.ts";
import { digestOf } from "./digest.ts";
import type { StoredHead } from "./entry_file.ts";
import { digestOfPath, entryPaths, readEntry } from "./entry_walk.ts";
import { purge, purgeTags } from "./purge.ts";
import { isFresh } from "./validity.ts";

/** What is answered of caches at the control socket: `cache ls`, `cache show`, `cache purge`. In the checker. */

/** So many files are looked at, then the checker has a pause. */
const AT_ONCE = 100;
const PAUSE_MS = 10;

/** `caches`: those of the configuration. */
export function cacheCommands(caches: () => readonly Cache[]): ReadonlyMap<string, Command> {
  const on =
    (work: (cache: Cache, request: CommandRequest, reply: CommandReply) => Promise<void>): Command =>
    (request, reply) =>
      work(cacheOf(caches(), request), request, reply);
  return new Map([
    ["cache ls", on(list)],
    ["cache show", on(show)],
    ["cache purge", on(remove)],
  ]);
}

function cacheOf(caches: readonly Cache[], { zone }: CommandRequest): Cache {
  const found = caches.find(({ name }) => name === zone);
  if (found !== undefined) return found;
  const names = caches.map(({ name }) => name).join(", ");
  throw new CommandError(
    `there is no cache "${zone}" (${names === "" ? "there is none at all" : `there are: ${names}`})`,
  );
}

function textIn(request: CommandRequest, name: string): string | undefined {
  const value = request[name];
  if (value === undefined) return undefined;
  if (typeof value !== "string" || value === "") throw new CommandError(`"${name}" is no text`);
  return value;
}

/** A line for each entry; `prefix`: of those whose keys begin so. */
async function list(cache: Cache, request: CommandRequest, reply: CommandReply): Promise<void> {
  const prefix = textIn(request, "prefix") ?? "";
  let seen = 0;
  for await (const path of entryPaths(cache.directory, cache.settings.levels.length)) {
    if (++seen % AT_ONCE === 0) await pause();
    const entry = await readEntry(path);
    if (entry === undefined || !entry.head.key.startsWith(prefix)) continue;
    if (!(await reply.line(summary(cache, path, entry.head, entry.size)))) return;
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => startTimer(PAUSE_MS, resolve));
}

/** Times in seconds. */
function summary(cache: Cache, path: string, head: StoredHead, size: number) {
  const now = Math.floor(Date.now() / 1000);
  return {
    key: head.key,
    state: cache.purges.covers(head) ? "purged" : isFresh(head, now) ? "fresh" : "stale",
    size,
    age: Math.max(0, now - head.date),
    left: head.valid - now,
    uses: cache.index.uses(digestOfPath(path)),
    vary: head.vary,
    tags: head.tags.trim(),
  };
}

async function show(cache: Cache, request: CommandRequest, reply: CommandReply): Promise<void> {
  const key = textIn(request, "key") ?? "";
  const path = cache.fileOf(digestOf(key));
  const entry = await readEntry(path);
  if (entry === undefined || entry.head.key !== key) throw missing(cache, key);
  const { head, size } = entry;
  const { status, statusLine, headers } = head.answer;
  await reply.line({
    ...summary(cache, path, head, size),
    file: path,
    date: head.date,
    valid: head.valid,
    headBytes: head.headBytes,
    bodyBytes: head.bodyBytes,
    head: `HTTP/1.1 ${statusLine ?? status}\r\n${headers.lines()}`,
  });
}

function missing({ name }: Cache, key: string): CommandError {
  return new CommandError(`there is no key "${key}" in cache "${name}"`);
}

/** A `key`, which may end with `*`; or `tags`, divided by spaces. */
async function remove(cache: Cache, request: CommandRequest, reply: CommandReply): Promise<void> {
  const key = textIn(request, "key");
  const tags = textIn(request, "tags")?.trim();
  if ((key === undefined) === (tags === undefined) || tags === "")
    throw new CommandError("a purge goes by a key or by tags");
  const result = tags === undefined ? purge(cache, key ?? "") : purgeTags(cache, tags.replace(/[\s,]+/g, " "));
  switch (result) {
    case "not found":
      throw missing(cache, key ?? "");
    case "full":
      throw new CommandError(`cache "${cache.name}" has too many purges pending`);
    case "too long":
      throw new CommandError("the key or tag to purge is too long");
    case "purged":
      await reply.line({ purged: key ?? tags });
  }
}
