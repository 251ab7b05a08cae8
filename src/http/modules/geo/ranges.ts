import { ipv4Text } from "../../../net/ip.ts";

/** A part of a /16 network: the low 16 bits of its first and last address. */
interface Range {
  start: number;
  end: number;
  value: number;
}

/**
 * The ranges of IPv4 addresses of a `geo` block while it is read. As in nginx each /16 network has a list of its own: a
 * range that reaches into several is in as many parts, each of which may be a duplicate, overlap or be deleted.
 */
export class RangeLists {
  readonly #lists = new Map<number, Range[]>();

  /**
   * Adds a range, or cuts it out of one that contains it. `duplicate` gets the value of each part that is replaced. Of a
   * part that overlaps another one, that other one is returned, as nginx prints it.
   */
  add(first: number, last: number, value: number, duplicate: (old: number) => void): string | undefined {
    for (let high = first >>> 16; high <= last >>> 16; high++) {
      const list = this.#lists.get(high) ?? [];
      if (list.length === 0) this.#lists.set(high, list);
      const range = { start: startIn(high, first), end: endIn(high, last), value };
      const other = insert(list, range, duplicate);
      if (other === undefined) continue;
      const network = high * 0x10000;
      return `${ipv4Text(network + other.start)}-${ipv4Text(network + other.end)}`;
    }
    return undefined;
  }

  /** Deletes a range that was added with these very ends. False if that is not so of one of its parts. */
  remove(first: number, last: number): boolean {
    let all = true;
    for (let high = first >>> 16; high <= last >>> 16; high++) {
      const list = this.#lists.get(high) ?? [];
      const start = startIn(high, first);
      const end = endIn(high, last);
      const at = lastUpTo(list, end);
      if (at < 0 || list[at].start !== start || list[at].end !== end) all = false;
      else list.splice(at, 1);
    }
    return all;
  }

  /** What is there, for looking up. */
  table(): RangeTable {
    const starts: number[] = [];
    const ends: number[] = [];
    const values: number[] = [];
    for (const [high, list] of [...this.#lists].sort(([one], [other]) => one - other)) {
      for (const { start, end, value } of list) {
        const from = high * 0x10000 + start;
        const before = ends.length - 1;
        if (before >= 0 && values[before] === value && ends[before] + 1 === from) ends.pop();
        else {
          starts.push(from);
          values.push(value);
        }
        ends.push(high * 0x10000 + end);
      }
    }
    return { starts: Uint32Array.from(starts), ends: Uint32Array.from(ends), values: Uint32Array.from(values) };
  }
}

function startIn(high: number, first: number): number {
  return high === first >>> 16 ? first & 0xffff : 0;
}

function endIn(high: number, last: number): number {
  return high === last >>> 16 ? last & 0xffff : 0xffff;
}

/** Where the last range is that begins at `end` or before; -1 for none. */
function lastUpTo(list: readonly Range[], end: number): number {
  let low = 0;
  let high = list.length;
  // Most files are in ascending order.
  if (high > 0 && list[high - 1].start <= end) return high - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (list[middle].start <= end) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Puts a range into an ordered list. Returns what it overlaps, if anything. */
function insert(list: Range[], range: Range, duplicate: (old: number) => void): Range | undefined {
  const { start, end, value } = range;
  const at = lastUpTo(list, end);
  if (at < 0 || start > list[at].end) {
    list.splice(at + 1, 0, range);
    return undefined;
  }
  const around = list[at];
  if (start === around.start && end === around.end) {
    duplicate(around.value);
    around.value = value;
    return undefined;
  }
  if (start < around.start || end > around.end) return around;
  const parts = [range];
  if (start > around.start) parts.unshift({ ...around, end: start - 1 });
  if (end < around.end) parts.push({ ...around, start: end + 1 });
  list.splice(at, 1, ...parts);
  return undefined;
}

/** Ranges that do not overlap, in ascending order. */
export interface RangeTable {
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
  readonly values: Uint32Array;
}

/** The value of the range that the address is in; 0 for none. */
export function findInRanges({ starts, ends, values }: RangeTable, address: number): number {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (starts[middle] <= address) low = middle + 1;
    else high = middle;
  }
  return low > 0 && address <= ends[low - 1] ? values[low - 1] : 0;
}
