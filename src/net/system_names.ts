import dns from "node:dns";
import type { Address } from "./address.ts";

/**
 * The addresses of a name, as the system finds them (getaddrinfo): with /etc/hosts and search domains. IPv4 addresses come
 * before IPv6 ones, else in the order given; none where the name has none.
 */
export async function systemAddresses(host: string): Promise<readonly Address[]> {
  const bare = host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
  try {
    const found = await dns.promises.lookup(Buffer.from(bare, "latin1").toString(), { all: true });
    const ordered = [...found].sort((one, other) => one.family - other.family);
    return ordered.map(({ address, family }) => ({ family: family === 6 ? "ipv6" : "ipv4", host: address, port: 0 }));
  } catch {
    return [];
  }
}
