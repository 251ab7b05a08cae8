import type { KeyObject } from "node:crypto";
import { parseIpv4, parseIpv6 } from "../../../net/ip.ts";
import { crypto } from "../../../sys/builtin.ts";
import { randomBytes } from "../../../sys/random.ts";
import {
  bitString,
  derNull,
  derTrue,
  implicit,
  integer,
  objectId,
  octetString,
  sequence,
  set,
  tagged,
  utcTime,
  utf8String,
} from "./der.ts";
import type { Identifier, Order } from "./order.ts";

/** What is signed with a certificate's own key: the request for it, and the certificate that answers tls-alpn-01. */

const OID = {
  commonName: "2.5.4.3",
  subjectAltName: "2.5.29.17",
  extensionRequest: "1.2.840.113549.1.9.14",
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  rsaWithSha256: "1.2.840.113549.1.1.11",
  acmeIdentifier: "1.3.6.1.5.5.7.1.31",
} as const;

/** How long a challenge's certificate is valid, ms. */
const CHALLENGE_VALIDITY = 7 * 86_400_000;

/** PKCS #10 (RFC 2986), in DER. `commonName`: the first name is the subject's as well. */
export function certificateRequest({ identifiers }: Order, key: KeyObject, commonName: boolean): Buffer {
  const first = identifiers.find(({ type }) => type === "dns") ?? identifiers[0];
  const extensions = sequence(subjectAltName(identifiers));
  const attribute = sequence(objectId(OID.extensionRequest), set(extensions));
  const version = integer(Buffer.from([0]));
  const subject = commonName ? nameOf(first.value) : sequence();
  return signed(sequence(version, subject, publicKey(key), tagged(0, attribute)), key);
}

/** The self-signed certificate of RFC 8737 section 3, in DER. */
export function challengeCertificate(identifier: Identifier, keyAuthorization: string, key: KeyObject): Buffer {
  const digest = crypto().createHash("sha256").update(keyAuthorization).digest();
  const acmeIdentifier = sequence(objectId(OID.acmeIdentifier), derTrue(), octetString(octetString(digest)));
  const name = nameOf("ACME Challenge Certificate");
  const now = Date.now();
  const serial = randomBytes(16);
  // Neither zero nor one with a leading zero byte.
  serial[0] = (serial[0] & 0x7f) | 0x40;
  const certificate = sequence(
    tagged(0, integer(Buffer.from([2]))),
    integer(serial),
    algorithmOf(key),
    name,
    // An hour ago: the clocks of those who look need not agree with ours.
    sequence(utcTime(now - 3_600_000), utcTime(now + CHALLENGE_VALIDITY)),
    name,
    publicKey(key),
    tagged(3, sequence(subjectAltName([identifier]), acmeIdentifier)),
  );
  return signed(certificate, key);
}

/** PEM of a certificate in DER. */
export function certificatePem(der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function subjectAltName(identifiers: readonly Identifier[]): Buffer {
  const names = identifiers.map(({ type, value }) =>
    type === "dns" ? implicit(2, Buffer.from(value, "latin1")) : implicit(7, addressBytes(value)),
  );
  return sequence(objectId(OID.subjectAltName), octetString(sequence(...names)));
}

function addressBytes(text: string): Uint8Array {
  const ipv6 = parseIpv6(text);
  if (ipv6 !== undefined) return ipv6;
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(parseIpv4(text) ?? 0);
  return bytes;
}

function nameOf(commonName: string): Buffer {
  return sequence(set(sequence(objectId(OID.commonName), utf8String(commonName))));
}

function publicKey(key: KeyObject): Buffer {
  return crypto().createPublicKey(key).export({ type: "spki", format: "der" });
}

function algorithmOf({ asymmetricKeyType }: KeyObject): Buffer {
  return asymmetricKeyType === "rsa"
    ? sequence(objectId(OID.rsaWithSha256), derNull())
    : sequence(objectId(OID.ecdsaWithSha256));
}

function signed(content: Buffer, key: KeyObject): Buffer {
  return sequence(content, algorithmOf(key), bitString(crypto().sign("sha256", content, key)));
}
