import type { Address } from "../../../net/address.ts";
import { type Cidr, clientAddress, inIpv4, inIpv6, ipv4Text, ipv6Text, parseIpv4, parseIpv6 } from "../../../net/ip.ts";

/** Proxies that are believed when they say on whose behalf they ask. */
export type TrustedProxies = readonly ("unix" | Cidr)[];

/** Whether an address is one of them; an IPv4-mapped IPv6 address counts as IPv4 (ngx_cidr_match). */
export function isTrusted(proxies: TrustedProxies, address: Address): boolean {
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

/** An address with or without a port, IPv6 with or without brackets; port 0 where none is given (ngx_parse_addr_port). */
export function parseAddressPort(text: string): Address | undefined {
  const plain = parseAddress(text, 0);
  if (plain !== undefined) return plain;
  const bracketed = text.startsWith("[");
  const end = text.indexOf(bracketed ? "]" : ":");
  if (end < 0) return undefined;
  const host = bracketed ? text.slice(1, end) : text.slice(0, end);
  const rest = text.slice(bracketed ? end + 1 : end);
  if (rest === "") return parseAddress(host, 0);
  const digits = rest.slice(1);
  if (!rest.startsWith(":") || !/^[0-9]+$/.test(digits)) return undefined;
  const port = Number(digits);
  return port < 1 || port > 65_535 ? undefined : parseAddress(host, port);
}

function parseAddress(text: string, port: number): Address | undefined {
  const ipv4 = parseIpv4(text);
  if (ipv4 !== undefined) return { family: "ipv4", host: ipv4Text(ipv4), port };
  const ipv6 = parseIpv6(text);
  return ipv6 === undefined ? undefined : { family: "ipv6", host: ipv6Text(ipv6), port };
}

/**
 * The client behind trusted proxies, out of the lines of a field such as X-Forwarded-For: its last address, or with
 * `recursive` the last that is no trusted proxy itself. Undefined where `peer` is not trusted or names nobody
 * (ngx_http_get_forwarded_addr).
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
      const address = parseAddressPort(line.slice(start, end));
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
