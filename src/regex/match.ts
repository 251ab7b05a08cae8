import type { RegexProgram } from "./program.ts";
import * as op from "./program.ts";
import { HEAP_LIMIT, KEPT_WORDS, Search } from "./search.ts";
import { holds, isTrail, mayStand, sizeAt } from "./text.ts";

/**
 * A backtracking matcher with PCRE's rules, for the patterns and subjects that JavaScript's RegExp does not match as
 * PCRE does, or not in bounded time. It keeps untried alternatives on its own stack and aborts after as many
 * steps as PCRE does. Where a failure cannot depend on captures, it remembers, after some steps, the positions that
 * failed: such a pattern takes time linear in the subject, and is never aborted.
 */

/** Most words of the stack (60 MB). */
const MOST_STACK = 15_000_000;

/** An entry of the stack has three words. The first is a kind, and an instruction or a register above three bits. */
const ENTRY = 3;
const ELSEWHERE = 0; // an instruction; the place
const REGISTER = 1; // a register; its value before
const SHORTER = 2; // a REPEAT; its end, its shortest end
const LONGER = 3; // a LAZY; its end, how many more it may take
const CALLED = 4; // -; the call in progress before, the number of calls remembered before

let stack = new Int32Array(KEPT_WORDS);

/**
 * Searches a subject. When it matches, `registers` (of the program's number) has start and end of group n at 2n and
 * 2n+1, or -1. Throws RegexMatchError.
 */
export function search(program: RegexProgram, subject: string, registers: Int32Array): boolean {
  const { required, minLength } = program;
  if (subject.length < minLength) return false;
  if (required.length > 0 && !required.some((character) => subject.includes(character))) return false;
  const state = new Search(program, subject, registers);
  try {
    return run(state);
  } finally {
    state.done();
    if (stack.length > KEPT_WORDS) stack = new Int32Array(KEPT_WORDS);
  }
}

function run(state: Search): boolean {
  const { program, subject, registers } = state;
  const { first } = program;
  const last = program.anchored ? 0 : subject.length;
  for (let from = 0; from <= last; from++) {
    if (first !== undefined && !mayStand(first, subject, from)) continue;
    if (program.utf && isTrail(subject, from)) continue;
    registers.fill(-1);
    state.step();
    const end = match(state, from);
    if (end === -1) continue;
    registers[0] = from;
    registers[1] = end;
    return true;
  }
  return false;
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
    while (sp + room > entries.length) entries = grown(state);
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
