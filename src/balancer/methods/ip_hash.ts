import type { Address } from "../../net/address.ts";
import type { Attempt } from "../peer.ts";
import type { Method, Peers } from "../peers.ts";
import { MISSES, peerOfWeight, takesTurns } from "./hashing.ts";
import { pickRoundRobin } from "./round_robin.ts";

const bytes = new Uint8Array(16);

/** `ip_hash`: the first three octets of an IPv4 address, or the whole of an IPv6 one, choose the server. */
export function ipHash(peers: Peers): Method {
  return {
    begin(attempt) {
      attempt.hash = 89;
    },
    pick: (attempt) => pickIpHash(peers, attempt),
    pickBackup: (attempt) => pickRoundRobin(peers, peers.backups, attempt),
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
  switch (client.family) {
    case "ipv4":
      octets(client.host, 0);
      return 3;
    case "ipv6":
      ipv6(client.host);
      return 16;
    default:
      bytes.fill(0, 0, 3);
      return 3;
  }
}

/** Dotted decimals into bytes from `at`; the text is a valid address. */
function octets(text: string, at: number): void {
  let next = at;
  let value = 0;
  for (let i = 0; i < text.length && next < bytes.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x2e) {
      bytes[next++] = value;
      value = 0;
    } else {
      value = value * 10 + code - 0x30;
    }
  }
  if (next < bytes.length) bytes[next] = value;
}

/** RFC 4291 section 2.2 text into 16 bytes; the text is a valid address, maybe with a zone. */
function ipv6(text: string): void {
  bytes.fill(0);
  const zone = text.indexOf("%");
  const address = zone === -1 ? text : text.slice(0, zone);
  const gap = address.indexOf("::");
  if (gap === -1) {
    groups(address, 0);
    return;
  }
  groups(address.slice(0, gap), 0);
  const tail = address.slice(gap + 2);
  groups(tail, 16 - groupBytes(tail));
}

function groupBytes(text: string): number {
  if (text === "") return 0;
  const parts = text.split(":");
  return parts.length * 2 + (parts[parts.length - 1].includes(".") ? 2 : 0);
}

function groups(text: string, at: number): void {
  if (text === "") return;
  let next = at;
  for (const part of text.split(":")) {
    if (part.includes(".")) {
      octets(part, next);
      next += 4;
    } else {
      const value = Number.parseInt(part, 16);
      bytes[next++] = value >> 8;
      bytes[next++] = value & 0xff;
    }
  }
}
