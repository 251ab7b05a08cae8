import { fixedLength } from "./regex_group.ts";
import {
  type Compilation,
  type Match,
  type Next,
  pass,
  RegexMatchError,
  type State,
  step,
} from "./regex_match_state.ts";
import { compileReference, compileSet, holds, numbersOf, repeatSet, single, stepBack } from "./regex_match_text.ts";
import type { Condition, GroupName, ParsedRegex, RegexNode } from "./regex_syntax.ts";

/**
 * A backtracking matcher with PCRE's rules, for the few patterns JavaScript's RegExp cannot match as PCRE does.
 * Each node becomes a function that matches at a place and then asks `next` whether the rest matches too.
 */

/** Makes a search over a subject: the pairs of start and end (the array is reused), or undefined when nothing matches. */
export function compileMatcher(parsed: ParsedRegex): (subject: string) => Int32Array | undefined {
  const compilation: Compilation = { parsed, bodies: [] };
  const root = compile(compilation, parsed.root);
  compilation.bodies[0] = root;
  const groups = new Int32Array(2 * (parsed.captures + 1));
  return (subject) => {
    const state: State = { subject, groups, calls: 0, steps: 0 };
    for (let from = 0; from <= subject.length; from++) {
      groups.fill(-1);
      const found = run(state, root, from);
      if (found !== -1) {
        groups[0] = from;
        groups[1] = found;
        return groups;
      }
    }
    return undefined;
  };
}

function run(state: State, root: Match, from: number): number {
  let end = -1;
  try {
    const found = root(state, from, (at) => {
      end = at;
      return true;
    });
    return found ? end : -1;
  } catch (reason) {
    // The subject is too long for this pattern's recursion: PCRE has a limit there too.
    if (reason instanceof RangeError) throw new RegexMatchError("pcre2_match() failed: -53");
    throw reason;
  }
}

function compile(into: Compilation, node: RegexNode): Match {
  switch (node.kind) {
    case "set":
      return compileSet(into, node.ranges, node.caseless);
    case "sequence":
      return node.items.map((item) => compile(into, item)).reduceRight(joined, pass);
    case "choice":
      return compileChoice(node.branches.map((branch) => compile(into, branch)));
    case "repeat":
      return compileRepeat(into, node);
    case "group":
      return compileGroup(into, node.index, node.body);
    case "atomic":
      return atomic(compile(into, node.body));
    case "look":
      return compileLook(into, node);
    case "assert":
      return (state, at, next) => holds(node.at, state.subject, at) && next(at);
    case "reference":
      return compileReference(into, node.to, node.caseless);
    case "call":
      return compileCall(into, node.to);
    case "condition":
      return compileCondition(into, node.test, compile(into, node.yes), compile(into, node.no));
    case "fail":
      return () => false;
  }
}

function joined(rest: Match, first: Match): Match {
  if (rest === pass) return first;
  return (state, at, next) => first(state, at, (end) => rest(state, end, next));
}

function compileChoice(branches: readonly Match[]): Match {
  return (state, at, next) => {
    step(state);
    for (const branch of branches) if (branch(state, at, next)) return true;
    return false;
  };
}

function compileRepeat(into: Compilation, node: RegexNode & { kind: "repeat" }): Match {
  const { item, min, max, lazy } = node;
  if (item.kind === "set" && !lazy && !into.parsed.utf) return repeatSet(single(into, item.ranges, false), min, max);
  const body = compile(into, item);
  const round = (state: State, at: number, count: number, next: Next): boolean => {
    step(state);
    const again = (): boolean =>
      count < max &&
      // A round that matched nothing is the last one, or it would never end.
      body(state, at, (end) => (end === at && count >= min ? next(end) : round(state, end, count + 1, next)));
    if (count < min) return again();
    return lazy ? next(at) || again() : again() || next(at);
  };
  return (state, at, next) => round(state, at, 0, next);
}

function compileGroup(into: Compilation, index: number, content: RegexNode): Match {
  const body = compile(into, content);
  const group: Match = (state, at, next) => {
    const { groups } = state;
    const start = groups[2 * index];
    const end = groups[2 * index + 1];
    const matched = body(state, at, (stop) => {
      const innerStart = groups[2 * index];
      const innerEnd = groups[2 * index + 1];
      groups[2 * index] = at;
      groups[2 * index + 1] = stop;
      if (next(stop)) return true;
      groups[2 * index] = innerStart;
      groups[2 * index + 1] = innerEnd;
      return false;
    });
    if (matched) return true;
    groups[2 * index] = start;
    groups[2 * index + 1] = end;
    return false;
  };
  into.bodies[index] ??= group;
  return group;
}

function atomic(body: Match): Match {
  return (state, at, next) => {
    let end = -1;
    const before = state.groups.slice();
    const matched = body(state, at, (stop) => {
      end = stop;
      return true;
    });
    if (matched && next(end)) return true;
    state.groups.set(before);
    return false;
  };
}

function compileLook(into: Compilation, node: RegexNode & { kind: "look" }): Match {
  const test = node.ahead ? compile(into, node.body) : compileBehind(into, node.body);
  if (node.negative) {
    return (state, at, next) => {
      const before = state.groups.slice();
      const matched = test(state, at, () => true);
      state.groups.set(before);
      return !matched && next(at);
    };
  }
  const once = atomic(test);
  return (state, at, next) => once(state, at, () => next(at));
}

/** Each branch of a lookbehind has one length: go back by it and match forward. */
function compileBehind(into: Compilation, body: RegexNode): Match {
  const branches = (body.kind === "choice" ? body.branches : [body]).map((branch) => ({
    length: fixedLength(branch) ?? 0,
    match: compile(into, branch),
  }));
  return (state, at, next) => {
    for (const { length, match } of branches) {
      const from = stepBack(state.subject, at, length, into.parsed.utf);
      if (from >= 0 && match(state, from, next)) return true;
    }
    return false;
  };
}

/** A call matches the group again; what it captures is forgotten when it returns. */
function compileCall(into: Compilation, to: GroupName): Match {
  return (state, at, next) => {
    step(state);
    const body = into.bodies[numbersOf(into, to)[0]];
    const before = state.groups.slice();
    state.calls++;
    const matched = body(state, at, (end) => {
      const inside = state.groups.slice();
      state.groups.set(before);
      state.calls--;
      if (next(end)) return true;
      state.calls++;
      state.groups.set(inside);
      return false;
    });
    if (matched) return true;
    state.calls--;
    state.groups.set(before);
    return false;
  };
}

function compileCondition(into: Compilation, test: Condition, yes: Match, no: Match): Match {
  switch (test.kind) {
    case "never":
      return pass;
    case "recursion":
      return (state, at, next) => (state.calls > 0 ? yes(state, at, next) : no(state, at, next));
    case "look": {
      const look = compile(into, test.look);
      return (state, at, next) => (look(state, at, () => true) ? yes(state, at, next) : no(state, at, next));
    }
    case "group": {
      const numbers = numbersOf(into, test.to);
      return (state, at, next) =>
        numbers.some((number) => state.groups[2 * number] !== -1) ? yes(state, at, next) : no(state, at, next);
    }
  }
}
