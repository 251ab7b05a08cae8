import { afterRound, apart, firstOf, isAnchored, minLength, type Next, requiredCharacter } from "./first.ts";
import * as op from "./program.ts";
import { fixedLength, MOST_COPIED, some, wordsOf } from "./size.ts";
import type { Condition, GroupName, ParsedRegex, Ranges, RegexNode } from "./syntax.ts";

interface Compilation {
  readonly parsed: ParsedRegex;
  readonly code: number[];
  readonly sets: op.CharacterSet[];
  readonly setNumbers: Map<string, number>;
  readonly follows: Uint8Array[];
  registers: number;
  points: number;
  /** Where the code of a group begins, by its number, for calls; [0] the whole pattern. */
  readonly bodies: number[];
  /** Operands that name a group's number until all groups are compiled. */
  readonly calls: { readonly at: number; readonly to: GroupName }[];
  /** Whether a group is called: then what follows it is not what stands behind it. */
  readonly called: boolean;
  /** Whether a failure depends on nothing but the instruction and the place, so that it need not be repeated. */
  remembers: boolean;
  /** The register with the start of the round, inside a loop whose rounds may match nothing; else -1. */
  mark: number;
}

export function compileProgram(parsed: ParsedRegex, pattern: string): op.RegexProgram {
  const has = (wanted: (node: RegexNode) => boolean): boolean => some(parsed.root, wanted);
  const into: Compilation = {
    parsed,
    code: [],
    sets: [],
    setNumbers: new Map(),
    follows: [],
    registers: 2 * (parsed.captures + 1),
    points: 0,
    bodies: [0],
    calls: [],
    called: has((node) => node.kind === "call"),
    remembers: !has(dependsOnGroups),
    mark: -1,
  };
  compile(into, parsed.root, undefined);
  into.code.push(op.MATCH);
  for (const { at, to } of into.calls) into.code[at] = into.bodies[numbersOf(into, to)[0]];
  const first = minLength(parsed.root) === 0 ? undefined : op.followTable(firstOf(parsed.root, undefined));
  return {
    pattern,
    code: Int32Array.from(into.code),
    sets: into.sets,
    follows: into.follows,
    registers: into.registers,
    groups: parsed.captures + 1,
    points: into.points,
    utf: parsed.utf,
    anchored: isAnchored(parsed.root),
    minLength: minLength(parsed.root),
    first,
    required: charactersOf(requiredCharacter(parsed.root) ?? []),
  };
}

function charactersOf(ranges: Ranges): string[] {
  const codes = ranges.flatMap(([low, high]) => (low === high ? [low] : [low, high]));
  return codes.map((code) => String.fromCodePoint(code));
}

function dependsOnGroups(node: RegexNode): boolean {
  return node.kind === "reference" || node.kind === "call" || (node.kind === "condition" && node.test.kind !== "look");
}

/** `after`: what may follow the node. */
function compile(into: Compilation, node: RegexNode, after: Next): void {
  const { code } = into;
  switch (node.kind) {
    case "set":
      compileSet(into, node);
      return;
    case "sequence":
      compileSequence(into, node.items, after);
      return;
    case "choice":
      alternatives(into, node.branches, (branch) => compile(into, branch, after));
      return;
    case "repeat":
      compileRepeat(into, node, after);
      return;
    case "group":
      compileGroup(into, node, into.called ? undefined : after);
      return;
    case "atomic": {
      const height = into.registers++;
      code.push(op.HEIGHT, height);
      // A failure inside must not be remembered: it does not hold for another end.
      forgetting(into, () => compile(into, node.body, undefined));
      code.push(op.CUT, height);
      return;
    }
    case "look":
      compileLook(into, node);
      return;
    case "assert":
      code.push(op.ASSERT, op.ASSERTIONS.indexOf(node.at));
      return;
    case "reference": {
      const numbers = numbersOf(into, node.to);
      code.push(op.BACK_REFERENCE, node.caseless ? 1 : 0, numbers.length, ...numbers);
      return;
    }
    case "call":
      into.calls.push({ at: code.length + 1, to: node.to });
      code.push(op.CALL, 0, numbersOf(into, node.to)[0]);
      return;
    case "condition":
      compileCondition(into, node, after);
      return;
    case "fail":
      code.push(op.FAIL);
  }
}

function numbersOf(into: Compilation, to: GroupName): number[] {
  if (typeof to === "number") return [to];
  return into.parsed.names.filter(({ name }) => name === to).map(({ index }) => index);
}

function setNumber(into: Compilation, ranges: Ranges, caseless: boolean): number {
  const key = `${caseless} ${ranges.join()}`;
  const known = into.setNumbers.get(key);
  if (known !== undefined) return known;
  into.sets.push(op.characterSet(ranges, caseless, into.parsed.utf));
  into.setNumbers.set(key, into.sets.length - 1);
  return into.sets.length - 1;
}

