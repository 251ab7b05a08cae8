import { emitSet } from "./emit.ts";
import type { Next } from "./first.ts";
import type { Ranges } from "./syntax.ts";

/**
 * A pattern compiled to instructions for match.ts: each is an opcode followed by its operands.
 */
export interface RegexProgram {
  /** As written. */
  readonly pattern: string;
  readonly code: Int32Array;
  readonly sets: readonly CharacterSet[];
  /** For the repeat of a set: what may follow it, by byte; [AT_END] and [ABOVE_BYTES] besides. */
  readonly follows: readonly Uint8Array[];
  /** Start and end of group n at 2n and 2n+1, then places and counts that the instructions keep. */
  readonly registers: number;
  readonly groups: number;
  /** The number of points at which a place that was tried without success need not be tried again. */
  readonly points: number;
  readonly utf: boolean;
  readonly anchored: boolean;
  readonly minLength: number;
  /** What a match can begin with; undefined when it may begin with anything or match nothing. */
  readonly first: Uint8Array | undefined;
  /** Characters one of which every match contains. */
  readonly required: readonly string[];
}

export const CHARACTER = 0; // code
export const SET = 1; // set
/** Greedy repeat of a set, and one that gives nothing back. */
export const REPEAT = 2; // set, min, max, follow, point, mark
export const POSSESS = 3; // set, min, max, follow, point, mark
export const LAZY = 4; // set, min, max, follow, point, mark
/** Goes on behind itself, and elsewhere if that fails. */
export const SPLIT = 5; // elsewhere, point, mark
export const JUMP = 6; // to
/** Keeps the place. */
export const KEEP = 7; // register
/** Ends a group: sets its registers from the place kept and this one. */
export const CLOSE = 8; // group, register
/** A round of a loop that matched nothing is the last one. */
export const EMPTY = 9; // register, to
export const ASSERT = 10; // one of ASSERTIONS
export const BACK_REFERENCE = 11; // caseless, count, groups…
/** Remembers how high the stack is; CUT drops the alternatives above, UNWIND everything. */
export const HEIGHT = 12; // register
export const CUT = 13; // register
export const UNWIND = 14; // register
/** Goes back to a place kept. */
export const RETURN_TO = 15; // register
/** Goes so many characters back. */
export const BACK = 16; // characters
/** Loops that count their rounds: the count is 0, is one more, and decides between one more round and going on. */
export const ZERO = 17; // register
export const ONE_MORE = 18; // register
export const COUNT = 19; // register, min, max, lazy, out
/** EMPTY once there were enough rounds. */
export const EMPTY_AFTER = 20; // register, to, counter, min
export const CALL = 21; // to, group
/** The end of a group that may have been called. */
export const RETURN = 22; // group
export const IF_GROUP = 23; // else, count, groups…
export const IF_CALLED = 24; // else
export const FAIL = 25;
export const MATCH = 26;

/** The `max` of a repeat without an upper bound. */
export const UNBOUNDED = 0x7fffffff;

export const ASSERTIONS = ["start", "end", "finalEnd", "lineStart", "lineEnd", "word", "notWord"] as const;

/** Indexes of a table of what may follow. */
export const AT_END = 256;
export const ABOVE_BYTES = 257;

export interface CharacterSet {
  /** Codes below 256. */
  readonly bytes: Uint8Array;
  /** Code points above. */
  readonly above: (code: number) => boolean;
}

const never = (): boolean => false;

export function characterSet(ranges: Ranges, caseless: boolean, utf: boolean): CharacterSet {
  const bytes = new Uint8Array(256);
  if (!utf) {
    for (const [low, high] of ranges) bytes.fill(1, low, high + 1);
    return { bytes, above: never };
  }
  if (!caseless) {
    for (const [low, high] of ranges) bytes.fill(1, Math.min(low, 256), Math.min(high, 255) + 1);
    return { bytes, above: (code) => within(ranges, code) };
  }
  const one = new RegExp(`^${emitSet(ranges, true, true)}$`, "u");
  for (let code = 0; code < 256; code++) bytes[code] = one.test(String.fromCharCode(code)) ? 1 : 0;
  return { bytes, above: (code) => one.test(String.fromCodePoint(code)) };
}

function within(ranges: Ranges, code: number): boolean {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ranges[middle][1] < code) low = middle + 1;
    else high = middle;
  }
  return low < ranges.length && ranges[low][0] <= code;
}

/** What may follow, as a table; undefined when anything may. */
export function followTable(next: Next): Uint8Array | undefined {
  if (next === undefined) return undefined;
  const table = new Uint8Array(258);
  for (const [low, high] of next.ranges) {
    table.fill(1, Math.min(low, 256), Math.min(high, 255) + 1);
    if (high > 255) table[ABOVE_BYTES] = 1;
  }
  if (next.end) table[AT_END] = 1;
  return table;
}
