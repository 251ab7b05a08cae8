import {
  BAD_FORMAT,
  type DataFollows,
  type Meta,
  type MetaFlags,
  MOST_DATA,
  MOST_KEY_BYTES,
  type Reply,
  replyWith,
  type StoreMode,
} from "./command.ts";
import { parseInt32, parseUint32, parseUint64 } from "./number.ts";

/** How the lines of memcached's meta commands are read. */

const BAD_TOKEN = "CLIENT_ERROR bad token in command line format";
/** A command with more words is refused (MFLAG_MAX_OPT_LENGTH). */
const MOST_WORDS = 19;
const MOST_OPAQUE = 32;
const IGNORED = "OPLkstcflhu";
const MODES: ReadonlyMap<string, StoreMode> = new Map([
  ["", "set"],
  ["E", "add"],
  ["A", "append"],
  ["P", "prepend"],
  ["R", "replace"],
  ["S", "set"],
]);

/** Reads the words of a meta command. */
export function parseMeta(words: readonly string[]): Meta | Reply | DataFollows {
  const [name, key] = words;
  if (name === "me") return parseDebug(words);
  if (words.length < 2) return replyWith("ERROR");
  if (key.length > MOST_KEY_BYTES || (name === "ms" && words.length < 3)) return replyWith(BAD_FORMAT);
  if (words.length > MOST_WORDS) return replyWith(`CLIENT_ERROR options flags ${name === "mg" ? "are " : ""}too long`);
  if (name === "ms") return parseSet(words);
  const parsed = parseFlags(key, words.slice(2));
  if (name === "mg") return "error" in parsed ? replyWith(parsed.error) : { kind: "mg", ...parsed };
  if ("error" in parsed) {
    return replyWith(parsed.opaque === true ? parsed.error : "CLIENT_ERROR invalid or duplicate flag");
  }
  if (name === "md") return { kind: "md", ...parsed };
  const { mode } = parsed.flags;
  if (mode !== "" && !"ID+-".includes(mode)) return replyWith("CLIENT_ERROR invalid mode for ma M token");
  return { kind: "ma", ...parsed };
}

function parseDebug([, key, flag]: readonly string[]): Meta | Reply {
  if (key === undefined || key.length > MOST_KEY_BYTES) return replyWith(BAD_FORMAT);
  const parsed = parseFlags(key, flag === "b" ? ["b"] : []);
  return "error" in parsed ? replyWith(BAD_FORMAT) : { kind: "me", ...parsed };
}

function parseSet(words: readonly string[]): Reply | DataFollows {
  const length = parseInt32(words[2]);
  if (length === undefined || length < 0 || length > MOST_DATA) return replyWith(BAD_FORMAT);
  const parsed = parseFlags(words[1], words.slice(3));
  // Whatever is wrong, the value that follows is no command.
  const skipped = { kind: "data", length, stored: undefined, meta: undefined, quiet: false } as const;
  if ("error" in parsed) return { ...skipped, error: parsed.error };
  const { key, flags } = parsed;
  const mode = MODES.get(flags.mode);
  if (mode === undefined) return { ...skipped, error: "CLIENT_ERROR invalid mode for ms M token" };
  const compares = flags.cas !== undefined && (mode === "set" || mode === "replace");
  const stored = {
    mode: compares ? "cas" : mode,
    key,
    flags: flags.clientFlags,
    exptime: flags.exptime ?? 0,
    cas: flags.cas ?? 0,
  } as const;
  return { kind: "data", length, stored, meta: flags, quiet: flags.quiet, error: "" };
}

interface Failure {
  readonly error: string;
  /** It is the opaque that is wrong. */
  readonly opaque?: boolean;
}

/** _meta_flag_preparse */
function parseFlags(key: string, words: readonly string[]): { key: string; flags: MetaFlags } | Failure {
  const flags: MetaFlags = {
    words,
    binary: false,
    quiet: false,
    value: false,
    invalidate: false,
    vivify: undefined,
    recache: undefined,
    exptime: undefined,
    clientFlags: 0,
    cas: undefined,
    mode: "",
    delta: 1n,
    initial: 0n,
  };
  const seen = new Set<string>();
  let error: string | undefined;
  for (const word of words) {
    const [letter] = word;
    if (letter >= "\x7f" || seen.has(letter)) return { error: "CLIENT_ERROR duplicate flag" };
    seen.add(letter);
    const wrong = readFlag(flags, letter, word.slice(1));
    if (wrong === UNKNOWN) return { error: wrong };
    error = wrong ?? error;
  }
  const decoded = flags.binary ? decodeKey(key) : key;
  if (decoded === undefined) return { error: "CLIENT_ERROR error decoding key" };
  if (error !== undefined) return { error };
  const opaque = words.find((word) => word.startsWith("O"));
  if (opaque !== undefined && opaque.length > MOST_OPAQUE) {
    return { error: "CLIENT_ERROR opaque token too long", opaque: true };
  }
  return { key: decoded, flags };
}

const UNKNOWN = "CLIENT_ERROR invalid flag";

/** Returns what is wrong with it. */
function readFlag(flags: MetaFlags, letter: string, token: string): string | undefined {
  const time = letter === "N" || letter === "T" || letter === "R" ? parseInt32(token) : undefined;
  switch (letter) {
    case "b":
      flags.binary = true;
      return undefined;
    case "q":
      flags.quiet = true;
      return undefined;
    case "v":
      flags.value = true;
      return undefined;
    case "I":
      flags.invalidate = true;
      return undefined;
    case "N":
      flags.vivify = time;
      return time === undefined ? BAD_TOKEN : undefined;
    case "T":
      flags.exptime = time;
      return time === undefined ? BAD_TOKEN : undefined;
    case "R":
      flags.recache = time;
      return time === undefined ? BAD_TOKEN : undefined;
    case "F": {
      const value = parseUint32(token);
      flags.clientFlags = value ?? 0;
      return value === undefined ? BAD_FORMAT : undefined;
    }
    case "C": {
      const value = parseUint64(token);
      flags.cas = value === undefined ? undefined : Number(value);
      return value === undefined ? BAD_TOKEN : undefined;
    }
    case "M":
      flags.mode = token;
      return token.length === 1 ? undefined : "CLIENT_ERROR incorrect length for M token";
    case "J": {
      const value = parseUint64(token);
      flags.initial = value ?? 0n;
      return value === undefined ? "CLIENT_ERROR invalid numeric initial value" : undefined;
    }
    case "D": {
      const value = parseUint64(token);
      flags.delta = value ?? 0n;
      return value === undefined ? "CLIENT_ERROR invalid numeric delta value" : undefined;
    }
    default:
      return IGNORED.includes(letter) ? undefined : UNKNOWN;
  }
}

/** base64_decode: what is no letter of it is skipped, and what follows padding ignored. */
function decodeKey(text: string): string | undefined {
  const letters = text.replace(/[^A-Za-z0-9+/=]/g, "");
  if (letters.length === 0 || letters.length % 4 !== 0) return undefined;
  const [whole] = /^(?:[^=]{4})*(?:[^=]{2}==|[^=]{3}=)?/.exec(letters) ?? [""];
  if (whole === "") return undefined;
  return Buffer.from(whole, "base64").latin1Slice();
}

/** ` kKEY`, as an answer has it. */
export function keyFlag(key: string, binary: boolean): string {
  return binary ? ` k${encodedKey(key)} b` : ` k${key}`;
}

export function encodedKey(key: string): string {
  return Buffer.from(key, "latin1").toString("base64");
}
