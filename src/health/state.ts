/**
 * Health states in shared memory: the watcher writes, workers read with one atomic load. One record for each
 * (upstream, server address, check definition), kept over reloads by that key.
 */
export interface HealthView {
  /** 1 while the peer may be used. A peer without checks is always up. */
  up(peer: number): boolean;
}
