import { takeProperty } from "./property.ts";
import { highestCode, type RegexReader, takeCode, wrong } from "./reader.ts";
import { escapedSet, foldCase, negate, normal, posixClass, type Ranges, type RegexNode } from "./syntax.ts";

/** A set of one character under the case rule in force. */
export function literal(reader: RegexReader, code: number): RegexNode {
  return setNode(reader, [[code, code]]);
}

export function setNode(reader: RegexReader, ranges: Ranges): RegexNode {
  if (!reader.caseless) return { kind: "set", ranges, caseless: false };
  return { kind: "set", ranges: foldCase(ranges), caseless: reader.utf };
}

const SIMPLE: ReadonlyMap<string, number> = new Map([
  ["a", 0x07],
  ["e", 0x1b],
  ["f", 0x0c],
  ["n", 0x0a],
  ["r", 0x0d],
  ["t", 0x09],
]);

const isOctal = (c: string | undefined): boolean => c !== undefined && c >= "0" && c <= "7";
const isHex = (c: string | undefined): boolean => c !== undefined && /^[0-9A-Fa-f]$/.test(c);

/**
 * The character an escape stands for, with `reader.at` just after the backslash; undefined (nothing taken) when the
 * escape is not a plain character: a set, an assertion, a reference. `inClass` makes `\b` a backspace and `\12` octal.
 */
export function takeEscapedCode(reader: RegexReader, inClass: boolean): number | undefined {
  const { text } = reader;
  const letter = text[reader.at];
  if (letter === undefined) wrong(reader, "\\ at end of pattern");
  if (inClass && letter === "b") {
    reader.at++;
    return 0x08;
  }
  const simple = SIMPLE.get(letter);
  if (simple !== undefined) {
    reader.at++;
    return simple;
  }
  switch (letter) {
    case "0":
      return takeOctal(reader, 3);
    case "o":
      return takeBraced(reader, 8);
    case "x":
      if (text[reader.at + 1] === "{") return takeBraced(reader, 16);
      return takeHexPair(reader);
    case "c":
      return takeControl(reader);
    case "L":
    case "l":
    case "u":
    case "U":
      return wrong(reader, "PCRE2 does not support \\F, \\L, \\l, \\N{name}, \\U, or \\u", reader.at + 1);
  }
  if (letter >= "1" && letter <= "9") return takeOctalOrNone(reader, inClass);
  // Letters and digits not taken up here mean something else; every other character means itself.
  if (/^[0-9A-Za-z]$/.test(letter)) return undefined;
  return takeCode(reader);
}

/** `\12`: a back reference below 10 or when so many groups are open; else up to three octal digits. */
function takeOctalOrNone(reader: RegexReader, inClass: boolean): number | undefined {
  const letter = reader.text[reader.at];
  if (!inClass) {
    const number = Number(/^\d+/.exec(reader.text.slice(reader.at, reader.at + 8))?.[0]);
    if (number < 10 || letter >= "8" || number <= reader.captures) return undefined;
  }
  if (letter >= "8") {
    reader.at++;
    return letter.charCodeAt(0);
  }
  return takeOctal(reader, 3);
}

function takeOctal(reader: RegexReader, most: number): number {
  let value = 0;
  for (let taken = 0; taken < most && isOctal(reader.text[reader.at]); taken++) {
    value = value * 8 + Number(reader.text[reader.at++]);
  }
  if (!reader.utf && value > 0xff) wrong(reader, "octal value is greater than \\377 in 8-bit non-UTF-8 mode");
  return value;
}

function takeHexPair(reader: RegexReader): number {
  reader.at++;
  let digits = "";
  while (digits.length < 2 && isHex(reader.text[reader.at])) digits += reader.text[reader.at++];
  return digits === "" ? 0 : Number.parseInt(digits, 16);
}

function takeBraced(reader: RegexReader, base: 8 | 16): number {
  const sign = base === 8 ? "\\o{}" : "\\x{}";
  const name = base === 8 ? "octal" : "hex";
  reader.at++;
  if (reader.text[reader.at] !== "{") wrong(reader, "missing opening brace after \\o");
  reader.at++;
  const fits = base === 8 ? isOctal : isHex;
  if (reader.text[reader.at] === "}" || reader.at >= reader.text.length) {
    wrong(reader, "digits missing in \\x{} or \\o{} or \\N{U+}", reader.at + (reader.at < reader.text.length ? 1 : 0));
  }
  let value = 0;
  while (fits(reader.text[reader.at])) {
    value = value * base + Number.parseInt(reader.text[reader.at], base);
    if (value > highestCode(reader)) {
      while (fits(reader.text[reader.at])) reader.at++;
      wrong(reader, "character code point value in \\x{} or \\o{} is too large");
    }
    reader.at++;
  }
  if (reader.text[reader.at] !== "}") wrong(reader, `non-${name} character in ${sign} (closing brace missing?)`);
  reader.at++;
  return value;
}

