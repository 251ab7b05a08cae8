export interface Spread {
  median: number;
  min: number;
  max: number;
  /** The quartiles: half of the values lie between them. */
  lower: number;
  upper: number;
}

/** Undefined when there are no values. */
export function spread(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const quantile = (part: number): number => {
    const at = part * (sorted.length - 1);
    const below = sorted[Math.floor(at)];
    return below + (sorted[Math.ceil(at)] - below) * (at % 1);
  };
  return {
    median: quantile(0.5),
    min: sorted[0],
    max: sorted[sorted.length - 1],
    lower: quantile(0.25),
    upper: quantile(0.75),
  };
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
