import type { Sliced } from "../sys/sliced.ts";
import { LongBlock, type Run } from "./long_block.ts";
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
 * `runs`. `file`: an index.
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
    ];

/** Directives a part: JSON.parse takes a fraction of a millisecond for them. */
const PART = 200;

/** Of a configuration without errors. */
export function serializeDirectives(directives: readonly Directive[]): SerializedDirectives {
  const files = new Map<string, number>();
  const texts = new Map<string, number>();
  const parts: string[] = [];
  let rows: Row[] = [];
  const left = [...directives].reverse();
  for (let at = left.pop(); at !== undefined; at = left.pop()) {
    const { name, args, line, endLine = line, block } = at;
    const file = indexIn(files, at.file);
    if (block === undefined) {
      rows.push([name, args, file, line]);
    } else if (block instanceof LongBlock) {
      const runs = block.runs.map(
        (run): RunRow => [
          indexIn(files, run.file),
          run.line,
          run.count,
          indexIn(texts, run.text.slice(run.at, run.end)),
        ],
      );
      rows.push([name, args, file, line, endLine, 0, runs]);
    } else {
      rows.push([name, args, file, line, endLine, block.length]);
      for (let i = block.length - 1; i >= 0; i--) left.push(block[i]);
    }
    if (rows.length < PART && left.length > 0) continue;
    parts.push(JSON.stringify(rows));
    rows = [];
  }
  const header: Header = { files: [...files.keys()], texts: texts.size };
  return [JSON.stringify(header), ...texts.keys(), ...parts];
}

function indexIn(known: Map<string, number>, text: string): number {
  const index = known.get(text) ?? known.size;
  known.set(text, index);
  return index;
}

export function* deserializingDirectives([first, ...rest]: SerializedDirectives): Sliced<readonly Directive[]> {
  const { files, texts: count }: Header = JSON.parse(first);
  const texts = rest.slice(0, count);
  const directives: Directive[] = [];
  /** The blocks being filled, from the outermost, and how many directives each still lacks. */
  const open = [{ list: directives, lacking: Number.POSITIVE_INFINITY }];
  for (const part of rest.slice(count)) {
    const rows: readonly Row[] = JSON.parse(part);
    for (const [name, args, file, line, endLine, lacking, runs] of rows) {
      while (open[open.length - 1].lacking === 0) open.pop();
      const inner = open[open.length - 1];
      inner.lacking--;
      if (lacking === undefined) {
        inner.list.push({ name, args, file: files[file], line });
        continue;
      }
      if (runs !== undefined) {
        const block = new LongBlock(runs.map((row) => runOf(row, files, texts)));
        inner.list.push({ name, args, file: files[file], line, block, endLine });
        continue;
      }
      const block: Directive[] = [];
      inner.list.push({ name, args, file: files[file], line, block, endLine });
      open.push({ list: block, lacking });
    }
    yield;
  }
  return directives;
}

function runOf([file, line, count, index]: RunRow, files: readonly string[], texts: readonly string[]): Run {
  const text = texts[index];
  return { file: files[file], text, at: 0, end: text.length, line, count };
}
