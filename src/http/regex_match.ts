import type { CharacterSet, RegexProgram } from "./regex_program.ts";
import * as op from "./regex_program.ts";

/**
 * A backtracking matcher with PCRE's rules, for the patterns and subjects that JavaScript's RegExp does not match as
 * PCRE does, or not in bounded time. It keeps the alternatives it has left on a stack of its own and gives up after so
 * many steps as PCRE does. Where a failure cannot depend on what the groups hold, it notes after a while where it has
 * been: such a pattern then takes time in proportion to the subject, and is never given up.
 */

/** A search that was given up, in nginx's words. */
export class RegexMatchError extends Error {
  readonly code: number;

  constructor(code: number, subject: string, pattern: string) {
    super(`pcre2_match() failed: ${code} on "${subject}" using "${pattern}"`);
    this.code = code;
  }
}

/** PCRE's numbers for a search that is given up. */
export const BAD_UTF8 = -22;
const MATCH_LIMIT = -47;
export const NO_MEMORY = -48;
const RECURSION_LOOP = -52;
const HEAP_LIMIT = -63;

/** PCRE's default match limit. */
const MOST_STEPS = 10_000_000;
/** Characters that a repeat passes over are quick, but not free: two to the power of this cost a step. */
const CHARACTERS_PER_STEP = 4;
/** Steps after which it is noted where the search has been; most searches never come so far. */
const STEPS_UNNOTED = 2048;
/** The notes take at most so many bits (32 MB), the stack so many words (60 MB), the registers of calls so many. */
const MOST_NOTES = 2 ** 28;
const MOST_STACK = 15_000_000;
const MOST_CALLED = 4_000_000;
/** What is kept for the next search. */
const KEPT_WORDS = 2 ** 15;

/** An entry of the stack has three words. The first is a kind, and an instruction or a register above three bits. */
const ENTRY = 3;
const ELSEWHERE = 0; // an instruction; the place
const REGISTER = 1; // a register; its value before
const SHORTER = 2; // a REPEAT; its end, its shortest end
const LONGER = 3; // a LAZY; its end, how many more it may take
const CALLED = 4; // -; the call in progress before, the number of calls remembered before

let stack = new Int32Array(KEPT_WORDS);
let notes = new Uint32Array(0);

/** A call of a group. */
interface Call {
  readonly group: number;
  readonly at: number;
  /** The instruction to go on with. */
  readonly back: number;
  /** The call in which it happened, or -1. */
  readonly outer: number;
  readonly registers: Int32Array;
}

/** How many steps the last search took, for tests. */
export const effort = { steps: 0 };

/**
 * Searches a subject. When it matches, `registers` (of the program's number) has start and end of group n at 2n and
 * 2n+1, or -1. Throws RegexMatchError.
 */
export function search(program: RegexProgram, subject: string, registers: Int32Array): boolean {
  effort.steps = 0;
  const { required, minLength } = program;
  if (subject.length < minLength) return false;
  if (required.length > 0 && !required.some((character) => subject.includes(character))) return false;
  const state = new Search(program, subject, registers);
  try {
    return state.run();
  } finally {
    effort.steps = state.steps;
    if (stack.length > KEPT_WORDS) stack = new Int32Array(KEPT_WORDS);
    if (notes.length > KEPT_WORDS) notes = new Uint32Array(0);
  }
}

class Search {
  readonly program: RegexProgram;
  readonly subject: string;
  readonly registers: Int32Array;
  readonly calls: Call[] = [];
  /** The innermost call in progress, or -1. */
  call = -1;
  steps = 0;
  /** Where more is to be done about the number of steps. */
  limit = STEPS_UNNOTED;
  noting = false;
  /** How many more characters a LAZY may take after the end `lazyEnd` found. */
  left = 0;

  constructor(program: RegexProgram, subject: string, registers: Int32Array) {
    this.program = program;
    this.subject = subject;
    this.registers = registers;
  }

  run(): boolean {
    const { program, subject, registers } = this;
    const { first } = program;
    const last = program.anchored ? 0 : subject.length;
    for (let from = 0; from <= last; from++) {
      if (first !== undefined && !mayStand(first, subject, from)) continue;
      if (program.utf && isTrail(subject, from)) continue;
      registers.fill(-1);
      this.step();
      const end = match(this, from);
      if (end === -1) continue;
      registers[0] = from;
      registers[1] = end;
      return true;
    }
    return false;
  }

  /** Counts a step, and `characters` that were passed over. */
  step(characters = 0): void {
    this.steps += 1 + (characters >> CHARACTERS_PER_STEP);
    if (this.steps > this.limit) this.overrun();
  }

