import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Address } from "../net/address.ts";
import type { CycleData, HostWanted } from "./cycle.ts";

/**
 * Looks up every name at once; IPv4 addresses come before IPv6 ones, else in the order the system gives. `missing`: those
 * without an address, in the order wanted.
 */
export async function resolveHosts(
  wanted: readonly HostWanted[],
): Promise<{ readonly hosts: CycleData["hosts"]; readonly missing: readonly HostWanted[] }> {
  const names = [...new Set(wanted.map((want) => want.host))];
  const found = new Map(
    await Promise.all(names.map(async (host): Promise<[string, readonly Address[]]> => [host, await addresses(host)])),
  );
  const missing = wanted.filter(({ host }) => found.get(host)?.length === 0);
  return { hosts: Object.fromEntries(found), missing };
}

async function addresses(host: string): Promise<readonly Address[]> {
  const bare = host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
  try {
    const kind = isIP(bare);
    const found =
      kind === 0
        ? await lookup(Buffer.from(bare, "latin1").toString(), { all: true })
        : [{ address: bare, family: kind }];
    const ordered = [...found].sort((one, other) => one.family - other.family);
    return ordered.map(({ address, family }) => ({ family: family === 6 ? "ipv6" : "ipv4", host: address, port: 0 }));
  } catch {
    return [];
  }
}
