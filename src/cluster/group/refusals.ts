/**
 * What messages are refused for: a signature of another secret, one that was there before, a clock out of the window, another
 * protocol, no message at all, one for another node or cluster, a node that is not in the configuration, too many, one in clear where
 * TLS is asked for, and over TLS one with a certificate that is not that node's.
 */
const REFUSED = [
  "foreign",
  "replayed",
  "clock",
  "version",
  "malformed",
  "misdirected",
  "unknown",
  "flood",
  "clear",
  "certificate",
] as const;
export type RefusedKind = (typeof REFUSED)[number];

/** How many messages changed nothing, by what they were refused for. Kinds that none was of are not there. */
export type RefusedCounts = Readonly<Partial<Record<RefusedKind, number>>>;

export class Refusals {
  readonly #counts: Partial<Record<RefusedKind, number>> = {};

  count(kind: RefusedKind): void {
    this.#counts[kind] = (this.#counts[kind] ?? 0) + 1;
  }

  get counts(): RefusedCounts {
    return { ...this.#counts };
  }
}

/** Counts in the words of another node: kinds that this version does not know are left out. */
export function refusedCounts(of: (kind: string) => number | undefined): RefusedCounts {
  const counts: Partial<Record<RefusedKind, number>> = {};
  for (const kind of REFUSED) {
    const count = of(kind);
    if (count !== undefined) counts[kind] = count;
  }
  return counts;
}
