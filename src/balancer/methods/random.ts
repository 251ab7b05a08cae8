import type { Attempt } from "../attempt.ts";
import type { TimeMode } from "../definition.ts";
import { PEER } from "../peer.ts";
import type { Method, PeerSet, Peers } from "../peers.ts";
import { MISSES, takesTurns } from "./hash.ts";
import { responseTimes } from "./least_time.ts";
import { countBound, pickRoundRobin } from "./round_robin.ts";

/** `random`: any server, in proportion to the weights. */
export function random(peers: Peers): Method {
  const starts = startsOf(peers);
  return {
    pick: (attempt) => pickRandom(peers, starts, attempt),
    pickBackup: (attempt) => pickRoundRobin(peers, peers.backups, attempt),
    bound: (attempt, peer, set) => countWhereInTurn(peers, attempt, peer, set),
  };
}

/** `random two`: two of them, and of these the one with fewer connections, or the least response time, for its weight. */
export function randomTwo(peers: Peers, by: "least_conn" | TimeMode): Method {
  const starts = startsOf(peers);
  const { state, at } = peers;
  const times = by === "least_conn" ? undefined : responseTimes(peers, by);
  const load = times?.load ?? ((peer: number) => state[at[peer] + PEER.conns]);
  return {
    released: times?.released,
    pick: (attempt) => pickOfTwo(peers, starts, attempt, load),
    pickBackup: (attempt) => pickRoundRobin(peers, peers.backups, attempt),
    bound: (attempt, peer, set) => countWhereInTurn(peers, attempt, peer, set),
  };
}

function countWhereInTurn(peers: Peers, attempt: Attempt, peer: number, set: PeerSet): void {
  if (set === peers.backups || takesTurns(peers, attempt)) countBound(peers, set, attempt, peer);
}

function pickRandom(peers: Peers, starts: Float64Array, attempt: Attempt): number {
  if (takesTurns(peers, attempt)) return pickRoundRobin(peers, peers.main, attempt);
  while (attempt.misses <= MISSES) {
    const peer = draw(peers, starts);
    if (peers.usable(attempt, peer)) return peer;
    attempt.misses++;
  }
  return pickRoundRobin(peers, peers.main, attempt);
}

function pickOfTwo(peers: Peers, starts: Float64Array, attempt: Attempt, load: (peer: number) => number): number {
  if (takesTurns(peers, attempt)) return pickRoundRobin(peers, peers.main, attempt);
  const { weight } = peers;
  let first = -1;
  while (attempt.misses <= MISSES) {
    const peer = draw(peers, starts);
    if (peer === first || !peers.usable(attempt, peer)) {
      attempt.misses++;
    } else if (first === -1) {
      first = peer;
    } else {
      return load(peer) * weight[first] > load(first) * weight[peer] ? first : peer;
    }
  }
  return pickRoundRobin(peers, peers.main, attempt);
}

/** Running sums of the main servers' weights: where each one's share of the total begins. */
function startsOf(peers: Peers): Float64Array {
  const starts = new Float64Array(peers.main.count);
  let sum = 0;
  for (let peer = 0; peer < starts.length; peer++) {
    starts[peer] = sum;
    sum += peers.weight[peer];
  }
  return starts;
}

function draw(peers: Peers, starts: Float64Array): number {
  const place = Math.floor(Math.random() * peers.main.totalWeight);
  let low = 0;
  let high = starts.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (place < starts[middle]) high = middle;
    else low = middle;
  }
  return low;
}
