import type { Attempt } from "../attempt.ts";
import { PEER } from "../peer.ts";
import type { Method, PeerSet, Peers } from "../peers.ts";
import { gainWeight } from "./round_robin.ts";

/** `least_conn`: fewest connections for its weight. */
export function leastConn(peers: Peers): Method {
  const { state, at } = peers;
  const conns = (peer: number) => state[at[peer] + PEER.conns];
  return {
    pick: (attempt) => pickLeast(peers, peers.main, attempt, conns),
    pickBackup: (attempt) => pickLeast(peers, peers.backups, attempt, conns),
  };
}

/** The peer with the least load for its weight; equals take turns by weighted round robin. */
export function pickLeast(peers: Peers, set: PeerSet, attempt: Attempt, load: (peer: number) => number): number {
  const { state, at } = peers;
  let best = -1;
  let bestLoad = 0;
  let bestWeight = 0;
  let equals = false;
  for (let peer = set.first; peer < set.last; peer++) {
    if (!peers.usable(attempt, peer)) continue;
    const own = load(peer);
    const weight = Math.max(1, peers.rampedWeight(peer));
    if (best === -1 || own * bestWeight < bestLoad * weight) {
      best = peer;
      bestLoad = own;
      bestWeight = weight;
      equals = false;
    } else if (own * bestWeight === bestLoad * weight) {
      equals = true;
    }
  }
  if (!equals) return best;

  // Starts with the first of the equals; as in nginx, its weight grows before the others are compared with it.
  let total = 0;
  const first = best;
  for (let peer = first; peer < set.last; peer++) {
    if (!peers.usable(attempt, peer)) continue;
    if (load(peer) * bestWeight !== bestLoad * Math.max(1, peers.rampedWeight(peer))) continue;
    total += gainWeight(peers, peer);
    if (state[at[peer] + PEER.currentWeight] > state[at[best] + PEER.currentWeight]) best = peer;
  }
  state[at[best] + PEER.currentWeight] -= total;
  return best;
}
