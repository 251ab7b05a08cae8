import type { Sliced } from "../sys/sliced.ts";
import { LongBlock, type Run } from "./long_block.ts";
import type { Sealable } from "./schema.ts";
import { HalfSealedBlock, SealedBlock } from "./sealed_block.ts";
import type { Directive } from "./types.ts";

/**
 * The directives of a configuration as text, for sending them to other processes. The receiver parses a part
 * at a time; structured clone would stop it for some 20 ms with a large configuration.
 */
export type SerializedDirectives = readonly string[];

/** The first string; behind it so many texts of long blocks, and then the parts. */
interface Header {
  readonly files: readonly string[];
  readonly texts: number;
}

/** Directives of a long block. `file` and `text`: indices. */
type RunRow = readonly [file: number, line: number, count: number, text: number];

/**
 * A directive without a block, or one with a block of so many directives, which follow it; those of a long block are in its
 * `runs`, and those of a sealed one in a text of their own, but for those that are `open`. `file`: an index.
 */
type Row =
  | readonly [name: string, args: readonly string[], file: number, line: number]
  | readonly [name: string, args: readonly string[], file: number, line: number, endLine: number, count: number]
  | readonly [
      name: string,
      args: readonly string[],
      file: number,
      line: number,
      endLine: number,
      count: 0,
      runs: readonly RunRow[],
    ]
  | readonly [name: string, args: readonly string[], file: number, line: number, endLine: number, sealed: string]
  | readonly [
      name: string,
      args: readonly string[],
      file: number,
      line: number,
      endLine: number,
      sealed: string,
      open: readonly Row[],
    ];

/** Directives a part: JSON.parse takes a fraction of a millisecond for them. */
const PART = 200;

/** Of a configuration without errors. The blocks of the directives in `sealed` become sealed or half sealed ones. */
export function serializeDirectives(
  directives: readonly Directive[],
  sealed: Sealable = { whole: NONE, half: NONE },
): SerializedDirectives {
  const serializer = new Serializer(sealed);
  const parts: string[] = [];
  let rows: Row[] = [];
  for (const row of serializer.rows(directives)) {
    if (rows.push(row) < PART) continue;
    parts.push(JSON.stringify(rows));
    rows = [];
  }
  parts.push(JSON.stringify(rows));
  return [...serializer.head, ...parts];
}

const NONE: ReadonlySet<Directive> = new Set();

class Serializer {
  readonly #files = new Map<string, number>();
  readonly #texts = new Map<string, number>();
  readonly #sealed: Sealable;

  constructor(sealed: Sealable) {
    this.#sealed = sealed;
  }

  get head(): readonly string[] {
    const header: Header = { files: [...this.#files.keys()], texts: this.#texts.size };
    return [JSON.stringify(header), ...this.#texts.keys()];
  }

  *rows(directives: Iterable<Directive>): Iterable<Row> {
    const left = [...directives].reverse();
    for (let at = left.pop(); at !== undefined; at = left.pop()) {
      const { name, args, line, endLine = line, block } = at;
      const file = indexIn(this.#files, at.file);
      if (block === undefined) {
        yield [name, args, file, line];
      } else if (block instanceof LongBlock) {
        yield [name, args, file, line, endLine, 0, block.runs.map((run) => this.#run(run))];
      } else if (this.#sealed.whole.has(at)) {
        yield [name, args, file, line, endLine, this.#text(block)];
      } else if (this.#sealed.half.has(at)) {
        const inside = [...block];
        const sealed = inside.filter((one) => this.#sealed.whole.has(one));
        const open = inside.filter((one) => !this.#sealed.whole.has(one));
        yield [name, args, file, line, endLine, this.#text(sealed), [...this.rows(open)]];
      } else {
        const inside = [...block];
        yield [name, args, file, line, endLine, inside.length];
        for (let i = inside.length - 1; i >= 0; i--) left.push(inside[i]);
      }
    }
  }

  #text(block: Iterable<Directive>): string {
    return JSON.stringify([...this.rows(block)]);
  }

  #run({ file, line, count, text, at, end }: Run): RunRow {
    return [indexIn(this.#files, file), line, count, indexIn(this.#texts, text.slice(at, end))];
  }
}

function indexIn(known: Map<string, number>, text: string): number {
  const index = known.get(text) ?? known.size;
  known.set(text, index);
  return index;
}

export function* deserializingDirectives([first, ...rest]: SerializedDirectives): Sliced<readonly Directive[]> {
  const { files, texts: count }: Header = JSON.parse(first);
  const deserializer = new Deserializer(files, rest.slice(0, count));
  for (const part of rest.slice(count)) {
    deserializer.add(part);
    yield;
  }
  return deserializer.directives;
}

class Deserializer {
  readonly directives: Directive[] = [];
  readonly #files: readonly string[];
  readonly #texts: readonly string[];
  /** The blocks being filled, from the outermost, and how many directives each still lacks. */
  readonly #open = [{ list: this.directives, lacking: Number.POSITIVE_INFINITY }];

  constructor(files: readonly string[], texts: readonly string[]) {
    this.#files = files;
    this.#texts = texts;
  }

  /** Adds the directives of the next part. */
  add(part: string): void {
    this.#add(JSON.parse(part));
  }

  #add(rows: readonly Row[]): void {
    const open = this.#open;
    for (const row of rows) {
      const [name, args, at, line, endLine, inside] = row;
      while (open[open.length - 1].lacking === 0) open.pop();
      const inner = open[open.length - 1];
      inner.lacking--;
      const file = this.#files[at];
      if (inside === undefined) {
        inner.list.push({ name, args, file, line });
      } else if (typeof inside === "string") {
        inner.list.push({ name, args, file, line, block: this.#sealed(inside, row[6]), endLine });
      } else if (row[6] !== undefined) {
        const block = new LongBlock(row[6].map((run) => this.#run(run)));
        inner.list.push({ name, args, file, line, block, endLine });
      } else {
        const block: Directive[] = [];
        inner.list.push({ name, args, file, line, block, endLine });
        open.push({ list: block, lacking: inside });
      }
    }
  }

  #sealed(text: string, open: readonly Row[] | undefined): SealedBlock | HalfSealedBlock {
    const sealed = new SealedBlock(() => {
      const inside = new Deserializer(this.#files, this.#texts);
      inside.add(text);
      return inside.directives;
    });
    if (open === undefined) return sealed;
    const outside = new Deserializer(this.#files, this.#texts);
    outside.#add(open);
    return new HalfSealedBlock(outside.directives, sealed);
  }

  #run([file, line, count, index]: RunRow): Run {
    const text = this.#texts[index];
    return { file: this.#files[file], text, at: 0, end: text.length, line, count };
  }
}
