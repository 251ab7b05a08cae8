/** What a listing shows of a file. */
export interface Entry {
  /** A byte string. */
  readonly name: string;
  readonly dir: boolean;
  readonly file: boolean;
  /** Seconds since 1970. */
  readonly mtime: number;
  readonly size: number;
}

/** As many are sorted at once. */
const RUN = 1024;

/** Entries that were sorted together, and the first of them that has not been taken. */
interface Run {
  readonly entries: readonly Entry[];
  at: number;
}

/**
 * Sorts entries as they come, directories first: in runs that are merged when they are taken out, so that no step is
 * long however many there are.
 */
export class SortedEntries {
  #run: Entry[] = [];
  /** A binary heap: no run's first entry comes before that of its parent. */
  readonly #heap: Run[] = [];

  add(entry: Entry): void {
    this.#run.push(entry);
    if (this.#run.length === RUN) this.#sortRun();
  }

  /** The first entry of those left; undefined if there is none. Called when all were added. */
  take(): Entry | undefined {
    if (this.#run.length > 0) this.#sortRun();
    const heap = this.#heap;
    if (heap.length === 0) return undefined;
    const [first] = heap;
    const entry = first.entries[first.at++];
    if (first.at === first.entries.length) {
      heap[0] = heap[heap.length - 1];
      heap.pop();
    }
    this.#sink();
    return entry;
  }

  #sortRun(): void {
    const heap = this.#heap;
    const run = { entries: this.#run.sort(compare), at: 0 };
    this.#run = [];
    let at = heap.length;
    heap.push(run);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(run, heap[parent])) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = run;
  }

  /** Moves the first run down to its place. */
  #sink(): void {
    const heap = this.#heap;
    if (heap.length < 2) return;
    const [run] = heap;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++;
      if (!isBefore(heap[child], run)) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = run;
  }
}

function isBefore(one: Run, other: Run): boolean {
  return compare(one.entries[one.at], other.entries[other.at]) < 0;
}

/** By name, byte by byte. */
function compare(one: Entry, other: Entry): number {
  if (one.dir !== other.dir) return one.dir ? -1 : 1;
  return one.name < other.name ? -1 : 1;
}