  givenUp(code: number): RegexMatchError {
    const { subject, program } = this;
    return new RegexMatchError(
      code,
      program.utf ? Buffer.from(subject, "utf8").toString("latin1") : subject,
      program.pattern,
    );
  }

  overrun(): void {
    if (this.steps > MOST_STEPS) throw this.givenUp(MATCH_LIMIT);
    this.limit = MOST_STEPS;
    this.startNotes();
  }

  startNotes(): void {
    const bits = this.program.points * (this.subject.length + 1);
    if (bits === 0 || bits > MOST_NOTES) return;
    const words = (bits >>> 5) + 1;
    if (notes.length < words) notes = new Uint32Array(words);
    else notes.fill(0, 0, words);
    this.noting = true;
  }

  /** Whether the search has been at a point and place before; from now on it has. */
  noted(point: number, mark: number, at: number): boolean {
    // Inside a loop whose rounds may be empty it matters whether this round is, up to here.
    const plane = mark !== -1 && this.registers[mark] !== at ? point + 1 : point;
    const bit = plane * (this.subject.length + 1) + at;
    const word = bit >>> 5;
    const mask = 1 << (bit & 31);
    if ((notes[word] & mask) !== 0) return true;
    notes[word] |= mask;
    return false;
  }

  /** The place behind the least number of characters of a repeat at `pc`, or -1. */
  least(pc: number, from: number): number {
    const { code, sets, utf } = this.program;
    const count = code[pc + 2];
    if (count === 0) return from;
    const set = sets[code[pc + 1]];
    if (count === 1) {
      const size = sizeAt(set, this.subject, from);
      return size === 0 ? -1 : from + size;
    }
    if (!utf) {
      const end = this.passed(set, from, count);
      return end - from === count ? end : -1;
    }
    let at = from;
    for (let left = count; left > 0; left--) {
      const size = sizeAt(set, this.subject, at);
      if (size === 0) return -1;
      at += size;
    }
    return at;
  }

  /** The longest end of a greedy repeat at `pc` that has its least number of characters at `from`; -1 if it need not be tried. */
  longest(pc: number, from: number): number {
    const { program, subject } = this;
    const { code } = program;
    const set = program.sets[code[pc + 1]];
    const most = code[pc + 3] === op.UNBOUNDED ? op.UNBOUNDED : code[pc + 3] - code[pc + 2];
    const point = code[pc + 5];
    const mark = code[pc + 6];
    // From here on it is the same repeat as one that came by before: that has tried all the rest.
    const notes = this.noting && point !== -1 && code[pc + 3] === op.UNBOUNDED;
    let end = from;
    if (!notes) {
      end = this.passed(set, from, most);
      this.step(end - from);
      return end;
    }
    let before = -1;
    while (!this.noted(point, mark, end)) {
      const size = sizeAt(set, subject, end);
      if (size === 0) {
        this.step(end - from);
        return end;
      }
      before = end;
      end += size;
    }
    this.step(end - from);
    return before;
  }

  /** Passes over at most `most` characters of a set: the place behind them. */
  passed(set: CharacterSet, from: number, most: number): number {
    const { subject } = this;
    let at = from;
    if (this.program.utf) {
      for (let left = most; left > 0; left--) {
        const size = sizeAt(set, subject, at);
        if (size === 0) break;
        at += size;
      }
      return at;
    }
    const { bytes } = set;
    const end = most < subject.length - from ? from + most : subject.length;
    while (at < end && bytes[subject.charCodeAt(at)] === 1) at++;
    return at;
  }

  /** The longest end of a greedy repeat, from `end` down to `shortest`, behind which the rest may match; or -1. */
  greedyEnd(pc: number, longest: number, shortest: number): number {
    const { program, subject } = this;
    const { code } = program;
    const follow = code[pc + 4];
    const table = follow === -1 ? undefined : program.follows[follow];
    const point = code[pc + 5];
    const mark = code[pc + 6];
    const notes = this.noting && point !== -1 && code[pc + 3] !== op.UNBOUNDED;
    for (let end = longest; end >= shortest; end--) {
      if (program.utf && isTrail(subject, end)) continue;
      if (table !== undefined && !mayStand(table, subject, end)) continue;
      if (notes && this.noted(point, mark, end)) continue;
      this.step(longest - end);
      return end;
    }
    this.step(longest - shortest);
    return -1;
  }