function compileSet(into: Compilation, { ranges, caseless }: RegexNode & { kind: "set" }): void {
  const lone = ranges.length === 1 && ranges[0][0] === ranges[0][1] && ranges[0][0] < 0xd800 && !caseless;
  if (lone) into.code.push(op.CHARACTER, ranges[0][0]);
  else into.code.push(op.SET, setNumber(into, ranges, caseless));
}

function compileSequence(into: Compilation, items: readonly RegexNode[], after: Next): void {
  const following: Next[] = [];
  let next = after;
  for (let i = items.length - 1; i >= 0; i--) {
    following[i] = next;
    next = firstOf(items[i], next);
  }
  for (const [i, item] of items.entries()) compile(into, item, following[i]);
}

/** Tries several ways in turn; each goes on behind the last. */
function alternatives<T>(into: Compilation, ways: readonly T[], write: (way: T) => void): void {
  const { code } = into;
  const ends: number[] = [];
  for (const [i, way] of ways.entries()) {
    if (i === ways.length - 1) {
      write(way);
      break;
    }
    const elsewhere = split(into);
    write(way);
    ends.push(code.length + 1);
    code.push(op.JUMP, 0);
    code[elsewhere] = code.length;
  }
  for (const end of ends) code[end] = code.length;
}

/** Writes a SPLIT; returns where its target is to be written. */
function split(into: Compilation): number {
  into.code.push(op.SPLIT, 0, newPoint(into), into.mark);
  return into.code.length - 3;
}

/** A point where failures are remembered, or -1. Inside a loop of empty rounds there are two: before and after its first character. */
function newPoint(into: Compilation): number {
  if (!into.remembers) return -1;
  const point = into.points;
  into.points += into.mark === -1 ? 1 : 2;
  return point;
}

function forgetting(into: Compilation, write: () => void): void {
  const { remembers } = into;
  into.remembers = false;
  write();
  into.remembers = remembers;
}

function compileRepeat(into: Compilation, node: RegexNode & { kind: "repeat" }, after: Next): void {
  const { item, min, max, lazy } = node;
  const { code } = into;
  if (item.kind === "set") {
    const settled = !lazy && apart(firstOf(item, undefined), after);
    const follow = op.followTable(after);
    code.push(lazy ? op.LAZY : settled ? op.POSSESS : op.REPEAT, setNumber(into, item.ranges, item.caseless), min);
    code.push(max === Number.POSITIVE_INFINITY ? op.UNBOUNDED : max);
    code.push(follow === undefined ? -1 : into.follows.push(follow) - 1, newPoint(into), into.mark);
    return;
  }
  if (max === 0) {
    // It is not matched, but may be called.
    if (!into.called) return;
    code.push(op.JUMP, 0);
    const skip = code.length - 1;
    compile(into, item, undefined);
    code[skip] = code.length;
    return;
  }
  const inner = afterRound(node, after);
  const copies = max === Number.POSITIVE_INFINITY ? Math.max(min, 1) : max;
  if (copies > 1 && copies * wordsOf(item) > MOST_COPIED) {
    compileCounted(into, node, inner);
    return;
  }
  if (max === Number.POSITIVE_INFINITY) {
    for (let i = 1; i < min; i++) compile(into, item, inner);
    compileLoop(into, node, inner);
    return;
  }
  for (let i = 0; i < min; i++) compile(into, item, inner);
  const ends: number[] = [];
  for (let i = min; i < max; i++) {
    ends.push(branch(into, lazy));
    compile(into, item, inner);
  }
  for (const end of ends) code[end] = code.length;
}

/** Into what follows, or elsewhere: which is tried first is the other way round when `lazy`. Returns where to write that. */
function branch(into: Compilation, lazy: boolean): number {
  const { code } = into;
  const elsewhere = split(into);
  if (!lazy) return elsewhere;
  code.push(op.JUMP, 0);
  code[elsewhere] = code.length;
  return code.length - 1;
}

/** `x*` (or `x+` when `min` is not 0). */
function compileLoop(into: Compilation, { item, min, lazy }: RegexNode & { kind: "repeat" }, inner: Next): void {
  const { code } = into;
  const skip = min === 0 ? branch(into, lazy) : -1;
  const top = code.length;
  const ends: number[] = [];
  compileRound(into, item, inner, (register) => {
    code.push(op.EMPTY, register, 0);
    ends.push(code.length - 1);
  });
  ends.push(branch(into, lazy));
  code.push(op.JUMP, top);
  for (const end of ends) code[end] = code.length;
  if (skip !== -1) code[skip] = code.length;
}

