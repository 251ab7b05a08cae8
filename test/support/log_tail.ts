import { closeSync, openSync, readSync, statSync } from "node:fs";

/** What comes into a log from now on, read once: it grows by a hundred megabytes. */
export class LogTail {
  /** How often what was said, without its numbers. */
  readonly sentences = new Map<string, number>();
  /** A line that is not to be there. */
  wrong = "";
  readonly #path: string;
  #at: number;
  #rest = "";

  constructor(path: string) {
    this.#path = path;
    this.#at = statSync(path).size;
  }

  /** Passes on what has come since the last time, in pieces of whole lines. Whether `tell` was true of any. */
  read(tell: (more: string) => boolean | undefined): boolean {
    let found = false;
    const bytes = Buffer.alloc(1024 * 1024);
    const file = openSync(this.#path, "r");
    try {
      for (let count = 1; count > 0; this.#at += count) {
        count = readSync(file, bytes, 0, bytes.length, this.#at);
        const all = this.#rest + bytes.latin1Slice(0, count);
        const end = all.lastIndexOf("\n") + 1;
        this.#rest = all.slice(end);
        this.#count(all.slice(0, end));
        found = tell(all.slice(0, end)) === true || found;
      }
    } finally {
      closeSync(file);
    }
    return found;
  }

  #count(lines: string): void {
    this.wrong ||= /^.*(?:exception|\[(?:alert|emerg|crit)\]).*$/m.exec(lines)?.[0] ?? "";
    for (const [, sentence] of lines.matchAll(/\[(?:info|error|warn)\] \d+#\d+: \*\d+ ([^,\n]{1,150})/g)) {
      const key = sentence.replaceAll(/".*"|\d+/g, "…");
      this.sentences.set(key, (this.sentences.get(key) ?? 0) + 1);
    }
  }
}