  /** The next end of a lazy repeat, from `from` up by at most `left`; or -1. */
  lazyEnd(pc: number, from: number, most: number): number {
    const { program, subject } = this;
    const { code } = program;
    const set = program.sets[code[pc + 1]];
    const follow = code[pc + 4];
    const table = follow === -1 ? undefined : program.follows[follow];
    const point = code[pc + 5];
    const mark = code[pc + 6];
    const unbounded = code[pc + 3] === op.UNBOUNDED;
    let end = from;
    for (this.left = most; ; this.left--) {
      const been = this.noting && point !== -1 && this.noted(point, mark, end);
      if (been && unbounded) break;
      if (!been && (table === undefined || mayStand(table, subject, end))) {
        this.step(end - from);
        return end;
      }
      const size = this.left === 0 ? 0 : sizeAt(set, subject, end);
      if (size === 0) break;
      end += size;
    }
    this.step(end - from);
    return -1;
  }

  /** Goes `count` characters back, or -1. */
  back(at: number, count: number): number {
    if (!this.program.utf) return at >= count ? at - count : -1;
    let from = at;
    for (let left = count; left > 0; left--) {
      from--;
      if (from > 0 && isTrail(this.subject, from)) from--;
      if (from < 0) return -1;
    }
    return from;
  }

  /** The end of what a reference at `pc` finds at a place, or -1. */
  referenceEnd(pc: number, at: number): number {
    const { registers, subject, program } = this;
    const { code } = program;
    for (let i = 0; i < code[pc + 2]; i++) {
      const group = code[pc + 3 + i];
      const start = registers[2 * group];
      if (start === -1) continue;
      const length = registers[2 * group + 1] - start;
      this.step(length);
      if (length < 0 || at + length > subject.length) return -1;
      if (code[pc + 1] === 0) {
        for (let j = 0; j < length; j++) if (subject.charCodeAt(start + j) !== subject.charCodeAt(at + j)) return -1;
        return at + length;
      }
      const text = folded(subject.slice(start, start + length), program.utf);
      return folded(subject.slice(at, at + length), program.utf) === text ? at + length : -1;
    }
    return -1;
  }

  /** Remembers a call that goes on with `back`. */
  enter(group: number, at: number, back: number): void {
    const { calls, registers } = this;
    if ((calls.length + 1) * registers.length > MOST_CALLED) throw this.givenUp(HEAP_LIMIT);
    for (let index = this.call; index !== -1 && calls[index].at === at; index = calls[index].outer) {
      if (calls[index].group === group) throw this.givenUp(RECURSION_LOOP);
    }
    this.step(registers.length);
    calls.push({ group, at, back, outer: this.call, registers: registers.slice() });
    this.call = calls.length - 1;
  }
}

