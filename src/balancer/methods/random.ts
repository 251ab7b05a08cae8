import type { Attempt } from "../attempt.ts";
import { PEER } from "../peer.ts";
import type { Method, Peers } from "../peers.ts";
import { MISSES, takesTurns } from "./hash.ts";
import { pickRoundRobin } from "./round_robin.ts";

/** `random`: any server, in proportion to the weights. */
export function random(peers: Peers): Method {
  const starts = startsOf(peers);
  return {
    pick: (attempt) => pickRandom(peers, starts, attempt),
    pickBackup: (attempt) => pickRoundRobin(peers, peers.backups, attempt),
  };
}

/** `random two`: two of them, and of these the one with fewer connections for its weight. */
export function randomTwo(peers: Peers): Method {
  const starts = startsOf(peers);
  return {
    pick: (attempt) => pickOfTwo(peers, starts, attempt),
    pickBackup: (attempt) => pickRoundRobin(peers, peers.backups, attempt),
  };
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

function pickOfTwo(peers: Peers, starts: Float64Array, attempt: Attempt): number {
  if (takesTurns(peers, attempt)) return pickRoundRobin(peers, peers.main, attempt);
  const { state, at, weight } = peers;
  let first = -1;
  while (attempt.misses <= MISSES) {
    const peer = draw(peers, starts);
    if (peer === first || !peers.usable(attempt, peer)) {
      attempt.misses++;
    } else if (first === -1) {
      first = peer;
    } else {
      const conns = state[at[peer] + PEER.conns] * weight[first];
      return conns > state[at[first] + PEER.conns] * weight[peer] ? first : peer;
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
