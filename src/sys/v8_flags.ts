import { setFlagsFromString } from "node:v8";

/**
 * Flags of V8, set once the program has been loaded. With most of them on Node's command line V8 would take none of the bytecode
 * that Node has of its own modules, which costs each process 20 ms.
 */

// A request passes through some hundred small functions: V8 may inline more of them, which takes 5% less time.
const ALWAYS = ["--max-inlined-bytecode-size=920", "--max-inlined-bytecode-size-cumulative=3000"];

/**
 * While something is made that stays, as at the start. V8 would collect garbage over and over again in vain, a quarter of the
 * time, and use another quarter to optimise functions that have little left to do: it counts their calls, of which each line of a
 * configuration makes some. What survives a collection may grow to three times as much before the next one.
 */
const BUILDING = [
  "--no-memory-saver-mode",
  "--heap-growing-percent=200",
  "--invocation-count-for-maglev=4000",
  "--invocation-count-for-turbofan=30000",
];

/** Else memory is given back early (runtime/master/heap.ts says more). The others are what V8 has by default. */
const SERVING = [
  "--memory-saver-mode",
  "--heap-growing-percent=0",
  "--invocation-count-for-maglev=400",
  "--invocation-count-for-turbofan=3000",
];

/**
 * V8 leaves a search that backtracks this often to its linear engine, where that can take the pattern. A backtrack may
 * pass over the whole subject, so that this bounds the time on short subjects only.
 */
export const BACKTRACKS = 5000;
const BOUNDED = [
  "--enable-experimental-regexp-engine-on-excessive-backtracks",
  `--regexp-backtracks-before-fallback=${BACKTRACKS}`,
  // It makes V8 say of a pattern with the flag `l` whether its linear engine takes it.
  "--enable-experimental-regexp-engine",
];
let bounded = false;

/** For the regular expressions that are compiled from now on. */
export function boundBacktracking(): void {
  if (!bounded) set(BOUNDED);
  bounded = true;
}

function set(flags: readonly string[]): void {
  for (const flag of flags) setFlagsFromString(flag);
}

/** How many build something. */
let building = 0;

function begin(): () => void {
  if (building++ === 0) set(BUILDING);
  return () => {
    if (--building === 0) set(SERVING);
  };
}

let started: (() => void) | undefined;

/** A process of Holdfast starts. */
export function beginStart(): void {
  set(ALWAYS);
  boundBacktracking();
  started = begin();
}

/** It serves now. */
export function endStart(): void {
  started?.();
  started = undefined;
}

/** From how many characters of configuration on it would be noticed. */
const LARGE = 128 * 1024;

/** Something is built of so many characters, until what this returns is called, once. */
export function beginBuilding(characters: number): () => void {
  return characters < LARGE ? () => {} : begin();
}