/** Matches a pattern at a place: its end, or -1. */
function match(state: Search, from: number): number {
  const { program, subject, registers, calls } = state;
  const { code, sets } = program;
  const { length } = subject;
  let entries = stack;
  let sp = 0;
  let pc = 0;
  let at = from;
  state.call = -1;
  calls.length = 0;

  /** No instruction pushes more: the end of a call restores all registers. */
  const room = ENTRY * (registers.length + 2);

  for (;;) {
    if (sp + room > entries.length) entries = grown(state);
    // A case goes on with the next instruction (`continue`), or has failed and goes back to an alternative (`break`).
    switch (code[pc]) {
      case op.CHARACTER:
        if (at >= length || subject.charCodeAt(at) !== code[pc + 1]) break;
        at++;
        pc += 2;
        continue;
      case op.SET: {
        const size = sizeAt(sets[code[pc + 1]], subject, at);
        if (size === 0) break;
        at += size;
        pc += 2;
        continue;
      }
      case op.REPEAT:
      case op.POSSESS: {
        const shortest = state.least(pc, at);
        if (shortest === -1) break;
        const longest = state.longest(pc, shortest);
        if (longest === -1) break;
        const end = state.greedyEnd(pc, longest, code[pc] === op.POSSESS ? longest : shortest);
        if (end === -1) break;
        if (code[pc] === op.REPEAT && end > shortest) {
          entries[sp] = (pc << 3) | SHORTER;
          entries[sp + 1] = end;
          entries[sp + 2] = shortest;
          sp += ENTRY;
        }
        at = end;
        pc += 7;
        continue;
      }
      case op.LAZY: {
        const shortest = state.least(pc, at);
        if (shortest === -1) break;
        const end = state.lazyEnd(pc, shortest, code[pc + 3] - code[pc + 2]);
        if (end === -1) break;
        entries[sp] = (pc << 3) | LONGER;
        entries[sp + 1] = end;
        entries[sp + 2] = state.left;
        sp += ENTRY;
        at = end;
        pc += 7;
        continue;
      }
      case op.SPLIT:
        state.step();
        if (state.noting && code[pc + 2] !== -1 && state.noted(code[pc + 2], code[pc + 3], at)) break;
        entries[sp] = (code[pc + 1] << 3) | ELSEWHERE;
        entries[sp + 1] = at;
        sp += ENTRY;
        pc += 4;
        continue;
      case op.JUMP:
        pc = code[pc + 1];
        continue;
      case op.KEEP:
        sp = keep(registers, entries, sp, code[pc + 1], at);
        pc += 2;
        continue;
      case op.CLOSE:
        sp = keep(registers, entries, sp, 2 * code[pc + 1], registers[code[pc + 2]]);
        sp = keep(registers, entries, sp, 2 * code[pc + 1] + 1, at);
        pc += 3;
        continue;
      case op.EMPTY:
        pc = registers[code[pc + 1]] === at ? code[pc + 2] : pc + 3;
        continue;
      case op.EMPTY_AFTER:
        pc = registers[code[pc + 1]] === at && registers[code[pc + 3]] > code[pc + 4] ? code[pc + 2] : pc + 5;
        continue;
      case op.ASSERT:
        if (!holds(code[pc + 1], subject, at)) break;
        pc += 2;
        continue;
      case op.BACK_REFERENCE: {
        const end = state.referenceEnd(pc, at);
        if (end === -1) break;
        at = end;
        pc += 3 + code[pc + 2];
        continue;
      }
      case op.HEIGHT: {
        const register = code[pc + 1];
        sp = keep(registers, entries, sp, register, 0);
        registers[register] = sp;
        pc += 2;
        continue;
      }
      case op.CUT: {
        const height = registers[code[pc + 1]];
        state.step(sp - height);
        let to = height;
        for (let entry = height; entry < sp; entry += ENTRY) {
          const kind = entries[entry] & 7;
          if (kind !== REGISTER && kind !== CALLED) continue;
          entries.copyWithin(to, entry, entry + ENTRY);
          to += ENTRY;
        }
        sp = to;
        pc += 2;
        continue;
      }
      case op.UNWIND: {
        const height = registers[code[pc + 1]];
        while (sp > height) {
          sp -= ENTRY;
          restore(state, entries, sp);
        }
        pc += 2;
        continue;
      }
      case op.RETURN_TO:
        at = registers[code[pc + 1]];
        pc += 2;
        continue;
      case op.BACK: {
        const start = state.back(at, code[pc + 1]);
        if (start === -1) break;
        at = start;
        pc += 2;
        continue;
      }
      case op.ZERO:
        sp = keep(registers, entries, sp, code[pc + 1], 0);
        pc += 2;
        continue;
      case op.COUNT: {
        state.step();
        const count = registers[code[pc + 1]];
        const out = code[pc + 5];
        if (count >= code[pc + 3]) {
          pc = out;
          continue;
        }
        if (count >= code[pc + 2]) {
          if (code[pc + 4] === 1) {
            entries[sp] = ((pc + 6) << 3) | ELSEWHERE;
            entries[sp + 1] = at;
            sp += ENTRY;
            pc = out;
            continue;
          }
          entries[sp] = (out << 3) | ELSEWHERE;
          entries[sp + 1] = at;
          sp += ENTRY;
        }
        pc += 6;
        continue;
      }
      case op.ONE_MORE:
        sp = keep(registers, entries, sp, code[pc + 1], registers[code[pc + 1]] + 1);
        pc += 2;
        continue;
      case op.CALL:
        entries[sp] = CALLED;
        entries[sp + 1] = state.call;
        entries[sp + 2] = calls.length;
        sp += ENTRY;
        state.enter(code[pc + 2], at, pc + 3);
        pc = code[pc + 1];
        continue;
      case op.RETURN:
        if (state.call === -1 || calls[state.call].group !== code[pc + 1]) {
          pc += 2;
          continue;
        }
        pc = calls[state.call].back;
        sp = leave(state, entries, sp);
        continue;
      case op.IF_GROUP: {
        let set = false;
        for (let i = 0; i < code[pc + 2]; i++) if (registers[2 * code[pc + 3 + i]] !== -1) set = true;
        pc = set ? pc + 3 + code[pc + 2] : code[pc + 1];
        continue;
      }
      case op.IF_CALLED:
        pc = state.call === -1 ? code[pc + 1] : pc + 2;
        continue;
      case op.MATCH:
        if (state.call === -1) return at;
        pc = calls[state.call].back;
        sp = leave(state, entries, sp);
        continue;
    }
    // Back to the last alternative.
    for (;;) {
      if (sp === 0) return -1;
      sp -= ENTRY;
      const word = entries[sp];
      const kind = word & 7;
      if (kind === ELSEWHERE) {
        pc = word >> 3;
        at = entries[sp + 1];
        break;
      }
      if (kind === SHORTER) {
        const repeat = word >> 3;
        const shortest = entries[sp + 2];
        const end = state.greedyEnd(repeat, entries[sp + 1] - 1, shortest);
        if (end === -1) continue;
        if (end > shortest) {
          entries[sp] = word;
          entries[sp + 1] = end;
          entries[sp + 2] = shortest;
          sp += ENTRY;
        }
        at = end;
        pc = repeat + 7;
        break;
      }
      if (kind === LONGER) {
        const lazy = word >> 3;
        const size = entries[sp + 2] === 0 ? 0 : sizeAt(sets[code[lazy + 1]], subject, entries[sp + 1]);
        if (size === 0) continue;
        const end = state.lazyEnd(lazy, entries[sp + 1] + size, entries[sp + 2] - 1);
        if (end === -1) continue;
        entries[sp] = word;
        entries[sp + 1] = end;
        entries[sp + 2] = state.left;
        sp += ENTRY;
        at = end;
        pc = lazy + 7;
        break;
      }
      restore(state, entries, sp);
    }
  }
}

