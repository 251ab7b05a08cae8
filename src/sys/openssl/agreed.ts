import { bindWhenUsed, memoryAt, stringAt } from "../ffi.ts";
import { mapped } from "./memory.ts";
import type { SslConnection } from "./ssl.ts";

/** What the sides of a connection have offered and agreed on, as nginx's variables have it; "" for nothing. Byte strings. */
const c = bindWhenUsed(null, {
  // Borrowed from the connection; 0 where the peer has shown none.
  SSL_get0_peer_certificate: { return: "handle", arguments: ["handle"] },
  SSL_get_verify_result: { return: "int64", arguments: ["handle"] },
  // Sets pointers to what is the connection's.
  SSL_get0_alpn_selected: { return: "void", arguments: ["handle", "pointer", "pointer"] },
  SSL_ctrl: { return: "int64", arguments: ["handle", "int32", "int64", "pointer"], nullable: [3] },
  SSL_get_sigalgs: {
    return: "int32",
    arguments: ["handle", "int32", "pointer", "pointer", "pointer", "pointer", "pointer"],
    nullable: [2, 3, 4, 5, 6],
  },
  // The library's, or 0; and so are names.
  SSL_CIPHER_find: { return: "handle", arguments: ["handle", "handle"] },
  SSL_CIPHER_get_name: { return: "handle", arguments: ["handle"] },
  SSL_group_to_name: { return: "handle", arguments: ["handle", "int32"] },
  OBJ_nid2sn: { return: "handle", arguments: ["int32"] },
});

/** <openssl/ssl.h> */
const SSL_CTRL = {
  GET_GROUPS: 90,
  GET_RAW_CIPHERLIST: 110,
  GET_NEGOTIATED_GROUP: 134,
  GET_SIGNATURE_NAME: 140,
  GET_PEER_SIGNATURE_NAME: 141,
} as const;

/** Of a group that has no NID, but only a number in TLS. */
const TLSEXT_NID_UNKNOWN = 0x100_0000;

/** How many groups a peer may offer: OpenSSL takes a list of at most 64 KiB of two bytes each. */
const MOST_GROUPS = 32 * 1024;
const groups = mapped(MOST_GROUPS * 4);
const groupNumbers = new Int32Array(groups.buffer);

const out = mapped(16);
const outs = new DataView(out.buffer);

/** The peer's certificate, lent until the connection is freed; 0 for none. */
export function peerCertificate({ pointer }: SslConnection): bigint {
  return c.SSL_get0_peer_certificate(pointer);
}

/** X509_V_OK or X509_V_ERR_… of the peer's certificate. */
export function verifyResult({ pointer }: SslConnection): bigint {
  return c.SSL_get_verify_result(pointer);
}

export function alpnProtocol({ pointer }: SslConnection): string {
  c.SSL_get0_alpn_selected(pointer, out.address, out.address + 8n);
  const length = outs.getUint32(8, true);
  return length === 0 ? "" : Buffer.from(memoryAt(outs.getBigUint64(0, true), length)).latin1Slice();
}

/** What a client has offered; a cipher that is not known here by its number. */
export function offeredCiphers({ pointer }: SslConnection): string {
  // Each has that many bytes.
  const size = Number(c.SSL_ctrl(pointer, SSL_CTRL.GET_RAW_CIPHERLIST, 0n, 0n));
  const length = Number(c.SSL_ctrl(pointer, SSL_CTRL.GET_RAW_CIPHERLIST, 0n, out.address));
  if (length <= 0 || size <= 0) return "";
  const from = outs.getBigUint64(0, true);
  const bytes = Buffer.from(memoryAt(from, length));
  const names: string[] = [];
  for (let at = 0; at + size <= length; at += size) {
    const cipher = c.SSL_CIPHER_find(pointer, from + BigInt(at));
    names.push(cipher === 0n ? `0x${bytes.toString("hex", at, at + size)}` : text(c.SSL_CIPHER_get_name(cipher)));
  }
  return names.join(":");
}

/** The group by which keys were exchanged. */
export function agreedCurve({ pointer }: SslConnection): string {
  const nid = Number(c.SSL_ctrl(pointer, SSL_CTRL.GET_NEGOTIATED_GROUP, 0n, 0n));
  return nid === 0 ? "" : groupName(pointer, nid);
}

export function offeredCurves({ pointer }: SslConnection): string {
  const count = Number(c.SSL_ctrl(pointer, SSL_CTRL.GET_GROUPS, 0n, 0n));
  if (count <= 0 || count > MOST_GROUPS) return "";
  c.SSL_ctrl(pointer, SSL_CTRL.GET_GROUPS, 0n, groups.address);
  return Array.from(groupNumbers.subarray(0, count), (nid) => groupName(pointer, nid)).join(":");
}

function groupName(pointer: bigint, nid: number): string {
  if ((nid & TLSEXT_NID_UNKNOWN) === 0) return text(c.OBJ_nid2sn(nid));
  const name = c.SSL_group_to_name(pointer, nid);
  return name === 0n ? hexNumber(nid & 0xffff) : text(name);
}

/** The algorithm with which this side has signed. */
export function signature(ssl: SslConnection): string {
  return signatureName(ssl, SSL_CTRL.GET_SIGNATURE_NAME);
}

/** The algorithm with which the peer has signed. */
export function peerSignature(ssl: SslConnection): string {
  return signatureName(ssl, SSL_CTRL.GET_PEER_SIGNATURE_NAME);
}

function signatureName({ pointer }: SslConnection, command: number): string {
  return c.SSL_ctrl(pointer, command, 0n, out.address) === 1n ? text(outs.getBigUint64(0, true)) : "";
}

/** What a client has offered, by their numbers in TLS. */
export function offeredSignatures({ pointer }: SslConnection): string {
  const count = c.SSL_get_sigalgs(pointer, -1, 0n, 0n, 0n, 0n, 0n);
  const numbers: string[] = [];
  for (let i = 0; i < count; i++) {
    c.SSL_get_sigalgs(pointer, i, 0n, 0n, 0n, out.address, out.address + 1n);
    numbers.push(hexNumber(outs.getUint8(1) * 256 + outs.getUint8(0)));
  }
  return numbers.join(":");
}

function hexNumber(number: number): string {
  return `0x${number.toString(16).padStart(4, "0")}`;
}

function text(address: bigint): string {
  return address === 0n ? "" : (stringAt(address) ?? "");
}
