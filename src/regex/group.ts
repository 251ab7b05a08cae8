import { type RegexReader, wrong } from "./reader.ts";
import { call, groupNumber, type RegexBuild, reference, takeName } from "./reference.ts";
import { fixedLength } from "./size.ts";
import { type Condition, EMPTY, type RegexNode } from "./syntax.ts";

/** Everything that begins with `(`; undefined for what matches nothing by itself: a comment, options in force from here. */
export function takeGroup(build: RegexBuild): RegexNode | undefined {
  const { reader } = build;
  const { text } = reader;
  const open = reader.at;
  reader.at++;
  if (text[reader.at] === "*") return takeVerb(reader);
  if (text[reader.at] !== "?") {
    if (reader.noAutoCapture) return closed(build, build.takeChoice(build));
    return capture(build);
  }
  reader.at++;
  const mark = text[reader.at];
  if (mark === undefined) wrong(reader, "missing closing parenthesis");
  switch (mark) {
    case "#":
      return skipComment(reader);
    case ":":
      reader.at++;
      return closed(build, build.takeChoice(build));
    case "|":
      reader.at++;
      return closed(build, build.takeChoice(build, true));
    case ">":
      reader.at++;
      return { kind: "atomic", body: closed(build, build.takeChoice(build)) };
    case "=":
    case "!":
      reader.at++;
      return look(build, true, mark === "!");
    case "<":
      if (text[reader.at + 1] === "=" || text[reader.at + 1] === "!") {
        reader.at += 2;
        const node = look(build, false, text[open + 3] === "!");
        if (node.kind === "look") refuseUnbounded(reader, node.body, open);
        return node;
      }
      reader.at++;
      return named(build, ">");
    case "'":
      reader.at++;
      return named(build, "'");
    case "P":
      return takePython(build);
    case "(":
      return takeCondition(build);
    case "R":
      if (text[reader.at + 1] !== ")")
        wrong(reader, "(?R (recursive pattern call) must be followed by a closing parenthesis", reader.at + 1);
      reader.at += 2;
      return call(build, 0, reader.at - 1);
    case "&": {
      const at = ++reader.at;
      return call(build, takeName(reader, ")"), at);
    }
    case "C":
      return wrong(reader, "callouts are not available in Holdfast");
  }
  const number = /^[+-]?\d+/.exec(text.slice(reader.at));
  if (number !== null) {
    reader.at += number[0].length;
    if (text[reader.at] !== ")")
      wrong(reader, "(?R (recursive pattern call) must be followed by a closing parenthesis");
    const at = reader.at;
    const to = groupNumber(reader, number[0]);
    reader.at++;
    return call(build, to, at);
  }
  return takeOptions(build);
}

/** Takes the closing parenthesis after a body. */
function closed(build: RegexBuild, body: RegexNode): RegexNode {
  const { reader } = build;
  if (reader.text[reader.at] !== ")") wrong(reader, "missing closing parenthesis");
  reader.at++;
  // A group of one item must stay one item to a quantifier; a sequence node is that already.
  return body;
}

function capture(build: RegexBuild): RegexNode {
  const index = ++build.reader.captures;
  return { kind: "group", index, body: closed(build, build.takeChoice(build)) };
}

function named(build: RegexBuild, close: string): RegexNode {
  const { reader } = build;
  const name = takeName(reader, close);
  const index = reader.captures + 1;
  const same = build.names.find((entry) => entry.name === name);
  if (same !== undefined && same.index !== index && !reader.duplicateNames) {
    wrong(reader, "two named subpatterns have the same name (PCRE2_DUPNAMES not set)");
  }
  if (build.names.some((entry) => entry.index === index && entry.name !== name)) {
    wrong(reader, "different names for subpatterns of the same number are not allowed");
  }
  if (same?.index !== index) build.names.push({ name, index });
  return capture(build);
}

function look(build: RegexBuild, ahead: boolean, negative: boolean): RegexNode {
  const body = closed(build, build.takeChoice(build));
  // `(?!)` is the customary way to write "never".
  if (ahead && negative && body === EMPTY) return { kind: "fail" };
  return { kind: "look", ahead, negative, body };
}

/** `(?P<name>…)`, `(?P=name)`, `(?P>name)`; `reader.at` is on the `P`. */
function takePython(build: RegexBuild): RegexNode {
  const { reader } = build;
  const mark = reader.text[++reader.at];
  if (mark === undefined) wrong(reader, "unrecognized character after (?P");
  if (mark !== "<" && mark !== "=" && mark !== ">") wrong(reader, "unrecognized character after (?P");
  reader.at++;
  if (mark === "<") return named(build, ">");
  const at = reader.at;
  const name = takeName(reader, ")");
  return mark === "=" ? reference(build, name, at) : call(build, name, at);
}

