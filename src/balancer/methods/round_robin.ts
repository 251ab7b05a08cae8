import type { Attempt } from "../attempt.ts";
import { PEER } from "../peer.ts";
import type { Method, PeerSet, Peers } from "../peers.ts";

/** Smooth weighted round robin, nginx's default. */
export function roundRobin(peers: Peers): Method {
  return {
    pick: (attempt) => pickRoundRobin(peers, peers.main, attempt),
    pickBackup: (attempt) => pickRoundRobin(peers, peers.backups, attempt),
    bound: (attempt, peer, set) => countBound(peers, set, attempt, peer),
  };
}

/**
 * A request that is bound to the peer counts as its turn, so that the others get more of those that are not. Only one turn
 * ahead is counted, as in nginx: with many sessions the server would have to wait very long for another one.
 */
export function countBound(peers: Peers, set: PeerSet, attempt: Attempt, bound: number): void {
  const { state, at, weight, scale } = peers;
  const record = at[bound];
  if (state[record + PEER.currentWeight] <= (weight[bound] - set.totalWeight) * scale) return;
  let total = 0;
  for (let peer = set.first; peer < set.last; peer++) {
    if (peers.usable(attempt, peer)) total += gainWeight(peers, peer);
  }
  state[record + PEER.currentWeight] -= total;
}

export function pickRoundRobin(peers: Peers, set: PeerSet, attempt: Attempt): number {
  return pickInTurn(peers, set.members, attempt);
}

/**
 * Every usable server gains its effective weight; the heaviest is picked and loses what all gained together. A weight
 * lowered by failures grows back by one a pick.
 */
export function pickInTurn(peers: Peers, members: Int32Array, attempt: Attempt): number {
  const { state, at } = peers;
  const count = members.length;
  let best = -1;
  let highest = 0;
  let total = 0;
  for (let i = 0; i < count; i++) {
    const peer = members[i];
    if (!peers.usable(attempt, peer)) continue;
    total += gainWeight(peers, peer);
    const current = state[at[peer] + PEER.currentWeight];
    if (best === -1 || current > highest) {
      best = peer;
      highest = current;
    }
  }
  if (best !== -1) state[at[best] + PEER.currentWeight] = highest - total;
  return best;
}

/** One peer's part of a round robin step: its current weight grows; returns by how much. */
export function gainWeight(peers: Peers, peer: number): number {
  const { state } = peers;
  const record = peers.at[peer];
  const effective = state[record + PEER.effectiveWeight];
  const most = peers.rampedWeight(peer);
  const gain = effective < most ? effective : most;
  state[record + PEER.currentWeight] += gain;
  if (effective < peers.nominal[peer]) state[record + PEER.effectiveWeight] = effective + peers.scale;
  return gain;
}
