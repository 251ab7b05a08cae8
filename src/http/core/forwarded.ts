import type { Address } from "../../net/address.ts";
import { type Cidr, clientAddress, inIpv4, inIpv6 } from "../../net/ip.ts";
import { parseAddrPort } from "../../net/parse_url.ts";

/** Proxies whose X-Forwarded-For and the like are trusted. */
export type TrustedProxies = readonly ("unix" | Cidr)[];

/** Whether an address is a trusted proxy; an IPv4-mapped IPv6 address counts as IPv4 (ngx_cidr_match). */
function isTrusted(proxies: TrustedProxies, address: Address): boolean {
  const { ipv4, ipv6, unix } = clientAddress(address);
  for (const proxy of proxies) {
    if (proxy === "unix") {
      if (unix) return true;
    } else if (ipv4 !== undefined) {
      if (inIpv4(proxy, ipv4)) return true;
    } else if (ipv6 !== undefined && inIpv6(proxy, ipv6)) {
      return true;
    }
  }
  return false;
}

/**
 * The client's address behind trusted proxies, from the lines of a field such as X-Forwarded-For: the last address, or
 * with `recursive` the last one that is not a trusted proxy. Undefined if `peer` is not trusted or the field has no
 * address (ngx_http_get_forwarded_addr).
 */
export function forwardedAddress(
  peer: Address,
  lines: readonly string[],
  proxies: TrustedProxies,
  recursive: boolean,
): Address | undefined {
  let found: Address | undefined;
  for (let i = lines.length - 1; i >= 0; i--) {
    const line = lines[i];
    let end = line.length;
    let start: number;
    do {
      if (!isTrusted(proxies, found ?? peer)) return found;
      while (end > 1 && isSeparator(line, end - 1)) end--;
      start = Math.max(0, end - 1);
      while (start > 0 && !isSeparator(line, start)) start--;
      if (start > 0) start++;
      const address = parseAddrPort(line.slice(start, end));
      if (address === undefined) return found;
      found = address;
      end = start - 1;
    } while (recursive && start > 0);
    if (!recursive) break;
  }
  return found;
}

function isSeparator(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code === 0x20 || code === 0x2c;
}
