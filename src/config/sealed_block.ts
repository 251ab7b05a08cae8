import type { Directive } from "./types.ts";

/**
 * A block that has come from another process as text, and is read when it is first looked into: of thousands of locations few
 * are ever asked for. It has no errors, since the sender has read it. Each iteration makes the directives anew.
 */
export class SealedBlock implements Iterable<Directive> {
  readonly #read: () => readonly Directive[];

  constructor(read: () => readonly Directive[]) {
    this.#read = read;
  }

  [Symbol.iterator](): Iterator<Directive> {
    return this.#read()[Symbol.iterator]();
  }
}

/** A block in which others are sealed together, whatever their order: of thousands of servers few are ever asked for. */
export class HalfSealedBlock implements Iterable<Directive> {
  readonly open: readonly Directive[];
  readonly sealed: SealedBlock;

  constructor(open: readonly Directive[], sealed: SealedBlock) {
    this.open = open;
    this.sealed = sealed;
  }

  *[Symbol.iterator](): Iterator<Directive> {
    yield* this.open;
    yield* this.sealed;
  }
}
