import { type Attempt, PEER } from "../peer.ts";
import type { Method, PeerSet, Peers } from "../peers.ts";

/** Smooth weighted round robin, nginx's default. */
export function roundRobin(peers: Peers): Method {
  return {
    pick: (attempt) => pickRoundRobin(peers, peers.main, attempt),
    pickBackup: (attempt) => pickRoundRobin(peers, peers.backups, attempt),
  };
}

/**
 * Every usable server gains its effective weight; the heaviest is picked and loses what all gained together. A weight
 * lowered by failures grows back by one a pick.
 */
export function pickRoundRobin(peers: Peers, set: PeerSet, attempt: Attempt): number {
  const { state, at } = peers;
  const { last } = set;
  let best = -1;
  let highest = 0;
  let total = 0;
  for (let peer = set.first; peer < last; peer++) {
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
