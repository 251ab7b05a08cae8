import { zlib } from "../../sys/builtin.ts";
import type { Attempt } from "../attempt.ts";
import type { Method, Peers } from "../peers.ts";
import { countBound, pickRoundRobin } from "./round_robin.ts";

/** `hash key`: as Cache::Memcached, ((crc32([rehash] key) >> 16) & 0x7fff) added to the hash before, modulo the weights. */
export function hash(peers: Peers): Method {
  return {
    pick: (attempt) => pickHash(peers, attempt),
    pickBackup: (attempt) => pickRoundRobin(peers, peers.backups, attempt),
    bound(attempt, peer, set) {
      if (set === peers.backups || attempt.input.key === "" || takesTurns(peers, attempt))
        countBound(peers, set, attempt, peer);
    },
  };
}

function pickHash(peers: Peers, attempt: Attempt): number {
  const { key } = attempt.input;
  if (key === "" || takesTurns(peers, attempt)) return pickRoundRobin(peers, peers.main, attempt);
  for (;;) {
    const text = attempt.rehash === 0 ? key : `${attempt.rehash}${key}`;
    attempt.hash = (attempt.hash + ((crc32Of(text) >>> 16) & 0x7fff)) >>> 0;
    attempt.rehash++;
    const peer = peerOfWeight(peers, attempt.hash % peers.main.totalWeight);
    if (peers.usable(attempt, peer)) return peer;
    if (++attempt.misses > MISSES) return pickRoundRobin(peers, peers.main, attempt);
  }
}

const NOT_ASCII = /[^\0-\x7f]/;

/** CRC-32 of a byte string. */
export function crc32Of(text: string): number {
  return zlib().crc32(NOT_ASCII.test(text) ? Buffer.from(text, "latin1") : text);
}

// What the methods that hash have in common.

/** After more tries than this without a usable server, round robin takes over. */
export const MISSES = 20;

/** Whether round robin decides instead of the hash: a single server, or too many misses. */
export function takesTurns(peers: Peers, attempt: Attempt): boolean {
  return attempt.misses > MISSES || peers.main.count < 2;
}

/** The main server whose share of the total weight contains `place`. */
export function peerOfWeight(peers: Peers, place: number): number {
  let peer = peers.main.first;
  for (let rest = place; rest >= peers.weight[peer]; peer++) rest -= peers.weight[peer];
  return peer;
}
