import type { Attempt, BalanceInput } from "./peer.ts";

/** An attempt at an upstream of so many words of peers. */
export function newAttempt(input: BalanceInput, words: number): Attempt {
  return {
    input,
    tried: new Uint32Array(words),
    peer: -1,
    selectedAt: 0,
    tries: 0,
    headerTime: -1,
    disabled: false,
    backup: false,
    hash: 0,
    rehash: 0,
    misses: 0,
    inflight: false,
  };
}

/** Makes an attempt of an earlier request as good as new. */
export function resetAttempt(attempt: Attempt, input: BalanceInput): void {
  attempt.input = input;
  attempt.tried.fill(0);
  attempt.peer = -1;
  attempt.tries = 0;
  attempt.headerTime = -1;
  attempt.disabled = false;
  attempt.backup = false;
  attempt.hash = 0;
  attempt.rehash = 0;
  attempt.misses = 0;
  attempt.inflight = false;
}