function takeControl(reader: RegexReader): number {
  reader.at++;
  const letter = reader.text[reader.at];
  if (letter === undefined) wrong(reader, "\\c at end of pattern");
  const code = letter.toUpperCase().charCodeAt(0);
  if (code < 0x20 || code > 0x7e) wrong(reader, "\\c must be followed by a printable ASCII character");
  reader.at++;
  return code ^ 0x40;
}

/** A class, with `reader.at` just after its `[`. */
export function takeClass(reader: RegexReader): RegexNode {
  const { text } = reader;
  const negated = text[reader.at] === "^";
  if (negated) reader.at++;
  const parts: (readonly [number, number])[] = [];
  let first = true;
  for (;;) {
    if (reader.at >= text.length) wrong(reader, "missing terminating ] for character class");
    const c = text[reader.at];
    if (c === "]" && !first) break;
    if (reader.extendedMore && (c === " " || c === "\t")) {
      reader.at++;
      continue;
    }
    if (takeQuoting(reader)) continue;
    first = false;
    const low = takeMember(reader);
    if (typeof low !== "number") {
      parts.push(...low);
      if (text[reader.at] === "-" && startsRange(reader)) {
        reader.at++;
        refuseSetAsBound(reader, reader.at);
        parts.push([0x2d, 0x2d]);
      }
      continue;
    }
    if (text[reader.at] !== "-" || !startsRange(reader)) {
      parts.push([low, low]);
      continue;
    }
    reader.at++;
    takeQuoting(reader);
    const high = takeMember(reader);
    if (typeof high !== "number") wrong(reader, "invalid range in character class");
    if (high < low) wrong(reader, "range out of order in character class", reader.at - 1);
    parts.push([low, high]);
  }
  reader.at++;
  const ranges = normal(parts);
  const folded = reader.caseless ? foldCase(ranges) : ranges;
  return {
    kind: "set",
    ranges: negated ? negate(folded, highestCode(reader)) : folded,
    caseless: reader.caseless && reader.utf,
  };
}

/** Whether the `-` ahead has something after it to be a range with. */
function startsRange(reader: RegexReader): boolean {
  const next = reader.text[reader.at + 1];
  return next !== undefined && next !== "]";
}

/** `[\d-z]` is an error in PCRE; `[\d-]` and, for Perl's sake, nothing else is let through. */
function refuseSetAsBound(reader: RegexReader, at: number): void {
  wrong(reader, "invalid range in character class", at);
}

/** `\Q…\E` inside a class; true when one of the two marks was passed over. */
function takeQuoting(reader: RegexReader): boolean {
  if (reader.text.startsWith("\\E", reader.at)) {
    reader.at += 2;
    return true;
  }
  return false;
}

/** One member of a class: a character's code, or the ranges of a set. */
function takeMember(reader: RegexReader): number | Ranges {
  const { text } = reader;
  if (text[reader.at] === "[") {
    const posix = takePosix(reader);
    if (posix !== undefined) return posix;
  }
  if (text[reader.at] !== "\\") return takeCode(reader);
  reader.at++;
  const code = takeEscapedCode(reader, true);
  if (code !== undefined) return code;
  if (text[reader.at] === "p" || text[reader.at] === "P") return takeProperty(reader);
  const letter = text[reader.at++];
  if (letter === "N" || letter === "B" || letter === "R" || letter === "X") {
    wrong(reader, `escape sequence is invalid in character class`);
  }
  const set = escapedSet(letter, reader.utf);
  if (set === undefined) wrong(reader, "unrecognized character follows \\", reader.at - 1);
  return set;
}

/** `[:alpha:]`, `[:^alpha:]`; `[.x.]` and `[=x=]` are errors; undefined when the `[` is a plain character. */
function takePosix(reader: RegexReader): Ranges | undefined {
  const found = /^\[([:.=])([^\]\\[]*?)\1\]/.exec(reader.text.slice(reader.at));
  if (found === null) return undefined;
  if (found[1] !== ":") wrong(reader, "POSIX collating elements are not supported");
  const negated = found[2].startsWith("^");
  const ranges = posixClass(negated ? found[2].slice(1) : found[2], reader.caseless);
  if (ranges === undefined) wrong(reader, "unknown POSIX class name", reader.at + 2);
  reader.at += found[0].length;
  return negated ? negate(ranges, highestCode(reader)) : ranges;
}
