import {
  BAD_FORMAT,
  type Command,
  type DataFollows,
  MOST_DATA,
  MOST_KEY_BYTES,
  type Reply,
  replyWith,
  type StoreMode,
} from "./command.ts";
import { parseMeta } from "./meta.ts";
import { parseInt32, parseUint32, parseUint64 } from "./number.ts";

/** How command lines are read, as memcached does it (process_command_ascii), with what it tolerates. */

/** A line has so many words at most, but for those that ask for many keys. */
const MOST_WORDS = 23;
/** Whose commands these are: clients look what a server can do by its version. */
export const VERSION = "1.6.18";

const ERROR: Reply = { kind: "reply", text: "ERROR" };

/** Reads a command line without its line end. */
export function parseCommand(line: string): Command | DataFollows {
  const nul = line.indexOf("\0");
  const words = (nul < 0 ? line : line.slice(0, nul)).split(" ").filter((word) => word !== "");
  const [name = ""] = words;
  if (name.length < 2) return ERROR;
  switch (name) {
    case "get":
    case "bget":
    case "gets":
      return words.length < 2 ? ERROR : parseGet(words.slice(1), name === "gets", undefined);
    case "gat":
    case "gats":
      return parseGetAndTouch(words, name === "gats");
  }
  // What comes behind the last word that there is room for is ignored.
  if (words.length > MOST_WORDS) words.length = MOST_WORDS;
  const { length: count } = words;
  switch (name) {
    case "set":
    case "add":
    case "replace":
    case "append":
    case "prepend":
      return count === 5 || count === 6 ? parseStore(words, name) : ERROR;
    case "cas":
      return count === 6 || count === 7 ? parseStore(words, name) : ERROR;
    case "delete":
      return count >= 2 && count <= 4 ? parseDelete(words) : ERROR;
    case "touch":
      return count === 3 || count === 4 ? parseTouch(words) : ERROR;
    case "incr":
    case "decr":
      return count === 3 || count === 4 ? parseArithmetic(words, name === "incr") : ERROR;
    case "mn":
      return replyWith("MN");
    case "mg":
    case "ms":
    case "md":
    case "ma":
    case "me":
      return parseMeta(words);
    case "flush_all":
      return count <= 3 ? parseFlush(words) : ERROR;
    case "verbosity":
      return count === 2 || count === 3 ? parseVerbosity(words) : ERROR;
    case "stats":
      return parseStats(words);
    case "version":
      return replyWith(`VERSION ${VERSION}`);
    case "quit":
      return { kind: "close", reason: "" };
    default:
      return parseOther(words);
  }
}

function isQuiet(words: readonly string[]): boolean {
  return words.at(-1) === "noreply";
}

function parseGet(keys: readonly string[], withCas: boolean, exptime: number | undefined): Command {
  if (keys.some((key) => key.length > MOST_KEY_BYTES)) return replyWith(BAD_FORMAT);
  return { kind: "get", keys, withCas, exptime };
}

function parseGetAndTouch(words: readonly string[], withCas: boolean): Command {
  if (words.length < 2) return ERROR;
  const exptime = parseInt32(words[1]);
  if (exptime === undefined) return replyWith("CLIENT_ERROR invalid exptime argument");
  return parseGet(words.slice(2), withCas, exptime);
}

function parseStore(words: readonly string[], mode: StoreMode): Command | DataFollows {
  const quiet = isQuiet(words);
  const [, key] = words;
  const flags = parseUint32(words[2]);
  const exptime = parseInt32(words[3]);
  const length = parseInt32(words[4]);
  const cas = mode === "cas" ? parseUint64(words[5]) : 0n;
  const isMissing = flags === undefined || exptime === undefined || length === undefined || cas === undefined;
  if (key.length > MOST_KEY_BYTES || isMissing || length < 0 || length > MOST_DATA) {
    return replyWith(BAD_FORMAT, quiet);
  }
  const stored = { mode, key, flags, exptime, cas: Number(cas) };
  return { kind: "data", length, stored, meta: undefined, quiet, error: "" };
}

function parseDelete(words: readonly string[]): Command {
  const [, key, third] = words;
  const quiet = words.length > 2 && isQuiet(words);
  const isValid = words.length === 2 || (words.length === 3 ? third === "0" || quiet : third === "0" && quiet);
  if (!isValid) return replyWith(`${BAD_FORMAT}.  Usage: delete <key> [noreply]`, quiet);
  if (key.length > MOST_KEY_BYTES) return replyWith(BAD_FORMAT, quiet);
  return { kind: "delete", key, quiet };
}

function parseTouch(words: readonly string[]): Command {
  const quiet = isQuiet(words);
  const [, key, time] = words;
  if (key.length > MOST_KEY_BYTES) return replyWith(BAD_FORMAT, quiet);
  const exptime = parseInt32(time);
  if (exptime === undefined) return replyWith("CLIENT_ERROR invalid exptime argument", quiet);
  return { kind: "touch", key, exptime, quiet };
}

function parseArithmetic(words: readonly string[], increment: boolean): Command {
  const quiet = isQuiet(words);
  const [, key, by] = words;
  if (key.length > MOST_KEY_BYTES) return replyWith(BAD_FORMAT, quiet);
  const delta = parseUint64(by);
  if (delta === undefined) return replyWith("CLIENT_ERROR invalid numeric delta argument", quiet);
  return { kind: "arithmetic", key, increment, delta, quiet };
}

function parseFlush(words: readonly string[]): Command {
  const quiet = isQuiet(words);
  if (words.length === (quiet ? 2 : 1)) return { kind: "flush", exptime: 0, quiet };
  const exptime = parseInt32(words[1]);
  if (exptime === undefined) return replyWith("CLIENT_ERROR invalid exptime argument", quiet);
  return { kind: "flush", exptime, quiet };
}

function parseVerbosity(words: readonly string[]): Command {
  const quiet = isQuiet(words);
  return replyWith(parseUint32(words[1]) === undefined ? BAD_FORMAT : "OK", quiet);
}

function parseStats(words: readonly string[]): Command {
  const [, of = "", action] = words;
  if (of === "cachedump") return replyWith("CLIENT_ERROR stats cachedump not allowed");
  if (of !== "detail") return { kind: "stats", of };
  const usage = "CLIENT_ERROR usage: stats detail on|off|dump";
  return replyWith(action === "dump" ? "END" : action === "on" || action === "off" ? "OK" : usage);
}

/** What memcached has for its own memory and administrators is refused as a memcached refuses it where it is switched off. */
const NOT_ALLOWED: ReadonlyMap<string, string> = new Map([
  ["watch", "CLIENT_ERROR watch commands not allowed"],
  ["shutdown", "ERROR: shutdown not enabled"],
  ["cache_memlimit", "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust"],
]);

function parseOther(words: readonly string[]): Command {
  const [name, what] = words;
  if (name === "lru_crawler" && words.length > 1) {
    return replyWith(what === "metadump" ? "ERROR metadump not allowed" : "CLIENT_ERROR lru crawler disabled");
  }
  const refusal = NOT_ALLOWED.get(name);
  if (refusal !== undefined) return replyWith(refusal);
  // A browser that was made to talk to this port.
  if (words.at(-1)?.startsWith("HTTP/")) return { kind: "close", reason: "client speaks HTTP" };
  return ERROR;
}
