import { type RegexReader, wrong } from "./reader.ts";
import type { RegexNode } from "./syntax.ts";

/** Names and numbers of groups: what refers back to one (`\1`, `\k<name>`) or calls it (`(?1)`, `\g<name>`). */

/** What is gathered over a whole pattern. */
export interface RegexBuild {
  readonly reader: RegexReader;
  readonly names: { readonly name: string; readonly index: number }[];
  /** References to groups that may not have been opened yet, checked at the end. */
  readonly wanted: { readonly to: number | string; readonly at: number }[];
  depth: number;
  /**
   * Takes branches up to the closing parenthesis or the end; options changed inside end with them. `sharedNumbers`: each
   * branch numbers its groups from the same one on. Here because a group holds branches and a branch holds groups.
   */
  readonly takeChoice: (build: RegexBuild, sharedNumbers?: boolean) => RegexNode;
}

export function reference(build: RegexBuild, to: number | string, at: number): RegexNode {
  build.wanted.push({ to, at });
  return { kind: "reference", to, caseless: build.reader.caseless, at };
}

export function call(build: RegexBuild, to: number | string, at: number): RegexNode {
  build.wanted.push({ to, at });
  return { kind: "call", to, at };
}

/** `\g{2} \g{-1} \g2 \g{name}` refer back, `\g<2> \g'name'` call. `reader.at` is on the `g`. */
export function takeG(build: RegexBuild): RegexNode {
  const { reader } = build;
  reader.at++;
  const rest = reader.text.slice(reader.at);
  const number = /^(?:\{([+-]?\d+)\}|([+-]?\d+))/.exec(rest);
  if (number !== null) {
    reader.at += number[0].length;
    return reference(build, groupNumber(reader, number[1] ?? number[2]), reader.at - 1);
  }
  const called = /^(?:<([+-]?\d+|[A-Za-z_]\w*)>|'([+-]?\d+|[A-Za-z_]\w*)')/.exec(rest);
  if (called !== null) {
    const text = called[1] ?? called[2];
    const at = reader.at + 1;
    reader.at += called[0].length;
    return call(build, /^[A-Za-z_]/.test(text) ? text : groupNumber(reader, text), at);
  }
  const name = /^\{([A-Za-z_]\w*)/.exec(rest);
  if (name === null) {
    wrong(reader, "\\g is not followed by a braced, angle-bracketed, or quoted name/number or by a plain number");
  }
  const at = reader.at + 1;
  reader.at += name[0].length;
  if (reader.text[reader.at] !== "}") wrong(reader, "syntax error in subpattern name (missing terminator?)");
  reader.at++;
  return reference(build, name[1], at);
}

/** A group's number as written: relative when it has a sign. */
export function groupNumber(reader: RegexReader, text: string): number {
  const number = Number(text);
  if (text.startsWith("-")) {
    if (-number > reader.captures) wrong(reader, "reference to non-existent subpattern");
    return reader.captures + number + 1;
  }
  return text.startsWith("+") ? reader.captures + number : number;
}

/** `\k<name> \k'name' \k{name}`; `reader.at` is on the `k`. */
export function takeNamedReference(build: RegexBuild): RegexNode {
  const { reader } = build;
  reader.at++;
  const close = { "<": ">", "'": "'", "{": "}" }[reader.text[reader.at] ?? ""];
  if (close === undefined) {
    wrong(reader, "\\k is not followed by a braced, angle-bracketed, or quoted name");
  }
  reader.at++;
  const at = reader.at;
  return reference(build, takeName(reader, close), at);
}

/** A group's name up to `close`, which is taken too. */
export function takeName(reader: RegexReader, close: string): string {
  if (reader.at >= reader.text.length) wrong(reader, "subpattern name expected");
  if (/[0-9]/.test(reader.text[reader.at])) wrong(reader, "subpattern name must start with a non-digit");
  const name = /^\w*/.exec(reader.text.slice(reader.at))?.[0] ?? "";
  if (name === "") wrong(reader, "subpattern name expected");
  if (name.length > 32) wrong(reader, "subpattern name is too long (maximum 32 code units)", reader.at + 33);
  reader.at += name.length;
  if (reader.text[reader.at] !== close) wrong(reader, "syntax error in subpattern name (missing terminator?)");
  reader.at++;
  return name;
}
