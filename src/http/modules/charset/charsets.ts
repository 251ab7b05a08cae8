import { fail, reachesOut, type Scope } from "../../../config/schema.ts";
import { ConfigError, type Directive } from "../../../config/types.ts";
import { type HeadText, headText } from "../../../wire/head_text.ts";
import { decodeUtf8 } from "../../../wire/utf8.ts";

/** A conversion from one charset to another. */
export type CharsetTable =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  /** The UTF-8 sequence of each byte. */
  | { readonly kind: "to utf-8"; readonly sequences: readonly Uint8Array[] }
  /** The byte of a code point below 65536: by its high byte, then its low byte; 0 where there is none. */
  | { readonly kind: "from utf-8"; readonly pages: readonly (Uint8Array | undefined)[] };

/** A charset that the configuration mentions. */
export interface Charset {
  /** In the spelling that comes first. */
  readonly name: HeadText;
  readonly utf8: boolean;
  /** Its conversions to others. */
  readonly tables: Map<Charset, CharsetTable>;
}

const CHARSETS = Symbol("charsets");
const QUESTION_MARK = 0x3f;
/** Longest UTF-8 sequence of `charset_map`, in bytes. */
const LONGEST = 3;

/** All charsets that a configuration mentions, by name in lower case. */
export function charsetsOf(scope: Scope): Map<string, Charset> {
  const known = scope.notes.get(CHARSETS);
  if (known instanceof Map) return known;
  const fresh = new Map<string, Charset>();
  scope.notes.set(CHARSETS, fresh);
  return fresh;
}

export function findCharset(charsets: ReadonlyMap<string, Charset>, name: string): Charset | undefined {
  return charsets.get(name.toLowerCase());
}

/** The charset of that name, added if it is new. `at`: the directive that names it. */
export function namedCharset(scope: Scope, at: Directive, name: string): Charset {
  const charsets = charsetsOf(scope);
  const key = name.toLowerCase();
  const known = charsets.get(key);
  if (known !== undefined) return known;
  const made: Charset = { name: headText(name), utf8: key === "utf-8", tables: new Map() };
  charsets.set(key, made);
  reachesOut(scope, at);
  return made;
}

/** Reads a `charset_map` block and gives both charsets their tables. Returns the charsets. Throws nginx's sentences. */
export function readCharsetMap(at: Directive, scope: Scope): readonly [Charset, Charset] {
  const [one, two] = at.args;
  const source = namedCharset(scope, at, one);
  const target = namedCharset(scope, at, two);
  if (source === target) fail(at, `"charset_map" between the same charsets "${one}" and "${two}"`);
  if (source.utf8) fail(at, '"charset_map" with "utf-8" charset should be given in the second column');
  if (source.tables.has(target)) fail(at, `duplicate "charset_map" between "${one}" and "${two}"`);
  const lines = [...(at.block ?? [])];
  for (const line of lines) if (line.args.length !== 1) fail(line, "invalid parameters number");
  if (target.utf8) mapToUtf8(source, target, lines);
  else mapToBytes(source, target, lines);
  return [source, target];
}

function mapToBytes(source: Charset, target: Charset, lines: readonly Directive[]): void {
  const there = identity();
  const back = identity();
  for (const line of lines) {
    const from = readByte(line, line.name);
    const to = readByte(line, line.args[0]);
    there[from] = to;
    back[to] = from;
  }
  source.tables.set(target, { kind: "bytes", bytes: there });
  target.tables.set(source, { kind: "bytes", bytes: back });
}

/** ASCII maps to itself, all other bytes to a question mark. */
function identity(): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (byte < 128 ? byte : QUESTION_MARK));
}

function mapToUtf8(source: Charset, target: Charset, lines: readonly Directive[]): void {
  const sequences: Uint8Array[] = Array.from(identity(), (byte) => Uint8Array.of(byte));
  const pages: (Uint8Array | undefined)[] = new Array(256).fill(undefined);
  const ascii = new Uint8Array(256);
  for (let byte = 0; byte < 128; byte++) ascii[byte] = byte;
  pages[0] = ascii;
  for (const line of lines) {
    const from = readByte(line, line.name);
    const [text] = line.args;
    const sequence = /^(?:[0-9A-Fa-f]{2})+$/.test(text) ? Buffer.from(text, "hex") : undefined;
    if (sequence === undefined || sequence.length > LONGEST) fail(line, `invalid value "${text}"`);
    const { code } = decodeUtf8(sequence, 0, sequence.length);
    if (code < 0 || code > 0xffff) fail(line, `invalid value "${text}"`);
    sequences[from] = sequence;
    pages[code >> 8] ??= new Uint8Array(256);
    const page = pages[code >> 8];
    if (page !== undefined) page[code & 255] = from;
  }
  source.tables.set(target, { kind: "to utf-8", sequences });
  target.tables.set(source, { kind: "from utf-8", pages });
}

function readByte(line: Directive, text: string): number {
  const value = /^[0-9A-Fa-f]+$/.test(text) ? Number.parseInt(text, 16) : 256;
  if (value > 255) fail(line, `invalid value "${text}"`);
  return value;
}

/** A location's conversion needs a table. */
export function checkMapped(source: Charset, target: Charset): void {
  if (source === target || source.tables.has(target)) return;
  throw new ConfigError(`no "charset_map" between the charsets "${source.name}" and "${target.name}"`);
}
