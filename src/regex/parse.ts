import { literal, setNode, takeClass, takeEscapedCode } from "./escape.ts";
import { takeGroup } from "./group.ts";
import { takeProperty } from "./property.ts";
import { highestCode, type RegexReader, takeCode, wrong } from "./reader.ts";
import { type RegexBuild, reference, takeG, takeNamedReference } from "./reference.ts";
import { type Assertion, EMPTY, escapedSet, type ParsedRegex, type RegexNode } from "./syntax.ts";

const MOST_NESTING = 250;
const MOST_REPEAT = 65535;

/**
 * Parses a PCRE pattern. In: bytes (latin1), or code points when `(*UTF)` stands in front and the caller decoded it.
 * Throws RegexSyntaxError with PCRE2's sentence and offset.
 */
export function parseRegex(text: string, from: number, utf: boolean, caseless: boolean): ParsedRegex {
  const reader: RegexReader = {
    text,
    at: from,
    utf,
    caseless,
    multiline: false,
    dotAll: false,
    extended: false,
    extendedMore: false,
    ungreedy: false,
    noAutoCapture: false,
    duplicateNames: false,
    captures: 0,
  };
  const build: RegexBuild = { reader, names: [], wanted: [], depth: 0, takeChoice };
  const root = takeChoice(build);
  if (reader.at < text.length) wrong(reader, "unmatched closing parenthesis");
  for (const { to, at } of build.wanted) {
    const exists = typeof to === "number" ? to <= reader.captures : build.names.some(({ name }) => name === to);
    if (!exists) wrong(reader, "reference to non-existent subpattern", at);
  }
  const names = [...build.names].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.index - b.index));
  return { root, captures: reader.captures, names, utf };
}

/** Branches up to the closing parenthesis or the end; options changed inside end with it. */
function takeChoice(build: RegexBuild, sharedNumbers = false): RegexNode {
  const { reader } = build;
  if (++build.depth > MOST_NESTING) wrong(reader, "parentheses are too deeply nested");
  const { caseless, multiline, dotAll, extended, extendedMore, ungreedy, noAutoCapture, duplicateNames } = reader;
  const branches: RegexNode[] = [];
  const firstGroup = reader.captures;
  let lastGroup = firstGroup;
  for (;;) {
    // `(?|…)`: every branch numbers its groups from the same one on.
    if (sharedNumbers) reader.captures = firstGroup;
    branches.push(takeSequence(build));
    lastGroup = Math.max(lastGroup, reader.captures);
    if (reader.text[reader.at] !== "|") break;
    reader.at++;
  }
  reader.captures = lastGroup;
  build.depth--;
  Object.assign(reader, {
    caseless,
    multiline,
    dotAll,
    extended,
    extendedMore,
    ungreedy,
    noAutoCapture,
    duplicateNames,
  });
  return branches.length === 1 ? branches[0] : { kind: "choice", branches };
}

function takeSequence(build: RegexBuild): RegexNode {
  const { reader } = build;
  const items: RegexNode[] = [];
  while (reader.at < reader.text.length) {
    const c = reader.text[reader.at];
    if (c === "|" || c === ")") break;
    if (skipBlank(reader)) continue;
    if (reader.text.startsWith("\\Q", reader.at)) {
      takeQuoted(build, items);
      continue;
    }
    if (reader.text.startsWith("\\E", reader.at)) {
      reader.at += 2;
      continue;
    }
    const item = takeItem(build);
    // An option setting, a comment or `\K` matches nothing and cannot be repeated.
    if (item !== undefined) items.push(takeRepeats(reader, item));
  }
  if (items.length === 0) return EMPTY;
  // A lone group of branches keeps its wrapping: a condition or lookbehind looks at its own branches only.
  return items.length === 1 && items[0].kind !== "choice" ? items[0] : { kind: "sequence", items };
}

/** Blanks and `#…` comments under `(?x)`. */
function skipBlank(reader: RegexReader): boolean {
  if (!reader.extended || reader.at >= reader.text.length) return false;
  const c = reader.text[reader.at];
  if (c === "#") {
    const end = reader.text.indexOf("\n", reader.at);
    reader.at = end === -1 ? reader.text.length : end + 1;
    return true;
  }
  if (c !== " " && (c < "\t" || c > "\r")) return false;
  reader.at++;
  return true;
}

function takeQuoted(build: RegexBuild, items: RegexNode[]): void {
  const { reader } = build;
  reader.at += 2;
  const end = reader.text.indexOf("\\E", reader.at);
  const stop = end === -1 ? reader.text.length : end;
  while (reader.at < stop) items.push(literal(reader, takeCode(reader)));
  if (end !== -1) reader.at = end + 2;
  const last = items.pop();
  if (last !== undefined) items.push(takeRepeats(reader, last));
}