/** Sets a register, to be restored on the way back. The new height of the stack. */
function keep(registers: Int32Array, entries: Int32Array, sp: number, register: number, value: number): number {
  entries[sp] = (register << 3) | REGISTER;
  entries[sp + 1] = registers[register];
  registers[register] = value;
  return sp + ENTRY;
}

function restore(state: Search, entries: Int32Array, entry: number): void {
  const kind = entries[entry] & 7;
  if (kind === REGISTER) state.registers[entries[entry] >> 3] = entries[entry + 1];
  if (kind !== CALLED) return;
  state.call = entries[entry + 1];
  state.calls.length = entries[entry + 2];
}

/** Ends the call in progress: what it captured is forgotten. The new height of the stack. */
function leave(state: Search, entries: Int32Array, height: number): number {
  const { registers, calls } = state;
  const { outer, registers: before } = calls[state.call];
  entries[height] = CALLED;
  entries[height + 1] = state.call;
  entries[height + 2] = calls.length;
  state.call = outer;
  let sp = height + ENTRY;
  for (let i = 0; i < registers.length; i++) {
    if (registers[i] !== before[i]) sp = keep(registers, entries, sp, i, before[i]);
  }
  return sp;
}

function grown(state: Search): Int32Array<ArrayBuffer> {
  if (stack.length >= MOST_STACK) throw state.givenUp(HEAP_LIMIT);
  const larger = new Int32Array(Math.min(4 * stack.length, MOST_STACK));
  larger.set(stack);
  stack = larger;
  return larger;
}

/** The length of the character of a set at a place, or 0. */
function sizeAt(set: CharacterSet, subject: string, at: number): number {
  if (at >= subject.length) return 0;
  const code = subject.charCodeAt(at);
  if (code < 256) return set.bytes[code];
  const point = subject.codePointAt(at) ?? 0;
  return set.above(point) ? (point > 0xffff ? 2 : 1) : 0;
}

/** Whether a place is inside a character of two units. */
function isTrail(subject: string, at: number): boolean {
  const code = at < subject.length ? subject.charCodeAt(at) : 0;
  return code >= 0xdc00 && code <= 0xdfff;
}

function mayStand(table: Uint8Array, subject: string, at: number): boolean {
  if (at >= subject.length) return table[op.AT_END] === 1;
  const code = subject.charCodeAt(at);
  return table[code < 256 ? code : op.ABOVE_BYTES] === 1;
}

function holds(assertion: number, subject: string, at: number): boolean {
  const { length } = subject;
  switch (op.ASSERTIONS[assertion]) {
    case "start":
      return at === 0;
    case "end":
      return at === length;
    case "finalEnd":
      return at === length || (at === length - 1 && subject.charCodeAt(at) === 0x0a);
    case "lineStart":
      return at === 0 || (at < length && subject.charCodeAt(at - 1) === 0x0a);
    case "lineEnd":
      return at === length || subject.charCodeAt(at) === 0x0a;
    case "word":
      return isWord(subject, at - 1) !== isWord(subject, at);
    case "notWord":
      return isWord(subject, at - 1) === isWord(subject, at);
  }
}

function isWord(subject: string, at: number): boolean {
  if (at < 0 || at >= subject.length) return false;
  const code = subject.charCodeAt(at);
  if (code === 0x5f || (code >= 0x30 && code <= 0x39)) return true;
  return (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
}

function folded(text: string, utf: boolean): string {
  return utf ? text.toLowerCase() : text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
