import { ipv4Text } from "../../../net/ip.ts";

/** A part of a /16 network: the low 16 bits of its first and last address. */
interface Range {
  start: number;
  end: number;
  value: number;
}

/** Consecutive /16 networks, by the high 16 bits of the first and last one. */
interface Networks {
  readonly first: number;
  readonly last: number;
}

/** The ranges in one network, in ascending order; of several networks each has a single range, which is all of it. */
interface Segment extends Networks {
  readonly ranges: Range[];
}

/** What a range has in one network, or all of each of several networks. */
interface Part extends Networks {
  readonly start: number;
  readonly end: number;
}

/**
 * The ranges of IPv4 addresses of a `geo` block while it is read. As in nginx each /16 network has a list of its own: a
 * range that reaches into several is in as many parts, each of which may be a duplicate, overlap or be deleted. Of a wide
 * range the networks that it fills are one segment in each /8 network, so that its width costs little.
 */
export class RangeLists {
  /** By the /8 network, which keeps these short: those of networks with a range in them, in ascending order. */
  readonly #segments: readonly Segment[][] = Array.from({ length: 256 }, () => []);

  /**
   * Adds a range, or cuts it out of one that contains it. `duplicate` gets the value of parts that are replaced, once for
   * neighbours with the same. Of a part that overlaps another one, that other one is returned, as nginx prints it.
   */
  add(first: number, last: number, value: number, duplicate: (old: number) => void): string | undefined {
    let told = 0;
    const replaced = (old: number): void => {
      if (old !== told) duplicate(old);
      told = old;
    };
    for (const part of partsOf(first, last)) {
      const other = isWhole(part) ? this.#addWhole(part, value, replaced) : this.#addNarrow(part, value, replaced);
      if (other !== undefined) return other;
    }
    return undefined;
  }

  #addNarrow({ first, last, start, end }: Part, value: number, duplicate: (old: number) => void): string | undefined {
    const segments = this.#segments[first >>> 8];
    const at = find(segments, first);
    const range = { start, end, value };
    if (at === segments.length || segments[at].first > first) {
      segments.splice(at, 0, { first, last, ranges: [range] });
      return undefined;
    }
    let segment = segments[at];
    if (segment.first < segment.last) {
      segment = portion(segment, first, last);
      replace(segments, at, at + 1, segment, [segment]);
    }
    const other = insert(segment.ranges, range, duplicate);
    return other && textOf(first, other);
  }

  #addWhole({ first, last, start, end }: Part, value: number, duplicate: (old: number) => void): string | undefined {
    const segments = this.#segments[first >>> 8];
    const at = find(segments, first);
    let after = at;
    for (; after < segments.length && segments[after].first <= last; after++) {
      const { first: network, ranges } = segments[after];
      const other = ranges[ranges.length - 1];
      if (!isWhole(other)) return textOf(network, other);
      duplicate(other.value);
    }
    replace(segments, at, after, { first, last }, [{ first, last, ranges: [{ start, end, value }] }]);
    return undefined;
  }

  /** Deletes a range that was added with these very ends. False if that is not so of one of its parts. */
  remove(first: number, last: number): boolean {
    let all = true;
    for (const part of partsOf(first, last)) {
      const removed = isWhole(part) ? this.#removeWhole(part) : this.#removeNarrow(part);
      if (!removed) all = false;
    }
    return all;
  }

  #removeNarrow({ first, start, end }: Part): boolean {
    const segments = this.#segments[first >>> 8];
    const at = find(segments, first);
    if (at === segments.length || segments[at].first > first) return false;
    const { ranges } = segments[at];
    const i = lastUpTo(ranges, end);
    if (i < 0 || ranges[i].start !== start || ranges[i].end !== end) return false;
    ranges.splice(i, 1);
    if (ranges.length === 0) segments.splice(at, 1);
    return true;
  }

  #removeWhole(networks: Part): boolean {
    const segments = this.#segments[networks.first >>> 8];
    const at = find(segments, networks.first);
    let left = networks.last - networks.first + 1;
    let after = at;
    while (after < segments.length && segments[after].first <= networks.last) after++;
    while (after-- > at) {
      const { first, last, ranges } = segments[after];
      if (!isWhole(ranges[0])) continue;
      left -= Math.min(last, networks.last) - Math.max(first, networks.first) + 1;
      replace(segments, after, after + 1, networks, []);
    }
    return left === 0;
  }

  /** What is there, for looking up. */
  table(): RangeTable {
    const starts: number[] = [];
    const ends: number[] = [];
    const values: number[] = [];
    for (const { first, last, ranges } of this.#segments.flat()) {
      for (const { start, end, value } of ranges) {
        const from = first * 0x10000 + start;
        const before = ends.length - 1;
        if (before >= 0 && values[before] === value && ends[before] + 1 === from) ends.pop();
        else {
          starts.push(from);
          values.push(value);
        }
        ends.push(last * 0x10000 + end);
      }
    }
    return { starts: Uint32Array.from(starts), ends: Uint32Array.from(ends), values: Uint32Array.from(values) };
  }
}

/** The parts of a range: the one in the network it begins in, the networks that it fills, by /8, and the one in the last. */
function partsOf(from: number, to: number): readonly Part[] {
  let first = from >>> 16;
  let last = to >>> 16;
  const start = from & 0xffff;
  const end = to & 0xffff;
  if (first === last) return [{ first, last, start, end }];
  const parts: Part[] = [];
  if (start > 0) parts.push({ first, last: first++, start, end: 0xffff });
  if (end < 0xffff) last--;
  for (; first <= last; first = (first | 0xff) + 1) {
    parts.push({ first, last: Math.min(first | 0xff, last), start: 0, end: 0xffff });
  }
  if (end < 0xffff) parts.push({ first: last + 1, last: last + 1, start: 0, end });
  return parts;
}

/** Where the segment of a network is, or the next one. */
function find(segments: readonly Segment[], network: number): number {
  let low = 0;
  let high = segments.length;
  // Most files are in ascending order.
  if (high > 0 && segments[high - 1].first <= network) return segments[high - 1].last < network ? high : high - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (segments[middle].last < network) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Puts segments in the place of others, of which what is outside of the networks stays. */
function replace(
  segments: Segment[],
  at: number,
  after: number,
  { first, last }: Networks,
  by: readonly Segment[],
): void {
  const all = [...by];
  if (at < after) {
    const low = segments[at];
    const high = segments[after - 1];
    if (low.first < first) all.unshift(portion(low, low.first, first - 1));
    if (high.last > last) all.push(portion(high, last + 1, high.last));
  }
  segments.splice(at, after - at, ...all);
}

/** Some of a segment's networks, with ranges of their own. */
function portion({ ranges }: Segment, first: number, last: number): Segment {
  return { first, last, ranges: ranges.map((range) => ({ ...range })) };
}

function isWhole({ start, end }: { readonly start: number; readonly end: number }): boolean {
  return start === 0 && end === 0xffff;
}

function textOf(network: number, { start, end }: Range): string {
  return `${ipv4Text(network * 0x10000 + start)}-${ipv4Text(network * 0x10000 + end)}`;
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
