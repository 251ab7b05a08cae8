import { readFileSync } from "node:fs";
import { parseIpv4, socketIpv6 } from "../../net/ip.ts";

/** States of the kernel's connections on which something may still be to come or to be sent, as /proc shows them. */
const OPEN: ReadonlySet<string> = new Set(["01", "03", "04", "08", "09", "0B"]);
const LOCAL = 1;
const STATE = 3;

/** Of each local address, as the kernel shows it, when looked at last (monotonic ms). */
let counts = new Map<string, number>();
let lookedAt = Number.NEGATIVE_INFINITY;

/**
 * How many TCP connections of this machine an address has, or had at some moment since then (monotonic ms). A look costs 20 ms
 * of the processor and more, since the kernel goes through a table as large as the machine.
 */
export function connectionsOf(host: string, since: number): number {
  if (lookedAt < since) look();
  return asShown(host).reduce((sum, address) => sum + (counts.get(address) ?? 0), 0);
}

function look(): void {
  lookedAt = performance.now();
  counts = new Map();
  for (const file of ["/proc/self/net/tcp", "/proc/self/net/tcp6"]) {
    for (const line of read(file).split("\n").slice(1)) {
      const fields = line.trimStart().split(" ", STATE + 1);
      if (fields.length <= STATE || !OPEN.has(fields[STATE])) continue;
      const address = fields[LOCAL].slice(0, -5);
      counts.set(address, (counts.get(address) ?? 0) + 1);
    }
  }
}

/** An address as the kernel shows it there: words in the order of the machine's bytes; of IPv4 also the one within IPv6. */
function asShown(host: string): string[] {
  const four = parseIpv4(host);
  if (four === undefined) return [shown(Buffer.from(socketIpv6(host)))];
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(0xffff, 8);
  bytes.writeUInt32BE(four, 12);
  return [shown(bytes.subarray(12)), shown(bytes)];
}

function shown(bytes: Buffer): string {
  return Buffer.from(bytes).swap32().toString("hex").toUpperCase();
}

function read(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    // No IPv6.
    return "";
  }
}
