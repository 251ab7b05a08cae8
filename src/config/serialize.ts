import type { Sliced } from "../sys/sliced.ts";
import type { Directive } from "./types.ts";

/**
 * The directives of a configuration as text, for sending them to other processes. The receiver parses a part
 * at a time; structured clone would stop it for some 20 ms with a large configuration.
 */
export type SerializedDirectives = readonly string[];

/** A directive without a block, or one with a block of so many directives, which follow it. `file`: an index. */
type Row =
  | readonly [name: string, args: readonly string[], file: number, line: number]
  | readonly [name: string, args: readonly string[], file: number, line: number, endLine: number, count: number];

/** Directives a part: JSON.parse takes a fraction of a millisecond for them. */
const PART = 200;

/** Of a configuration without errors. */
export function serializeDirectives(directives: readonly Directive[]): SerializedDirectives {
  const files = new Map<string, number>();
  const parts: string[] = [];
  let rows: Row[] = [];
  const left = [...directives].reverse();
  for (let at = left.pop(); at !== undefined; at = left.pop()) {
    const { name, args, line, endLine = line, block } = at;
    const file = files.get(at.file) ?? files.size;
    files.set(at.file, file);
    rows.push(block === undefined ? [name, args, file, line] : [name, args, file, line, endLine, block.length]);
    if (block !== undefined) for (let i = block.length - 1; i >= 0; i--) left.push(block[i]);
    if (rows.length < PART && left.length > 0) continue;
    parts.push(JSON.stringify(rows));
    rows = [];
  }
  return [JSON.stringify([...files.keys()]), ...parts];
}

export function* deserializingDirectives([first, ...parts]: SerializedDirectives): Sliced<readonly Directive[]> {
  const files: readonly string[] = JSON.parse(first);
  const directives: Directive[] = [];
  /** The blocks being filled, from the outermost, and how many directives each still lacks. */
  const open = [{ list: directives, lacking: Number.POSITIVE_INFINITY }];
  for (const part of parts) {
    const rows: readonly Row[] = JSON.parse(part);
    for (const [name, args, file, line, endLine, count] of rows) {
      while (open[open.length - 1].lacking === 0) open.pop();
      const inner = open[open.length - 1];
      inner.lacking--;
      if (count === undefined) {
        inner.list.push({ name, args, file: files[file], line });
        continue;
      }
      const block: Directive[] = [];
      inner.list.push({ name, args, file: files[file], line, block, endLine });
      open.push({ list: block, lacking: count });
    }
    yield;
  }
  return directives;
}
