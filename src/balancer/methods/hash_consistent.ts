import { zlib } from "../../sys/builtin.ts";
import type { Attempt } from "../attempt.ts";
import type { Method, Peers } from "../peers.ts";
import { crc32Of, MISSES, takesTurns } from "./hash.ts";
import { countBound, pickInTurn, pickRoundRobin } from "./round_robin.ts";

/** Points on the ring for each unit of weight. */
const POINTS = 160;

/** The ring in order of hash, and which `server` (by number) each point belongs to. */
interface Ring {
  readonly hashes: Uint32Array;
  readonly servers: Int32Array;
  /** The peers of each `server`: a name may have several addresses, which take turns. */
  readonly members: readonly Int32Array[];
}

/** `hash key consistent`: the ketama ring, point for point that of nginx and Cache::Memcached::Fast. */
export function hashConsistent(peers: Peers): Method {
  const ring = makeRing(peers);
  return {
    begin(attempt) {
      attempt.hash = find(ring.hashes, crc32Of(attempt.input.key));
    },
    pick: (attempt) => pickConsistent(peers, ring, attempt),
    pickBackup: (attempt) => pickRoundRobin(peers, peers.backups, attempt),
    bound(attempt, peer, set) {
      if (set === peers.backups || attempt.input.key === "" || takesTurns(peers, attempt))
        countBound(peers, set, attempt, peer);
    },
  };
}

function pickConsistent(peers: Peers, ring: Ring, attempt: Attempt): number {
  const { main } = peers;
  while (attempt.misses <= MISSES && attempt.input.key !== "" && main.count > 0) {
    const peer = pickInTurn(peers, ring.members[ring.servers[attempt.hash % ring.servers.length]], attempt);
    if (peer !== -1) return peer;
    attempt.hash++;
    attempt.misses++;
  }
  return pickRoundRobin(peers, main, attempt);
}

function makeRing(peers: Peers): Ring {
  const numbers = new Map<string, number>();
  const members: number[][] = [];
  /** Each point is the hash of the server with the point before. */
  const previous = Buffer.alloc(4);
  const points: { readonly hash: number; readonly server: number }[] = [];
  for (let peer = peers.main.first; peer < peers.main.last; peer++) {
    const text = peers.list[peer].server;
    const server = numbers.get(text) ?? numbers.size;
    numbers.set(text, server);
    if (server === members.length) members.push([]);
    members[server].push(peer);
    const base = baseHash(text);
    previous.writeUInt32LE(0);
    for (let i = 0; i < peers.weight[peer] * POINTS; i++) {
      const hash = zlib().crc32(previous, base);
      previous.writeUInt32LE(hash);
      points.push({ hash, server });
    }
  }
  points.sort((one, other) => one.hash - other.hash);
  const ring = points.filter((point, i) => i === 0 || point.hash !== points[i - 1].hash);
  return {
    hashes: Uint32Array.from(ring, (point) => point.hash),
    servers: Int32Array.from(ring, (point) => point.server),
    members: members.map((list) => Int32Array.from(list)),
  };
}

/** CRC-32 of HOST \0 PORT; a unix socket's path has no port. */
function baseHash(server: string): number {
  let host = server;
  let port = "";
  if (/^unix:/i.test(server)) {
    host = server.slice(5);
  } else {
    const parts = /^(.*):([0-9]*)$/s.exec(server);
    if (parts !== null) [, host, port] = parts;
  }
  return crc32Of(`${host}\0${port}`);
}

/** Index of the first point at or after the hash; may be one past the last, which wraps to the first. */
function find(hashes: Uint32Array, hash: number): number {
  let low = 0;
  let high = hashes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (hash > hashes[middle]) low = middle + 1;
    else high = middle;
  }
  return low;
}