/** A round of a loop; `check` writes what ends the loop when the round matched nothing. */
function compileRound(into: Compilation, item: RegexNode, inner: Next, check: (register: number) => void): void {
  if (minLength(item) > 0) {
    compile(into, item, inner);
    return;
  }
  const { mark, remembers } = into;
  const register = into.registers++;
  into.code.push(op.KEEP, register);
  into.mark = register;
  // Within two such loops four points would be needed: no failures are remembered there.
  if (mark !== -1) into.remembers = false;
  compile(into, item, inner);
  into.mark = mark;
  into.remembers = remembers;
  check(register);
}

function compileCounted(into: Compilation, node: RegexNode & { kind: "repeat" }, inner: Next): void {
  const { code } = into;
  const counter = into.registers++;
  code.push(op.ZERO, counter);
  const top = code.length;
  code.push(op.COUNT, counter, node.min, node.max === Number.POSITIVE_INFINITY ? op.UNBOUNDED : node.max);
  code.push(node.lazy ? 1 : 0, 0);
  const ends = [code.length - 1];
  code.push(op.ONE_MORE, counter);
  // A failure depends on the count.
  forgetting(into, () =>
    compileRound(into, node.item, inner, (register) => {
      if (node.max !== Number.POSITIVE_INFINITY) return;
      code.push(op.EMPTY_AFTER, register, 0, counter, node.min);
      ends.push(code.length - 3);
    }),
  );
  code.push(op.JUMP, top);
  for (const end of ends) code[end] = code.length;
}

function compileGroup(into: Compilation, node: RegexNode & { kind: "group" }, after: Next): void {
  const { code } = into;
  const start = into.registers++;
  into.bodies[node.index] ??= code.length;
  code.push(op.KEEP, start);
  compile(into, node.body, after);
  code.push(op.CLOSE, node.index, start);
  if (into.called) code.push(op.RETURN, node.index);
}

function compileLook(into: Compilation, node: RegexNode & { kind: "look" }): void {
  const { code } = into;
  const height = into.registers++;
  const place = into.registers++;
  code.push(op.KEEP, place, op.HEIGHT, height);
  forgetting(into, () => {
    if (!node.negative) {
      lookInside(into, node);
      code.push(op.CUT, height, op.RETURN_TO, place);
      return;
    }
    const passed = split(into);
    lookInside(into, node);
    code.push(op.UNWIND, height, op.FAIL);
    code[passed] = code.length;
  });
}

function lookInside(into: Compilation, { ahead, body }: RegexNode & { kind: "look" }): void {
  if (ahead) {
    compile(into, body, undefined);
    return;
  }
  // Each branch of a lookbehind has one length: go back by it and match forward.
  alternatives(into, body.kind === "choice" ? body.branches : [body], (branch) => {
    into.code.push(op.BACK, fixedLength(branch) ?? 0);
    compile(into, branch, undefined);
  });
}

function compileCondition(into: Compilation, node: RegexNode & { kind: "condition" }, after: Next): void {
  const { code } = into;
  if (node.test.kind === "never") {
    // (?(DEFINE)…): only ever called.
    code.push(op.JUMP, 0);
    const skip = code.length - 1;
    compile(into, node.yes, undefined);
    code[skip] = code.length;
    return;
  }
  const otherwise = compileTest(into, node.test);
  compile(into, node.yes, after);
  code.push(op.JUMP, 0);
  const end = code.length - 1;
  code[otherwise] = code.length;
  compile(into, node.no, after);
  code[end] = code.length;
}

/** Writes the test of a condition; returns where the place to go when it does not hold is to be written. */
function compileTest(into: Compilation, test: Exclude<Condition, { kind: "never" }>): number {
  const { code } = into;
  if (test.kind === "recursion") {
    code.push(op.IF_CALLED, 0);
    return code.length - 1;
  }
  if (test.kind === "group") {
    const numbers = numbersOf(into, test.to);
    code.push(op.IF_GROUP, 0, numbers.length, ...numbers);
    return code.length - numbers.length - 2;
  }
  const { look } = test;
  if (look.kind !== "look") {
    // `(?!)` never holds.
    code.push(op.JUMP, 0);
    return code.length - 1;
  }
  const height = into.registers++;
  const place = into.registers++;
  code.push(op.KEEP, place, op.HEIGHT, height);
  let failed = -1;
  forgetting(into, () => {
    failed = split(into);
    lookInside(into, look);
  });
  code.push(look.negative ? op.UNWIND : op.CUT, height, op.RETURN_TO, place);
  if (!look.negative) return failed;
  // The body matched, so the condition does not hold; had it failed, it would.
  code.push(op.JUMP, 0);
  code[failed] = code.length;
  return code.length - 1;
}
