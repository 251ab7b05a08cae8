import type { Attempt } from "../peer.ts";
import type { Peers } from "../peers.ts";

/** After so many places where no usable server is, hashing gives way to round robin. */
export const MISSES = 20;

/** True where a hash has no choice to make: one server, or too many misses. */
export function takesTurns(peers: Peers, attempt: Attempt): boolean {
  return attempt.misses > MISSES || peers.main.count < 2;
}

/** The main server at a place of the weights laid end to end. */
export function peerOfWeight(peers: Peers, place: number): number {
  let peer = peers.main.first;
  for (let rest = place; rest >= peers.weight[peer]; peer++) rest -= peers.weight[peer];
  return peer;
}
