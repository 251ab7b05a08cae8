/** Signals that come before there is anything to do about them wait, each once; unheeded, they would end the process. */
export class Signals<Name extends NodeJS.Signals> {
  readonly #waiting = new Set<Name>();
  #answers: Readonly<Record<Name, () => void>> | undefined;

  constructor(names: readonly Name[]) {
    for (const name of names) {
      process.on(name, () => {
        if (this.#answers === undefined) this.#waiting.add(name);
        else this.#answers[name]();
      });
    }
  }

  /** From now on they are answered, and those that waited first. */
  answer(answers: Readonly<Record<Name, () => void>>): void {
    this.#answers = answers;
    for (const name of this.#waiting) answers[name]();
    this.#waiting.clear();
  }
}
