import { ipv4Text, ipv6Text, parseIpv6 } from "../../../net/ip.ts";
import { lowercase } from "../../../wire/latin1.ts";
import { orderId } from "./order_id.ts";

/** What a certificate is ordered for: its identifiers and the type of its key. */

/** RFC 8555 section 9.7.7, RFC 8738. */
export interface Identifier {
  readonly type: "dns" | "ip";
  readonly value: string;
}

export interface KeyType {
  readonly name: "ecdsa" | "rsa";
  readonly bits: number;
}

export interface Order {
  /** The name of its issuer. */
  readonly issuer: string;
  readonly identifiers: readonly Identifier[];
  readonly key: KeyType;
  /** The name of its files in `state_path`. */
  readonly id: string;
}

export const DEFAULT_KEY: KeyType = { name: "ecdsa", bits: 256 };

export function makeOrder(issuer: string, identifiers: readonly Identifier[], key: KeyType): Order {
  return { issuer, identifiers, key, id: orderId({ identifiers, key }) };
}

/** `ecdsa[:256|384|521]` or `rsa[:2048|3072|4096]`; undefined for anything else, which may be a file. */
export function parseKeyType(text: string): KeyType | { readonly error: string } | undefined {
  const [, name, bits] = /^(ecdsa|rsa)(?::(.*))?$/s.exec(text) ?? [];
  if (name === "ecdsa") {
    if (bits !== undefined && !["256", "384", "521"].includes(bits)) return { error: "unsupported curve" };
    return { name, bits: Number(bits ?? 256) };
  }
  if (name === "rsa") {
    if (bits !== undefined && !["2048", "3072", "4096"].includes(bits)) return { error: "unsupported key size" };
    return { name, bits: Number(bits ?? 2048) };
  }
  return undefined;
}

/** The identifiers that a name stands for: `.example.com` is two. A string is nginx's error. */
export function identifiersOf(name: string): readonly Identifier[] | string {
  const address = addressOf(name);
  if (address !== undefined) return [{ type: "ip", value: address }];
  const error = nameError(name);
  if (error !== undefined) return `invalid server name: ${error}`;
  const value = lowercase(name);
  if (!value.startsWith(".")) return [{ type: "dns", value }];
  return [
    { type: "dns", value: `www${value}` },
    { type: "dns", value: value.slice(1) },
  ];
}

/** The canonical text of an IP address, undefined for anything else. */
function addressOf(text: string): string | undefined {
  const octet = "(?:0|[1-9]\\d{0,2})";
  if (new RegExp(`^${octet}(?:\\.${octet}){3}$`).test(text)) {
    const octets = text.split(".").map(Number);
    if (octets.every((value) => value < 256)) return text;
  }
  const ipv6 = text.includes(":") ? parseIpv6(text) : undefined;
  return ipv6 && ipv6Text(ipv6);
}

/**
 * Why it is no name to order a certificate for. A leading dot is allowed, and one wildcard label (RFC 8555 section 7.1.3).
 */
function nameError(name: string): string | undefined {
  let last: "start" | "label" | "dot" | "wildcard" = "start";
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code <= 0x20 || code >= 0x7f) return `invalid character ${code.toString(16)} at position ${i}`;
    const char = name[i];
    if (char === "*" && last === "start") last = "wildcard";
    else if (char === "." && last !== "dot") last = "dot";
    else if (last !== "wildcard" && /[A-Za-z0-9\-_~%!$&'()+,;=]/.test(char)) last = "label";
    else return `unexpected character '${char}' at position ${i}`;
  }
  return last === "label" ? undefined : "does not end with a label";
}

/**
 * The identifier that a server name in a TLS handshake stands for: addresses are sent as names below `in-addr.arpa` and
 * `ip6.arpa` (RFC 8738 section 6). undefined where it is none.
 */
export function identifierOfServerName(written: string): string | undefined {
  const name = lowercase(written);
  if (name.endsWith(".in-addr.arpa")) {
    const labels = name.slice(0, -".in-addr.arpa".length).split(".");
    if (labels.length !== 4 || !labels.every((label) => /^\d{1,3}$/.test(label) && Number(label) < 256)) {
      return undefined;
    }
    return ipv4Text(labels.reduceRight((address, label) => address * 256 + Number(label), 0));
  }
  if (name.endsWith(".ip6.arpa")) {
    const nibbles = name.slice(0, -".ip6.arpa".length).split(".");
    if (nibbles.length !== 32 || !nibbles.every((nibble) => /^[0-9a-f]$/.test(nibble))) return undefined;
    return ipv6Text(Buffer.from(nibbles.reverse().join(""), "hex"));
  }
  return name;
}
