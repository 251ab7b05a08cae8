import { closeSync, constants, fstatSync, openSync, promises, readFileSync, renameSync, writeFileSync } from "node:fs";
import { errnoCode, errnoText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import { MOST_VALUE, type Pair } from "./pair_entries.ts";
import { filedKey, type PairType, shownKey } from "./pair_key.ts";

/**
 * The file in which pairs outlive a restart (`state=`): a JSON object, as the API of NGINX Plus has pairs. A pair that ends has a
 * moment in ms since 1970. A file written by hand may have a lifetime in its place.
 *
 *     {"key": "value", "other": {"value": "…", "expires": 1764230400000}, "third": {"value": "…", "expire": 30000}}
 *
 * Bytes are as they are, also where they are no UTF-8.
 */

/** A larger file is not read. */
const MOST_BYTES = 512 * 1024 * 1024;
/** Earlier than any change. */
const STAMP = 1;

/** An escape in a JSON string, of any kind, so that `\\u00e9` is not taken for one of é. */
const ESCAPES = /\\(?:u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|u([0-9a-f]{4})|.)/gis;

/** Pairs of a file, or why it is not taken. `lifetime`: of pairs without an end. `now`: ms since 1970. */
export function readPairs(file: Buffer, type: PairType, lifetime: number, now: number): readonly Pair[] | string {
  const text = file.latin1Slice().replace(ESCAPES, (written, high, low, unit) => {
    if (high !== undefined) return utf8(Number.parseInt(high, 16), Number.parseInt(low, 16));
    const code = unit === undefined ? 0 : Number.parseInt(unit, 16);
    return code < 0x80 ? written : utf8(code);
  });
  let value: unknown;
  try {
    value = text.trim() === "" ? {} : JSON.parse(text);
  } catch (error) {
    return `it is no JSON (${error instanceof Error ? Buffer.from(error.message).latin1Slice() : error})`;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "it is no JSON object";
  const pairs: Pair[] = [];
  for (const [shown, member] of Object.entries(value)) {
    const key = filedKey(type, shown);
    if (key === undefined) return `"${shown}" is no key of type=${type}`;
    const pair = pairOf(key, member, lifetime, now);
    if (pair === undefined) return `"${shown}" has neither text nor an object with "value"`;
    pairs.push(pair);
  }
  return pairs;
}

function utf8(...units: readonly number[]): string {
  return Buffer.from(String.fromCharCode(...units)).latin1Slice();
}

function pairOf(key: string, member: unknown, lifetime: number, now: number): Pair | undefined {
  const plain = textOf(member);
  if (plain !== undefined) return { key, value: plain, ends: now + lifetime, stamp: STAMP };
  if (typeof member !== "object" || member === null) return undefined;
  const { value, expires, expire }: { value?: unknown; expires?: unknown; expire?: unknown } = member;
  const text = textOf(value);
  if (text === undefined) return undefined;
  const ends = endOf(expires, 0) ?? endOf(expire, now) ?? now + lifetime;
  return { key, value: text, ends, stamp: STAMP };
}

function endOf(ms: unknown, since: number): number | undefined {
  return typeof ms === "number" && ms >= 0 ? since + ms : undefined;
}

/** A number counts as its text. */
function textOf(value: unknown): string | undefined {
  const text = typeof value === "number" ? String(value) : value;
  return typeof text === "string" && text.length <= MOST_VALUE ? text : undefined;
}

/** Puts the file together. */
export class StateWriter {
  readonly #type: PairType;
  readonly #pieces: Buffer[] = [];
  #first = true;

  constructor(type: PairType) {
    this.#type = type;
  }

  add(pairs: readonly Pair[]): void {
    let piece = "";
    for (const { key, value = "", ends } of pairs) {
      const member = ends === Number.POSITIVE_INFINITY ? value : { value, expires: ends };
      piece += `${this.#first ? "{\n" : ",\n"}${JSON.stringify(shownKey(this.#type, key))}:${JSON.stringify(member)}`;
      this.#first = false;
    }
    if (piece !== "") this.#pieces.push(Buffer.from(piece, "latin1"));
  }

  finish(): Buffer {
    return Buffer.concat([...this.#pieces, Buffer.from(this.#first ? "{}\n" : "\n}\n")]);
  }
}

/** undefined where there is no such file. Throws an error whose message says why it cannot be read. */
export function readState(path: string): Buffer | undefined {
  let fd: number;
  try {
    fd = openSync(osPath(path), constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return undefined;
    throw new Error(reasonOf(error), { cause: error });
  }
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) throw new Error("it is no plain file");
    if (status.size > MOST_BYTES) throw new Error("it is too large");
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Replaces the file. Throws as node:fs does. */
export function writeState(path: string, file: Buffer): void {
  const beside = besideOf(path);
  writeFileSync(beside, file, { mode: 0o600, flush: true });
  renameSync(beside, osPath(path));
}

/** The same beside the event loop. */
export async function writeStateLater(path: string, file: Buffer): Promise<void> {
  const beside = besideOf(path);
  await promises.writeFile(beside, file, { mode: 0o600, flush: true });
  await promises.rename(beside, osPath(path));
}

function besideOf(path: string): string | Buffer {
  return osPath(`${path}.${process.pid}`);
}

/** What failed, in the words of the operating system where they are its. */
export function reasonOf(error: unknown): string {
  const code = errnoCode(error);
  return code === undefined ? (error instanceof Error ? error.message : String(error)) : errnoText(code);
}
