import { HEX } from "../wire/latin1.ts";
import type { Address } from "./address.ts";

/** IP addresses as numbers: parsing, printing, ranges. As strict or lax as nginx (ngx_inet.c). */

/** ngx_inet_addr: an unsigned 32-bit number, or undefined. Empty octets count as 0. */
export function parseIpv4(text: string): number | undefined {
  let address = 0;
  let octet = 0;
  let dots = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0x30 && code <= 0x39) {
      octet = octet * 10 + (code - 0x30);
      if (octet > 255) return undefined;
    } else if (code === 0x2e) {
      address = address * 256 + octet;
      octet = 0;
      if (++dots > 3) return undefined;
    } else {
      return undefined;
    }
  }
  // 255.255.255.255 is INADDR_NONE.
  const whole = address * 256 + octet;
  return dots === 3 && whole !== 0xffffffff ? whole : undefined;
}

/** ngx_inet6_addr: 16 bytes, or undefined. Takes neither brackets nor a zone. */
export function parseIpv6(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(16);
  const size = text.length;
  let at = 0;
  let words = 0;
  /** How many words stand before the "::"; -1 without one. */
  let gap = -1;
  if (text.startsWith("::")) {
    gap = 0;
    at = 2;
  }
  while (at < size || words === 0) {
    let word = 0;
    let end = at;
    for (; HEX[text.charCodeAt(end)] >= 0; end++) word = 16 * word + HEX[text.charCodeAt(end)];
    if (text[end] === ".") {
      const embedded = parseIpv4(text.slice(at));
      if (embedded === undefined || words > 6) return undefined;
      for (let i = 0; i < 4; i++) bytes[2 * words + i] = embedded >>> (24 - 8 * i);
      words += 2;
      break;
    }
    if (end === at && end === size && gap === 0) break;
    if (end === at || end > at + 4 || words === 8) return undefined;
    bytes[2 * words] = word >> 8;
    bytes[2 * words + 1] = word;
    words++;
    if (end === size) break;
    if (text[end] !== ":" || end + 1 === size) return undefined;
    at = end + 1;
    if (text[at] !== ":") continue;
    if (gap >= 0) return undefined;
    gap = words;
    at++;
  }
  if (gap < 0) return words === 8 ? bytes : undefined;
  if (words > 7) return undefined;
  bytes.copyWithin(16 - 2 * (words - gap), 2 * gap, 2 * words);
  bytes.fill(0, 2 * gap, 16 - 2 * (words - gap));
  return bytes;
}

/** The 16 bytes of a socket's IPv6 address, whose text may have a zone. */
export function socketIpv6(host: string): Uint8Array {
  const zone = host.indexOf("%");
  return parseIpv6(zone === -1 ? host : host.slice(0, zone)) ?? new Uint8Array(16);
}

