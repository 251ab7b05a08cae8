/** The PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt), read as nginx does. */
import { ipv4Text, ipv6Text, parseIpv4, parseIpv6 } from "./ip.ts";

/** A PROXY header: `$proxy_protocol_addr`, `_port`, `_server_addr`, `_server_port`, and the TLVs of version 2. */
export interface ProxyProtocol {
  readonly sourceAddress: string;
  readonly sourcePort: number;
  readonly destinationAddress: string;
  readonly destinationPort: number;
  readonly tlvs: Buffer;
}

export const PROXY_MORE = 0;
/** @internal Named by tests only: neither of the others. */
export const PROXY_DONE = 1;
export const PROXY_ERROR = 2;

/** NGX_PROXY_PROTOCOL_MAX_HEADER */
const MAX_HEADER = 4096;
const V2_HEAD = 16;
const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const V1_PREFIX = Buffer.from("PROXY ", "latin1");
const NO_TLVS = Buffer.alloc(0);
const CR = 0x0d;
const LF = 0x0a;

/** Reads the header at the start of a connection, which may come in any number of pieces. */
export class ProxyProtocolReader {
  /** After DONE: the header; undefined for UNKNOWN, LOCAL and anything but a stream over IP. */
  header: ProxyProtocol | undefined;
  /** After DONE: the offset of the data after the header in the bytes passed last. */
  end = 0;
  /** After ERROR: nginx's message (level error). */
  error = "";
  private kept: Buffer = NO_TLVS;
  private length = 0;

  feed(bytes: Buffer, start: number, end: number): number {
    const before = this.length;
    const taken = Math.min(end, start + MAX_HEADER - before);
    const whole = this.gather(bytes, start, taken);
    const code = this.parse(whole, before);
    if (code === PROXY_DONE) this.end += start - before;
    return code;
  }

  private gather(bytes: Buffer, start: number, end: number): Buffer {
    const needed = this.length + (end - start);
    if (this.kept.length < needed) {
      const larger = Buffer.alloc(Math.min(MAX_HEADER, Math.max(256, needed * 2)));
      this.kept.copy(larger, 0, 0, this.length);
      this.kept = larger;
    }
    bytes.copy(this.kept, this.length, start, end);
    this.length = needed;
    return this.kept.subarray(0, needed);
  }

  private parse(bytes: Buffer, before: number): number {
    if (begins(bytes, SIGNATURE)) return bytes.length < V2_HEAD ? PROXY_MORE : this.parseV2(bytes);
    if (!begins(bytes, V1_PREFIX)) return this.broken(bytes);
    // The line's end is in the new bytes, but its CR may have come last time.
    const lineFeed = bytes.indexOf(LF, Math.max(0, before - 1));
    if (lineFeed < 0) return bytes.length >= MAX_HEADER ? this.broken(bytes) : PROXY_MORE;
    if (bytes[lineFeed - 1] !== CR) return this.broken(bytes);
    return this.parseV1(bytes, lineFeed - 1);
  }

  private parseV1(bytes: Buffer, lineEnd: number): number {
    const words = bytes.toString("latin1", V1_PREFIX.length, lineEnd).split(" ");
    this.end = lineEnd + 2;
    if (words[0].startsWith("UNKNOWN")) return PROXY_DONE;
    const [protocol, source, destination, sourcePort, destinationPort] = words;
    if (words.length !== 5 || (protocol !== "TCP4" && protocol !== "TCP6")) return this.broken(bytes);
    const from = port(sourcePort);
    const to = port(destinationPort);
    if (!isAddress(source) || !isAddress(destination) || from < 0 || to < 0) return this.broken(bytes);
    this.header = {
      sourceAddress: source,
      sourcePort: from,
      destinationAddress: destination,
      destinationPort: to,
      tlvs: NO_TLVS,
    };
    return PROXY_DONE;
  }

