import type { Attempt } from "../peer.ts";
import type { Method, Peers } from "../peers.ts";
import { CRC_START, crcEnd, crcText } from "./crc32.ts";
import { MISSES, peerOfWeight, takesTurns } from "./hashing.ts";
import { pickRoundRobin } from "./round_robin.ts";

/** `hash key`: as Cache::Memcached, ((crc32([rehash] key) >> 16) & 0x7fff) added to the hash before, modulo the weights. */
export function hash(peers: Peers): Method {
  return {
    pick: (attempt) => pickHash(peers, attempt),
    pickBackup: (attempt) => pickRoundRobin(peers, peers.backups, attempt),
  };
}

function pickHash(peers: Peers, attempt: Attempt): number {
  const { key } = attempt.input;
  if (key === "" || takesTurns(peers, attempt)) return pickRoundRobin(peers, peers.main, attempt);
  for (;;) {
    const start = attempt.rehash === 0 ? CRC_START : crcText(CRC_START, String(attempt.rehash));
    attempt.hash = (attempt.hash + ((crcEnd(crcText(start, key)) >>> 16) & 0x7fff)) >>> 0;
    attempt.rehash++;
    const peer = peerOfWeight(peers, attempt.hash % peers.main.totalWeight);
    if (peers.usable(attempt, peer)) return peer;
    if (++attempt.misses > MISSES) return pickRoundRobin(peers, peers.main, attempt);
  }
}
