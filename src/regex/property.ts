import { type RegexReader, wrong } from "./reader.ts";
import { negate, normal, type Ranges } from "./syntax.ts";

/** PCRE's own properties, in terms of Unicode's as JavaScript spells them; the text goes into a class. */
const OWN: Readonly<Record<string, string>> = {
  any: "\\p{Any}",
  "l&": "\\p{LC}",
  lc: "\\p{LC}",
  xan: "\\p{L}\\p{N}",
  xsp: "\\p{Z}\\t-\\r\\x85\\u180e",
  xps: "\\p{Z}\\t-\\r\\x85\\u180e",
  xwd: "\\p{L}\\p{N}\\p{Mn}\\p{Pc}_",
};

const known = new Map<string, Ranges | undefined>();

/**
 * Takes the rest of `\p{Nd}`, `\pN`, `\P{Greek}`, with `reader.at` at the letter. Properties of bytes above 127 are
 * those of Latin-1, as in PCRE without UTF.
 */
export function takeProperty(reader: RegexReader): Ranges {
  const { text } = reader;
  let negated = text[reader.at] === "P";
  reader.at++;
  const found = /^(?:\{(\^?)[ \t]*([A-Za-z0-9_& -]+)[ \t]*\}|([A-Za-z]))/.exec(text.slice(reader.at, reader.at + 64));
  if (found === null) return wrong(reader, "malformed \\P or \\p sequence");
  reader.at += found[0].length;
  if (found[1] === "^") negated = !negated;
  const highest = reader.utf ? 0x10ffff : 0xff;
  const name = (found[2] ?? found[3]).trim();
  const key = `${highest} ${name}`;
  if (!known.has(key)) known.set(key, propertyRanges(name, highest));
  const ranges = known.get(key) ?? wrong(reader, "unknown property after \\P or \\p");
  return negated ? negate(ranges, highest) : ranges;
}

function propertyRanges(name: string, highest: number): Ranges | undefined {
  const own = OWN[name.toLowerCase()];
  const script = name.replaceAll(/(^|[ _-])([a-z])/gi, (_all, before: string, letter: string) =>
    before === "" ? letter.toUpperCase() : `_${letter.toUpperCase()}`,
  );
  // Categories are named by one or two letters, scripts by words; a script also covers the characters it borrows.
  const candidates = own === undefined ? [`\\p{gc=${name}}`, `\\p{scx=${script}}`, `\\p{${name}}`] : [own];
  for (const candidate of candidates) {
    const test = classOf(candidate);
    if (test !== undefined) return rangesOf(test, highest);
  }
  return undefined;
}

function classOf(members: string): RegExp | undefined {
  try {
    return new RegExp(`^[${members}]`, "u");
  } catch {
    return undefined;
  }
}

function rangesOf(test: RegExp, highest: number): Ranges {
  const ranges: [number, number][] = [];
  for (let code = 0; code <= highest; code++) {
    if (!test.test(String.fromCodePoint(code))) continue;
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === code - 1) last[1] = code;
    else ranges.push([code, code]);
  }
  return normal(ranges);
}
