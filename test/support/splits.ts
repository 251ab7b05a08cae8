/** Runs `feed` over the bytes whole, cut in two at every place, and byte by byte; each way must say the same. */
export interface Fed {
  code: number;
  /** Bytes consumed in all, when the parser is done. */
  consumed: number;
  seen: unknown;
}

export interface Parser {
  feed(bytes: Buffer, start: number, end: number): number;
  consumed(): number;
  seen(): unknown;
}

/** Feeds the pieces one after another, each in a buffer of its own that is overwritten afterwards: bytes are only lent. */
export function feedPieces(parser: Parser, bytes: Buffer, cuts: readonly number[]): Fed {
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    const margin = 3;
    const lent = Buffer.alloc(to - from + 2 * margin, "X");
    bytes.copy(lent, margin, from, to);
    const code = parser.feed(lent, margin, margin + to - from);
    const consumed = code === 1 ? from + parser.consumed() - margin : -1;
    if (code !== 0) {
      const seen = parser.seen();
      lent.fill("X");
      return { code, consumed, seen };
    }
    lent.fill("X");
    from = to;
  }
  return { code: 0, consumed: -1, seen: undefined };
}

export function everySplit(bytes: Buffer): number[][] {
  const splits: number[][] = [[]];
  for (let i = 1; i < bytes.length; i++) splits.push([i]);
  splits.push(Array.from({ length: Math.max(0, bytes.length - 1) }, (_, i) => i + 1));
  return splits;
}
