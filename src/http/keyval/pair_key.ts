import { ipv4Text, ipv6Text, parseIpv4, parseIpv6 } from "../../net/ip.ts";

/**
 * What pairs of a zone are filed under, by the zone's type. Of `ip`: how many bits of an address count, and the address with the
 * others 0, so that each network has one key however it is written.
 */
export type PairType = "string" | "ip" | "prefix";

export const PAIR_TYPES: readonly PairType[] = ["string", "ip", "prefix"];

/** The most bytes of a key. */
const MOST_KEY = 65_535;
/** Bytes before an address. */
export const IP_HEAD = 1;
const IPV4_KEY = IP_HEAD + 4;
const IPV6_KEY = IP_HEAD + 16;
/** How many bits come before the IPv4 address in an IPv6 one that stands for it. */
const MAPPED_BITS = 96;

/** What a key is filed under; undefined: it can be none. */
export function filedKey(type: PairType, text: string): string | undefined {
  if (text === "" || text.length > MOST_KEY) return undefined;
  return type === "ip" ? networkKey(text) : text;
}

/** Whether something can be filed under these bytes, which another node has sent. */
export function isFiledKey(type: PairType, key: string): boolean {
  if (type !== "ip") return key !== "" && key.length <= MOST_KEY;
  return (key.length === IPV4_KEY || key.length === IPV6_KEY) && networkKey(shownKey(type, key)) === key;
}

/** The key as it is shown. */
export function shownKey(type: PairType, filed: string): string {
  if (type !== "ip") return filed;
  const bits = filed.charCodeAt(0);
  const whole = 8 * (filed.length - IP_HEAD);
  const address = Buffer.from(filed.slice(IP_HEAD), "latin1");
  const text = whole === 32 ? ipv4Text(address.readUInt32BE()) : ipv6Text(address);
  return bits === whole ? text : `${text}/${bits}`;
}

/** How many bits of a filed key decide. */
export function keyBits(type: PairType, filed: string): number {
  return type === "ip" ? filed.charCodeAt(0) : 8 * filed.length;
}

export function isIpv6Key(filed: string): boolean {
  return filed.length === IPV6_KEY;
}

/** `address` or `address/bits`. An IPv4 address within IPv6 is that IPv4 address. */
function networkKey(text: string): string | undefined {
  const slash = text.indexOf("/");
  const host = slash === -1 ? text : text.slice(0, slash);
  const written = slash === -1 ? undefined : bitsIn(text, slash + 1);
  if (slash !== -1 && written === undefined) return undefined;
  const ipv4 = parseIpv4(host);
  if (ipv4 !== undefined) return ipv4Key(ipv4, written ?? 32);
  const ipv6 = parseIpv6(host);
  const bits = written ?? 128;
  if (ipv6 === undefined || bits > 128) return undefined;
  if (bits >= MAPPED_BITS && isMapped(ipv6)) {
    return ipv4Key(((ipv6[12] << 24) | (ipv6[13] << 16) | (ipv6[14] << 8) | ipv6[15]) >>> 0, bits - MAPPED_BITS);
  }
  let key = String.fromCharCode(bits);
  for (let i = 0; i < IPV6_KEY - IP_HEAD; i++) {
    key += String.fromCharCode(ipv6[i] & (0xff00 >> Math.min(8, Math.max(0, bits - 8 * i))) & 0xff);
  }
  return key;
}

function bitsIn(text: string, from: number): number | undefined {
  if (from === text.length || text.length > from + 3) return undefined;
  let bits = 0;
  for (let i = from; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    bits = 10 * bits + digit;
  }
  return bits;
}

function ipv4Key(address: number, bits: number): string | undefined {
  if (bits > IPV4_KEY * 8 - 8 * IP_HEAD) return undefined;
  const masked = bits === 0 ? 0 : address & (0xffffffff << (32 - bits));
  return String.fromCharCode(bits, masked >>> 24, (masked >>> 16) & 255, (masked >>> 8) & 255, masked & 255);
}

function isMapped(bytes: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false;
  return bytes[10] === 255 && bytes[11] === 255;
}
