import type { InetAddress } from "../net/address.ts";
import { parseIpv4, parseIpv6 } from "../net/ip.ts";
import type { Zone } from "../shm/zone.ts";
import { lockZone, RESOLVED, resolvedRoom } from "./zone.ts";

/**
 * What the names of an upstream's `server … resolve` stand for at present, in its shared zone: the checker resolves them and
 * writes, every process reads when the version has changed. There is room for two texts, each behind its length; the
 * lowest bit of the version says which one holds, so that a death while the other is being written leaves no trace.
 */

/** One server that a name stands for. */
export interface ResolvedServer {
  /** With `service=` the port is the record's, else 0. */
  readonly address: InetAddress;
  /** The SRV record that it comes from. */
  readonly service:
    | {
        readonly name: string;
        readonly weight: number;
        /** Other records come first (priority). */
        readonly backup: boolean;
      }
    | undefined;
}

/** By `nameKey`. A name without an entry has not been resolved yet. */
export type ResolvedNames = ReadonlyMap<string, readonly ResolvedServer[]>;

export const NOTHING_RESOLVED: ResolvedNames = new Map();

const VERSION = RESOLVED;
const HEADER = 4;

/** What the servers of a name are filed under, whatever port a `server` directive gives them. */
export function nameKey(host: string, service: string): string {
  return `${host.toLowerCase()} ${service}`;
}

export function resolvedVersion({ words }: Zone): number {
  return Atomics.load(words, VERSION);
}

/** What was written last, and its version. Names with what no checker has written there are left out. */
export function readResolved(zone: Zone): { readonly version: number; readonly names: ResolvedNames } {
  lockZone(zone);
  const version = resolvedVersion(zone);
  const text = textOf(halfOf(zone, version));
  zone.unlock();
  return { version, names: parsed(text) };
}

/** Publishes what names stand for. False when the zone has no room for it: what was there stays. */
export function writeResolved(zone: Zone, names: ResolvedNames): boolean {
  const text = JSON.stringify([...names].map(([name, servers]) => [name, servers.map(entryOf)] as const));
  lockZone(zone);
  try {
    const next = (resolvedVersion(zone) + 1) | 0;
    const half = halfOf(zone, next);
    if (text.length > half.length - HEADER) return false;
    half.writeUInt32LE(text.length, 0);
    half.write(text, HEADER, "latin1");
    Atomics.store(zone.words, VERSION, next);
    return true;
  } finally {
    zone.unlock();
  }
}

/** Copies what names stand for into a new zone of another size. */
export function migrateResolved(from: Zone, to: Zone): void {
  const { version, names } = readResolved(from);
  if (version !== 0) writeResolved(to, names);
}

function halfOf(zone: Zone, version: number): Buffer {
  const room = resolvedRoom(zone);
  const length = room.length >> 1;
  const start = (version & 1) * length;
  return room.subarray(start, start + length);
}

function textOf(half: Buffer): string {
  if (half.length < HEADER) return "";
  const length = Math.min(half.readUInt32LE(0), half.length - HEADER);
  return half.latin1Slice(HEADER, HEADER + length);
}

/** A server as it is written: host and port, and for a service the name, weight and whether it is a backup. */
type Entry = readonly [host: string, port: number, name?: string, weight?: number, backup?: boolean];

function entryOf({ address: { host, port }, service }: ResolvedServer): Entry {
  return service === undefined ? [host, port] : [host, port, service.name, service.weight, service.backup];
}

/** Workers may have been taken over, and can write to the zone: nothing is believed of what is read from it. */
function parsed(text: string): ResolvedNames {
  const names = new Map<string, readonly ResolvedServer[]>();
  let list: unknown;
  try {
    list = JSON.parse(text === "" ? "[]" : text);
  } catch {
    return names;
  }
  if (!Array.isArray(list)) return names;
  for (const item of list) {
    if (!Array.isArray(item) || typeof item[0] !== "string" || !Array.isArray(item[1])) continue;
    names.set(
      item[0],
      item[1].flatMap((entry) => serverOf(entry) ?? []),
    );
  }
  return names;
}

function serverOf(entry: unknown): ResolvedServer | undefined {
  if (!Array.isArray(entry)) return undefined;
  const [host, port, name, weight, backup] = entry;
  if (typeof host !== "string" || !isPort(port)) return undefined;
  const address = addressOf(host, port);
  if (address === undefined) return undefined;
  if (name === undefined) return { address, service: undefined };
  if (typeof name !== "string" || !isWeight(weight) || typeof backup !== "boolean") return undefined;
  return { address, service: { name, weight, backup } };
}

function addressOf(host: string, port: number): InetAddress | undefined {
  if (parseIpv4(host) !== undefined) return { family: "ipv4", host, port };
  return parseIpv6(host) === undefined ? undefined : { family: "ipv6", host, port };
}

function isPort(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 0xffff;
}

function isWeight(value: unknown): value is number {
  return isPort(value) && value > 0;
}
