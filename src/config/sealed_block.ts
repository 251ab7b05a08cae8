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
