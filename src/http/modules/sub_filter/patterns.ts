/** Result of `Patterns.find`: nothing, a pattern, or the beginning of a pattern at the end of the bytes. */
const NONE = 0;
export const FOUND = 1;
export const PARTIAL = 2;

/** Bytes folded to lower case, ASCII letters alone (ngx_tolower). */
const LOWER = Uint8Array.from({ length: 256 }, (_, byte) => (byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte));
/** The largest shift that fits a byte. */
const MOST_SHIFT = 255;

/**
 * Searches for several patterns at once, ignoring case, as ngx_http_sub_filter_module.c does: a window as long as the
 * shortest pattern is moved by a distance that a table gives for its last byte. If several patterns match at a
 * position, the first one of the configuration wins.
 */
export class Patterns {
  /** After `find`: where the match begins; with NONE, up to where nothing matches. */
  start = 0;
  /** After FOUND: the pattern's index. */
  index = 0;
  /** After FOUND: where it ends. */
  end = 0;
  private readonly patterns: readonly Uint8Array[];
  private readonly shortest: number;
  /** By the window's last byte: how far the window can move. 0: a pattern may begin with the window. */
  private readonly shift = new Uint8Array(256);
  /** By the window's last byte: the patterns that have it there. */
  private readonly candidates: readonly (readonly number[])[];
  /** By a byte: whether a pattern begins with it. */
  private readonly begins = new Uint8Array(256);

  /** `texts` are byte strings, none of them empty. */
  constructor(texts: readonly string[]) {
    this.patterns = texts.map((text) => Buffer.from(text, "latin1").map((byte) => LOWER[byte]));
    const shortest = Math.min(...texts.map(({ length }) => length));
    this.shortest = shortest;
    this.shift.fill(Math.min(shortest, MOST_SHIFT));
    const candidates: number[][] = Array.from({ length: 256 }, () => []);
    this.patterns.forEach((pattern, index) => {
      for (let back = 0; back < Math.min(shortest, MOST_SHIFT); back++) {
        for (const byte of bothCases(pattern[shortest - 1 - back])) {
          this.shift[byte] = Math.min(this.shift[byte], back);
        }
      }
      for (const byte of bothCases(pattern[shortest - 1])) candidates[byte].push(index);
      for (const byte of bothCases(pattern[0])) this.begins[byte] = 1;
    });
    this.candidates = candidates;
  }

  /** Searches `bytes[from..]`, except for patterns whose index is set in `used`. */
  find(bytes: Uint8Array, from: number, used: Uint8Array | undefined): number {
    const { shift, shortest } = this;
    const { length } = bytes;
    let at = from + shortest - 1;
    while (at < length) {
      const step = shift[bytes[at]];
      if (step > 0) {
        at += step;
        continue;
      }
      const code = this.tryAt(bytes, at, used);
      if (code !== NONE) return code;
      at++;
    }
    return this.tail(bytes, Math.max(from, at - shortest + 1));
  }

  /** Compares the candidates of a window whose last byte is at `at`. */
  private tryAt(bytes: Uint8Array, at: number, used: Uint8Array | undefined): number {
    const { patterns } = this;
    const candidates = this.candidates[bytes[at]];
    const start = at - this.shortest + 1;
    for (let i = 0; i < candidates.length; i++) {
      const index = candidates[i];
      if (used !== undefined && used[index] !== 0) continue;
      const code = compare(bytes, start, patterns[index]);
      if (code === NONE) continue;
      this.start = start;
      this.index = index;
      this.end = start + patterns[index].length;
      return code;
    }
    return NONE;
  }

  /** Fewer bytes than the window are left: they may be the beginning of a pattern. */
  private tail(bytes: Uint8Array, from: number): number {
    const { begins, patterns } = this;
    for (let start = from; start < bytes.length; start++) {
      if (begins[bytes[start]] === 0) continue;
      for (let i = 0; i < patterns.length; i++) {
        if (compare(bytes, start, patterns[i]) !== PARTIAL) continue;
        this.start = start;
        return PARTIAL;
      }
    }
    this.start = bytes.length;
    return NONE;
  }
}

function bothCases(lower: number): readonly number[] {
  return lower >= 0x61 && lower <= 0x7a ? [lower, lower & ~0x20] : [lower];
}

function compare(bytes: Uint8Array, start: number, pattern: Uint8Array): number {
  const { length } = pattern;
  const here = Math.min(length, bytes.length - start);
  for (let i = 0; i < here; i++) if (LOWER[bytes[start + i]] !== pattern[i]) return NONE;
  return here === length ? FOUND : PARTIAL;
}