function takeItem(build: RegexBuild): RegexNode | undefined {
  const { reader } = build;
  const c = reader.text[reader.at];
  switch (c) {
    case "\\":
      reader.at++;
      return takeEscape(build);
    case "[":
      if (/^\[([:.=])[^\]\\[]*?\1\]/.test(reader.text.slice(reader.at))) {
        wrong(reader, "POSIX named classes are supported only within a class");
      }
      reader.at++;
      return takeClass(reader);
    case "(":
      return takeGroup(build);
    case ".":
      reader.at++;
      return reader.dotAll
        ? { kind: "set", ranges: [[0, highestCode(reader)]], caseless: false }
        : { kind: "set", ranges: escapedSet("N", reader.utf) ?? [], caseless: false };
    case "^":
      reader.at++;
      return { kind: "assert", at: reader.multiline ? "lineStart" : "start" };
    case "$":
      reader.at++;
      return { kind: "assert", at: reader.multiline ? "lineEnd" : "finalEnd" };
    case "*":
    case "+":
    case "?":
      return wrong(reader, "quantifier does not follow a repeatable item");
    case "{":
      if (quantifierAt(reader) !== undefined) wrong(reader, "quantifier does not follow a repeatable item");
  }
  return literal(reader, takeCode(reader));
}

const ASSERTIONS: ReadonlyMap<string, Assertion> = new Map<string, Assertion>([
  ["A", "start"],
  // A search always begins at the start of the subject, so `\G` can only hold there.
  ["G", "start"],
  ["Z", "finalEnd"],
  ["z", "end"],
  ["b", "word"],
  ["B", "notWord"],
]);

function takeEscape(build: RegexBuild): RegexNode | undefined {
  const { reader } = build;
  const code = takeEscapedCode(reader, false);
  if (code !== undefined) return literal(reader, code);
  const letter = reader.text[reader.at];
  const assertion = ASSERTIONS.get(letter);
  if (assertion !== undefined) {
    reader.at++;
    return { kind: "assert", at: assertion };
  }
  if (letter >= "1" && letter <= "9") {
    const digits = /^\d+/.exec(reader.text.slice(reader.at))?.[0] ?? "";
    reader.at += digits.length;
    return reference(build, Number(digits), reader.at - 1);
  }
  switch (letter) {
    case "K":
      // It moves the start of the whole match, which nginx never reads.
      reader.at++;
      return undefined;
    case "R":
      reader.at++;
      return newlineSequence(reader);
    case "C":
      reader.at++;
      return { kind: "set", ranges: [[0, highestCode(reader)]], caseless: false };
    case "X":
      reader.at++;
      return {
        kind: "choice",
        branches: [crlf(), { kind: "set", ranges: [[0, highestCode(reader)]], caseless: false }],
      };
    case "g":
      return takeG(build);
    case "k":
      return takeNamedReference(build);
    case "p":
    case "P":
      // Case does not change what has a property.
      return { kind: "set", ranges: takeProperty(reader), caseless: false };
  }
  if (letter === "N" && reader.text[reader.at + 1] === "{" && quantifierAt(reader, reader.at + 1) === undefined) {
    wrong(reader, "\\N{U+dddd} is supported only in Unicode (UTF) mode", reader.at + 1);
  }
  const ranges = escapedSet(letter, reader.utf);
  if (ranges === undefined) wrong(reader, "unrecognized character follows \\");
  reader.at++;
  return setNode(reader, ranges);
}

function crlf(): RegexNode {
  return {
    kind: "sequence",
    items: [0x0d, 0x0a].map((code) => ({ kind: "set", ranges: [[code, code]], caseless: false })),
  };
}

function newlineSequence(reader: RegexReader): RegexNode {
  const one: RegexNode = { kind: "set", ranges: escapedSet("v", reader.utf) ?? [], caseless: false };
  return { kind: "atomic", body: { kind: "choice", branches: [crlf(), one] } };
}

interface Quantifier {
  readonly min: number;
  readonly max: number;
  readonly length: number;
}

function quantifierAt(reader: RegexReader, at = reader.at): Quantifier | undefined {
  switch (reader.text[at]) {
    case "*":
      return { min: 0, max: Number.POSITIVE_INFINITY, length: 1 };
    case "+":
      return { min: 1, max: Number.POSITIVE_INFINITY, length: 1 };
    case "?":
      return { min: 0, max: 1, length: 1 };
    case "{": {
      const found = /^\{(\d+)(,(\d*))?\}/.exec(reader.text.slice(at));
      if (found === null) return undefined;
      const min = Number(found[1]);
      const max = found[2] === undefined ? min : found[3] === "" ? Number.POSITIVE_INFINITY : Number(found[3]);
      return { min, max, length: found[0].length };
    }
  }
  return undefined;
}

function takeRepeats(reader: RegexReader, item: RegexNode): RegexNode {
  while (skipBlank(reader));
  const found = quantifierAt(reader);
  if (found === undefined) return item;
  const last = reader.at + found.length - 1;
  if (found.min > MOST_REPEAT || (found.max !== Number.POSITIVE_INFINITY && found.max > MOST_REPEAT)) {
    wrong(reader, "number too big in {} quantifier", last);
  }
  if (found.max < found.min) wrong(reader, "numbers out of order in {} quantifier", last);
  reader.at += found.length;
  const mark = reader.text[reader.at];
  if (mark === "?" || mark === "+") reader.at++;
  // An assertion asserts the same however often it is asked: once is enough.
  const once = item.kind === "assert" || item.kind === "look";
  const node: RegexNode = {
    kind: "repeat",
    item,
    min: once ? Math.min(found.min, 1) : found.min,
    max: once ? Math.min(found.max, 1) : found.max,
    lazy: mark === "+" ? false : (mark === "?") !== reader.ungreedy,
  };
  return mark === "+" ? { kind: "atomic", body: node } : node;
}
