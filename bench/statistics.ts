export interface Spread {
  median: number;
  min: number;
  max: number;
}

/** Median, least and greatest of the values; undefined when there are none. */
export function spread(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted[sorted.length - 1] };
}

/**
 * The ratio to a reference, taken within each round, where both met the same neighbours on the machine, and only then
 * summed up. A round in which either is missing counts for nothing.
 */
export function ratioPerRound(
  own: readonly (number | undefined)[],
  reference: readonly (number | undefined)[],
): Spread | undefined {
  const ratios: number[] = [];
  for (let round = 0; round < own.length; round++) {
    const value = own[round];
    const base = reference[round];
    if (value !== undefined && base !== undefined && base > 0) ratios.push(value / base);
  }
  return spread(ratios);
}