  private parseV2(bytes: Buffer): number {
    const version = bytes[12] >> 4;
    if (version !== 2) return this.fail(`unknown PROXY protocol version: ${version}`);
    const end = V2_HEAD + bytes.readUInt16BE(14);
    if (end > MAX_HEADER) return this.fail("header is too large");
    if (bytes.length < end) return PROXY_MORE;
    this.end = end;
    const command = bytes[12] & 0x0f;
    const family = bytes[13] >> 4;
    const transport = bytes[13] & 0x0f;
    // Only PROXY with STREAM over IPv4 or IPv6 has addresses; LOCAL (health checks) and the rest are skipped.
    if (command !== 1 || transport !== 1 || (family !== 1 && family !== 2)) return PROXY_DONE;
    const size = family === 1 ? 4 : 16;
    const ports = V2_HEAD + 2 * size;
    if (ports + 4 > end) return this.fail("too short PROXY protocol v2 header");
    const text = (at: number): string =>
      family === 1 ? ipv4Text(bytes.readUInt32BE(at)) : ipv6Text(bytes.subarray(at, at + 16));
    this.header = {
      sourceAddress: text(V2_HEAD),
      sourcePort: bytes.readUInt16BE(ports),
      destinationAddress: text(V2_HEAD + size),
      destinationPort: bytes.readUInt16BE(ports + 2),
      tlvs: Buffer.from(bytes.subarray(ports + 4, end)),
    };
    return PROXY_DONE;
  }

  private broken(bytes: Buffer): number {
    let end = 0;
    while (end < bytes.length && bytes[end] !== CR && bytes[end] !== LF) end++;
    return this.fail(`broken header: "${bytes.toString("latin1", 0, end)}"`);
  }

  private fail(error: string): number {
    this.error = error;
    return PROXY_ERROR;
  }
}

/** Whether the bytes are the prefix, or the beginning of it. */
function begins(bytes: Buffer, prefix: Buffer): boolean {
  const length = Math.min(bytes.length, prefix.length);
  for (let i = 0; i < length; i++) if (bytes[i] !== prefix[i]) return false;
  return true;
}

function isAddress(text: string): boolean {
  return parseIpv4(text) !== undefined || parseIpv6(text) !== undefined;
}

function port(text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) return -1;
  const value = Number(text);
  return value > 65535 ? -1 : value;
}

const TLV_SSL = 0x20;
/** The size of the header of an SSL TLV: client flags and verify result. */
const SSL_HEAD = 5;
const TLVS = new Map([
  ["alpn", 0x01],
  ["authority", 0x02],
  ["unique_id", 0x05],
  ["ssl", TLV_SSL],
  ["netns", 0x30],
]);
const SSL_TLVS = new Map([
  ["version", 0x21],
  ["cn", 0x22],
  ["cipher", 0x23],
  ["sig_alg", 0x24],
  ["key_alg", 0x25],
]);

/** The value of a TLV; `error` is nginx's message (level error). */
export interface TlvResult {
  readonly value?: string;
  readonly error?: string;
}

/** A TLV by the name after `$proxy_protocol_tlv_`: `authority`, `0xEA`, `ssl_cn`, `ssl_0x22`, `ssl_verify` … */
export function proxyProtocolTlv(header: ProxyProtocol, name: string): TlvResult {
  if (!name.startsWith("ssl_")) return namedTlv(header.tlvs, TLVS, name, name);
  const ssl = lookUp(header.tlvs, TLV_SSL);
  if (!Buffer.isBuffer(ssl)) return ssl;
  if (ssl.length < SSL_HEAD) return { error: "broken PROXY protocol TLV" };
  const inner = name.slice(4);
  if (inner === "verify") return { value: String(ssl.readUInt32BE(1)) };
  return namedTlv(ssl.subarray(SSL_HEAD), SSL_TLVS, inner, name);
}

function namedTlv(tlvs: Buffer, names: ReadonlyMap<string, number>, name: string, full: string): TlvResult {
  let type = names.get(name);
  if (name.startsWith("0x")) {
    if (!/^0x[0-9a-fA-F]{1,8}$/.test(name)) return { error: `invalid PROXY protocol TLV "${full}"` };
    type = Number(name);
  }
  if (type === undefined) return { error: `unknown PROXY protocol TLV "${full}"` };
  const found = lookUp(tlvs, type);
  return Buffer.isBuffer(found) ? { value: found.toString("latin1") } : found;
}

function lookUp(tlvs: Buffer, type: number): Buffer | TlvResult {
  let at = 0;
  while (at < tlvs.length) {
    if (tlvs.length - at < 3) return { error: "broken PROXY protocol TLV" };
    const end = at + 3 + tlvs.readUInt16BE(at + 1);
    if (end > tlvs.length) return { error: "broken PROXY protocol TLV" };
    if (tlvs[at] === type) return tlvs.subarray(at + 3, end);
    at = end;
  }
  return {};
}
