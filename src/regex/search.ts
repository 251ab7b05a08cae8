import type { CharacterSet, RegexProgram } from "./program.ts";
import * as op from "./program.ts";
import { folded, isTrail, mayStand, sizeAt } from "./text.ts";

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
export const HEAP_LIMIT = -63;

/** PCRE's default match limit. */
const MOST_STEPS = 10_000_000;
/** A repeat counts a step for each 2^N characters it passes over. */
const CHARACTERS_PER_STEP = 4;
/** Steps after which failed positions are remembered; most searches end before. */
const STEPS_UNNOTED = 2048;
/** Most bits of the remembered positions (32 MB), and most words of the registers of calls. */
const MOST_NOTES = 2 ** 28;
const MOST_CALLED = 4_000_000;
/** What is kept for the next search. */
export const KEPT_WORDS = 2 ** 15;

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

/** How many steps the last search took. @internal For the tests that bound the work. */
export const effort = { steps: 0 };

/** A search in progress: what it keeps beside its stack, and the instructions that look at the subject more than once. */
export class Search {
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

  /** Ends the search: its memory is given back, unless it is little. */
  done(): void {
    effort.steps = this.steps;
    if (notes.length > KEPT_WORDS) notes = new Uint32Array(0);
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
    // In a loop whose rounds may be empty, the result also depends on whether this round is empty so far.
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
    // An earlier repeat passed here and has tried everything from here on.
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
