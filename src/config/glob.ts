import { lstatSync, readdirSync } from "node:fs";
import { osPath } from "../sys/paths.ts";

/**
 * glob(3) without flags: `*`, `?`, `[…]`, `\` escapes, a leading dot must be matched explicitly; sorted by bytes.
 * Directories that cannot be read match nothing. Byte strings.
 */
export function glob(pattern: string): string[] {
  const parts = pattern.split("/");
  let found = [""];
  for (let i = 0; i < parts.length && found.length > 0; i++) {
    const part = parts[i];
    const lead = i === 0 ? "" : "/";
    if (!/[*?[]/.test(part)) {
      const literal = lead + part.replace(/\\(.)/gs, "$1");
      found = found.map((path) => path + literal);
      continue;
    }
    const matches = matcher(part);
    const dots = part.startsWith(".") || part.startsWith("\\.");
    found = found.flatMap((path) =>
      namesIn(i === 0 ? "." : `${path}/`)
        .filter((name) => (dots || !name.startsWith(".")) && matches.test(name))
        .map((name) => path + lead + name),
    );
  }
  return found.filter(exists).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

function namesIn(directory: string): string[] {
  try {
    const names = readdirSync(osPath(directory), { encoding: "latin1" });
    return [".", "..", ...names];
  } catch {
    return [];
  }
}

function exists(path: string): boolean {
  try {
    lstatSync(osPath(path));
    return true;
  } catch {
    return false;
  }
}

function matcher(part: string): RegExp {
  let source = "";
  for (let i = 0; i < part.length; i++) {
    const ch = part[i];
    if (ch === "*") source += ".*";
    else if (ch === "?") source += ".";
    else if (ch === "\\" && i + 1 < part.length) source += literal(part[++i]);
    else if (ch === "[") {
      const set = bracket(part, i);
      source += set?.source ?? "\\[";
      i = set?.last ?? i;
    } else source += literal(ch);
  }
  return new RegExp(`^(?:${source})$`, "s");
}

function literal(ch: string): string {
  return `\\x${ch.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

const CLASSES: Readonly<Record<string, string>> = {
  alpha: "A-Za-z",
  digit: "0-9",
  alnum: "A-Za-z0-9",
  upper: "A-Z",
  lower: "a-z",
  space: "\\s",
  blank: " \\t",
  punct: "!-\\/:-@\\[-`{-~",
  print: " -~",
  graph: "!-~",
  cntrl: "\\x00-\\x1f\\x7f",
  xdigit: "0-9A-Fa-f",
};

/** A `[…]` set that begins at `from`; undefined if it is not closed, which makes the bracket an ordinary byte. */
function bracket(part: string, from: number): { source: string; last: number } | undefined {
  let i = from + 1;
  const negated = part[i] === "!" || part[i] === "^";
  if (negated) i++;
  let source = "";
  const first = i;
  for (; i < part.length; i++) {
    if (part[i] === "]" && i > first) {
      return { source: source === "" ? "(?!)" : `[${negated ? "^" : ""}${source}]`, last: i };
    }
    const named = /^\[:([a-z]+):\]/.exec(part.slice(i));
    if (named !== null && CLASSES[named[1]] !== undefined) {
      source += CLASSES[named[1]];
      i += named[0].length - 1;
      continue;
    }
    if (part[i] === "\\" && i + 1 < part.length) i++;
    const low = part[i];
    if (part[i + 1] === "-" && i + 2 < part.length && part[i + 2] !== "]") {
      i += 2;
      if (part[i] === "\\" && i + 1 < part.length) i++;
      if (low <= part[i]) source += `${literal(low)}-${literal(part[i])}`;
    } else source += literal(low);
  }
  return undefined;
}
