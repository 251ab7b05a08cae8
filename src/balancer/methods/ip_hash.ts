import type { Address } from "../../net/address.ts";
import { parseIpv4, socketIpv6 } from "../../net/ip.ts";
import type { Attempt } from "../attempt.ts";
import type { Method, Peers } from "../peers.ts";
import { MISSES, peerOfWeight, takesTurns } from "./hash.ts";
import { countBound, pickRoundRobin } from "./round_robin.ts";

const bytes = new Uint8Array(16);

/** `ip_hash`: the first three octets of an IPv4 address, or the whole of an IPv6 one, choose the server. */
export function ipHash(peers: Peers): Method {
  return {
    begin(attempt) {
      attempt.hash = 89;
    },
    pick: (attempt) => pickIpHash(peers, attempt),
    pickBackup: (attempt) => pickRoundRobin(peers, peers.backups, attempt),
    bound(attempt, peer, set) {
      if (set === peers.backups || takesTurns(peers, attempt)) countBound(peers, set, attempt, peer);
    },
  };
}

function pickIpHash(peers: Peers, attempt: Attempt): number {
  if (takesTurns(peers, attempt)) return pickRoundRobin(peers, peers.main, attempt);
  const length = clientBytes(attempt.input.client);
  let { hash } = attempt;
  for (;;) {
    for (let i = 0; i < length; i++) hash = (hash * 113 + bytes[i]) % 6271;
    const peer = peerOfWeight(peers, hash % peers.main.totalWeight);
    if (peers.usable(attempt, peer)) {
      attempt.hash = hash;
      return peer;
    }
    if (++attempt.misses > MISSES) return pickRoundRobin(peers, peers.main, attempt);
  }
}

/** Puts the part of the client's address that counts into `bytes`; a unix socket's client is three zeros. */
function clientBytes(client: Address): number {
  if (client.family === "ipv6") {
    bytes.set(socketIpv6(client.host));
    return 16;
  }
  const address = client.family === "ipv4" ? (parseIpv4(client.host) ?? 0) : 0;
  bytes[0] = address >>> 24;
  bytes[1] = address >>> 16;
  bytes[2] = address >>> 8;
  return 3;
}