function skipComment(reader: RegexReader): undefined {
  const end = reader.text.indexOf(")", reader.at);
  if (end === -1) wrong(reader, "missing ) after (?# comment", reader.text.length);
  reader.at = end + 1;
  return undefined;
}

/** `(?imsx-imsx)` from here on, or `(?i:…)` for a group. */
function takeOptions(build: RegexBuild): RegexNode | undefined {
  const { reader } = build;
  const outer = { ...reader };
  let on = true;
  if (reader.text[reader.at] === "^") {
    reader.at++;
    Object.assign(reader, { caseless: false, multiline: false, dotAll: false, extended: false, noAutoCapture: false });
  }
  for (; ; reader.at++) {
    const letter = reader.text[reader.at];
    if (letter === undefined) wrong(reader, "missing closing parenthesis");
    if (letter === ")") {
      reader.at++;
      return undefined;
    }
    if (letter === ":") break;
    if (letter === "-" && on) on = false;
    else setOption(reader, letter, on);
  }
  reader.at++;
  const body = closed(build, build.takeChoice(build));
  const { at, captures } = reader;
  Object.assign(reader, outer, { at, captures });
  return body;
}

function setOption(reader: RegexReader, letter: string, on: boolean): void {
  switch (letter) {
    case "i":
      reader.caseless = on;
      return;
    case "m":
      reader.multiline = on;
      return;
    case "s":
      reader.dotAll = on;
      return;
    case "x":
      reader.extended = on;
      reader.extendedMore = on && reader.text[reader.at - 1] === "x";
      return;
    case "U":
      reader.ungreedy = on;
      return;
    case "n":
      reader.noAutoCapture = on;
      return;
    case "J":
      reader.duplicateNames = on;
      return;
    default:
      wrong(reader, "unrecognized character after (? or (?-");
  }
}

/** `(?(1)yes|no)`, `(?(<name>)…)`, `(?(R)…)`, `(?(DEFINE)…)`, `(?(?=…)…)`; `reader.at` is on the second `(`. */
function takeCondition(build: RegexBuild): RegexNode {
  const { reader } = build;
  const at = reader.at;
  const test = takeConditionTest(build);
  const body = closed(build, build.takeChoice(build));
  const branches = body.kind === "choice" ? body.branches : [body];
  if (test.kind === "never" && branches.length > 1) {
    wrong(reader, "DEFINE subpattern contains more than one branch", reader.at - 1);
  }
  if (branches.length > 2) {
    wrong(reader, "conditional subpattern contains more than two branches", reader.at - 1);
  }
  if (test.kind === "group") build.wanted.push({ to: test.to, at });
  return { kind: "condition", test, yes: branches[0], no: branches[1] ?? EMPTY };
}

function takeConditionTest(build: RegexBuild): Condition {
  const { reader } = build;
  const rest = reader.text.slice(reader.at);
  const at = reader.at;
  if (/^\(\?(?:[=!]|<[=!])/.test(rest)) {
    const node = takeGroup(build);
    return { kind: "look", look: node ?? EMPTY };
  }
  const number = /^\(([+-]?\d+)\)/.exec(rest);
  if (number !== null) {
    reader.at += number[0].length;
    return { kind: "group", to: groupNumber(reader, number[1]), at };
  }
  const name = /^\((?:<([A-Za-z_]\w*)>|'([A-Za-z_]\w*)'|([A-Za-z_]\w*))\)/.exec(rest);
  if (name === null) wrong(reader, "malformed number or name after (?(", reader.at + 1);
  reader.at += name[0].length;
  if (name[3] === "R") return { kind: "recursion" };
  if (name[3] === "DEFINE") return { kind: "never" };
  return { kind: "group", to: name[1] ?? name[2] ?? name[3], at };
}

/** The verbs that change what a pattern matches by themselves; the backtracking controls are refused. */
function takeVerb(reader: RegexReader): RegexNode {
  const name = /^\*([A-Z_]*)/.exec(reader.text.slice(reader.at))?.[1] ?? "";
  const end = reader.at + 1 + name.length;
  if ((name === "FAIL" || name === "F") && reader.text[end] === ")") {
    reader.at = end + 1;
    return { kind: "fail" };
  }
  return wrong(reader, "(*VERB) not recognized or malformed", Math.min(end, reader.text.length));
}

/** PCRE wants each branch of a lookbehind to have one length. */
function refuseUnbounded(reader: RegexReader, body: RegexNode, at: number): void {
  const branches = body.kind === "choice" ? body.branches : [body];
  for (const branch of branches) {
    if (fixedLength(branch) === undefined) wrong(reader, "lookbehind assertion is not fixed length", at);
  }
}
