import type { ParsedRegex } from "./regex_syntax.ts";

/** As PCRE's match limit: steps after which a search gives up with an error. */
const MOST_STEPS = 2_000_000;

/** A search that was given up: too much backtracking or recursion. The sentence is nginx's `pcre2_match() failed: -47`. */
export class RegexMatchError extends Error {}

export interface State {
  readonly subject: string;
  /** Start and end of group n at 2n and 2n+1; -1 when unset. */
  readonly groups: Int32Array;
  /** The groups being called, innermost last, for `(?(R)…)`. */
  calls: number;
  steps: number;
}

export type Next = (at: number) => boolean;
export type Match = (state: State, at: number, next: Next) => boolean;

export interface Compilation {
  readonly parsed: ParsedRegex;
  /** Group bodies by number, [0] the whole pattern, for calls. */
  readonly bodies: Match[];
}

/** Counts a step; throws RegexMatchError once there were too many. */
export function step(state: State): void {
  if (++state.steps > MOST_STEPS) throw new RegexMatchError("pcre2_match() failed: -47");
}

/** Matches nothing, everywhere. */
export const pass: Match = (_state, at, next) => next(at);
