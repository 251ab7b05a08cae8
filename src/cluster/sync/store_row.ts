/** How this node does with the store of the group. */
export interface StoreRow {
  /** Where it is, without secrets. */
  readonly store: string;
  readonly connected: boolean;
  /** Since when that is so, ms since 1970. */
  readonly since: number;
  /** Why it is not connected. */
  readonly reason: string;
  /** What is shared: topics. */
  readonly shared: readonly string[];
  /** Batches since the checker's start. */
  readonly sent: number;
  readonly received: number;
  /** That were published and did not come. */
  readonly missed: number;
  /** That changed nothing, by why. */
  readonly refused: Readonly<Record<string, number>>;
}

export function refusedBatches({ refused }: StoreRow): number {
  return Object.values(refused).reduce((sum, count) => sum + count, 0);
}
