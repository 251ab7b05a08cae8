import { type Attempt, PEER } from "../peer.ts";
import type { Method, PeerSet, Peers } from "../peers.ts";
import { gainWeight } from "./round_robin.ts";

/** `least_conn`: fewest connections for its weight; equals take turns by weighted round robin. */
export function leastConn(peers: Peers): Method {
  return {
    pick: (attempt) => pickLeastConn(peers, peers.main, attempt),
    pickBackup: (attempt) => pickLeastConn(peers, peers.backups, attempt),
  };
}

function pickLeastConn(peers: Peers, set: PeerSet, attempt: Attempt): number {
  const { state, at } = peers;
  let best = -1;
  let bestConns = 0;
  let bestWeight = 0;
  let equals = false;
  for (let peer = set.first; peer < set.last; peer++) {
    if (!peers.usable(attempt, peer)) continue;
    const conns = state[at[peer] + PEER.conns];
    const weight = Math.max(1, peers.rampedWeight(peer));
    if (best === -1 || conns * bestWeight < bestConns * weight) {
      best = peer;
      bestConns = conns;
      bestWeight = weight;
      equals = false;
    } else if (conns * bestWeight === bestConns * weight) {
      equals = true;
    }
  }
  if (!equals) return best;

  // The first of the equals begins; nginx compares the others with its weight after each step.
  let total = 0;
  const first = best;
  for (let peer = first; peer < set.last; peer++) {
    if (!peers.usable(attempt, peer)) continue;
    const conns = state[at[peer] + PEER.conns];
    if (conns * bestWeight !== bestConns * Math.max(1, peers.rampedWeight(peer))) continue;
    total += gainWeight(peers, peer);
    if (state[at[peer] + PEER.currentWeight] > state[at[best] + PEER.currentWeight]) {
      best = peer;
    }
  }
  state[at[best] + PEER.currentWeight] -= total;
  return best;
}