export function ipv4Text(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** ngx_inet6_ntop: the longest run of zeros as `::`, an embedded IPv4 address with dots. */
export function ipv6Text(bytes: Uint8Array): string {
  const words = Array.from({ length: 8 }, (_, i) => bytes[2 * i] * 256 + bytes[2 * i + 1]);
  let best = { from: -1, length: 0 };
  for (let from = 0; from < 8; from++) {
    let length = 0;
    while (from + length < 8 && words[from + length] === 0) length++;
    if (length > best.length) best = { from, length };
  }
  if (best.length < 2) best = { from: -1, length: 0 };
  // `::0.0.1.2` has dots as well, but not `::1` or `::12`.
  const shortTail = best.length === 7 && bytes[14] !== 0 && bytes[15] !== 1;
  const mapped = best.from === 0 && ((best.length === 5 && words[5] === 0xffff) || best.length === 6 || shortTail);
  const dotted = mapped ? ipv4Text(words[6] * 65536 + words[7]) : "";
  const hex = (some: readonly number[]): string => some.map((word) => word.toString(16)).join(":");
  if (mapped) return best.length === 5 ? `::ffff:${dotted}` : `::${dotted}`;
  if (best.from === -1) return hex(words);
  return `${hex(words.slice(0, best.from))}::${hex(words.slice(best.from + best.length))}`;
}

/** The IPv4 address inside `::ffff:a.b.c.d`, or undefined. */
function mappedIpv4(bytes: Uint8Array): number | undefined {
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return undefined;
  if (bytes[10] !== 255 || bytes[11] !== 255) return undefined;
  return ((bytes[12] << 24) | (bytes[13] << 16) | (bytes[14] << 8) | bytes[15]) >>> 0;
}

/** ngx_cidr_t: an address with its host bits cleared, and a mask. */
export type Cidr =
  | { readonly family: "ipv4"; readonly address: number; readonly mask: number }
  | { readonly family: "ipv6"; readonly address: Uint8Array; readonly mask: Uint8Array };

/** ngx_ptocidr: `address` or `address/bits`. `lowBits`: host bits were set ("low address bits of … are meaningless"). */
export function parseCidr(text: string): { readonly cidr: Cidr; readonly lowBits: boolean } | undefined {
  const slash = text.indexOf("/");
  const host = slash === -1 ? text : text.slice(0, slash);
  const bits = slash === -1 ? undefined : text.slice(slash + 1);
  if (bits !== undefined && !/^[0-9]{1,9}$/.test(bits)) return undefined;
  const v4 = parseIpv4(host);
  if (v4 !== undefined) {
    const shift = bits === undefined ? 32 : Number(bits);
    if (shift > 32) return undefined;
    const mask = shift === 0 ? 0 : (0xffffffff << (32 - shift)) >>> 0;
    const address = (v4 & mask) >>> 0;
    return { cidr: { family: "ipv4", address, mask }, lowBits: address !== v4 };
  }
  const v6 = parseIpv6(host);
  const shift = bits === undefined ? 128 : Number(bits);
  if (v6 === undefined || shift > 128) return undefined;
  const mask = new Uint8Array(16);
  let lowBits = false;
  for (let i = 0; i < 16; i++) {
    mask[i] = 0xff00 >> Math.min(8, Math.max(0, shift - 8 * i));
    if ((v6[i] & ~mask[i]) !== 0) lowBits = true;
    v6[i] &= mask[i];
  }
  return { cidr: { family: "ipv6", address: v6, mask }, lowBits };
}

export function inIpv4(cidr: Cidr, address: number): boolean {
  return cidr.family === "ipv4" && (address & cidr.mask) >>> 0 === cidr.address;
}

export function inIpv6(cidr: Cidr, address: Uint8Array): boolean {
  if (cidr.family !== "ipv6") return false;
  for (let i = 0; i < 16; i++) if ((address[i] & cidr.mask[i]) !== cidr.address[i]) return false;
  return true;
}

/** An address in the form that ranges are matched against. */
export interface ClientAddress {
  /** An IPv4 address, or the one inside an IPv4-mapped IPv6 address. */
  readonly ipv4: number | undefined;
  readonly ipv6: Uint8Array | undefined;
  readonly unix: boolean;
}

export function clientAddress(address: Address): ClientAddress {
  switch (address.family) {
    case "unix":
      return { ipv4: undefined, ipv6: undefined, unix: true };
    case "ipv4":
      return { ipv4: parseIpv4(address.host), ipv6: undefined, unix: false };
    case "ipv6": {
      const ipv6 = socketIpv6(address.host);
      return { ipv4: mappedIpv4(ipv6), ipv6, unix: false };
    }
  }
}

const kept = new WeakMap<Address, ClientAddress>();

/** The same, kept as long as the address: for a client's, which lives as long as its connection or request. */
export function keptClientAddress(address: Address): ClientAddress {
  let client = kept.get(address);
  if (client === undefined) {
    client = clientAddress(address);
    kept.set(address, client);
  }
  return client;
}
