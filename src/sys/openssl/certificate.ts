import { bindWhenUsed, cString, stringAt } from "../ffi.ts";
import { printed } from "./memory_bio.ts";

/**
 * What a certificate says. Each function borrows a pointer to an X509, from whoever has a reference to it. Texts are byte
 * strings.
 */

const c = bindWhenUsed(null, {
  // Names, numbers and times belong to the certificate.
  X509_get_subject_name: { return: "handle", arguments: ["handle"] },
  X509_get_issuer_name: { return: "handle", arguments: ["handle"] },
  X509_get_serialNumber: { return: "handle", arguments: ["handle"] },
  X509_get0_notBefore: { return: "handle", arguments: ["handle"] },
  X509_get0_notAfter: { return: "handle", arguments: ["handle"] },
  X509_NAME_print_ex: { return: "int32", arguments: ["handle", "handle", "int32", "uint64"] },
  // Without a buffer the result is new, and freed with CRYPTO_free.
  X509_NAME_oneline: { return: "handle", arguments: ["handle", "handle", "int32"], nullable: [1] },
  CRYPTO_free: { return: "void", arguments: ["handle", "handle", "int32"], nullable: [1] },
  i2a_ASN1_INTEGER: { return: "int32", arguments: ["handle", "handle"] },
  ASN1_TIME_print: { return: "int32", arguments: ["handle", "handle"] },
  ASN1_TIME_to_tm: { return: "int32", arguments: ["handle", "buffer"] },
  PEM_write_bio_X509: { return: "int32", arguments: ["handle", "handle"] },
  // A constant.
  EVP_sha1: { return: "handle", arguments: [] },
  X509_digest: { return: "int32", arguments: ["handle", "handle", "buffer", "buffer"] },
  X509_check_host: {
    return: "int32",
    arguments: ["handle", "buffer", "uint64", "uint32", "handle"],
    sizes: { 1: 2 },
    nullable: [4],
  },
  X509_check_ip_asc: { return: "int32", arguments: ["handle", "buffer", "uint32"] },
  // A new stack of new strings, freed with X509_email_free.
  X509_get1_ocsp: { return: "handle", arguments: ["handle"] },
  X509_email_free: { return: "void", arguments: ["handle"] },
  OPENSSL_sk_num: { return: "int32", arguments: ["handle"] },
  OPENSSL_sk_value: { return: "handle", arguments: ["handle", "int32"] },
  // A constant text.
  X509_verify_cert_error_string: { return: "handle", arguments: ["int64"] },
});

/** <openssl/x509.h> */
const XN_FLAG_RFC2253 = 0x111_0317n;
/** struct tm of <time.h>. */
const TM_BYTES = 56;
/** EVP_MAX_MD_SIZE */
const DIGEST_BYTES = 64;

/** The subject as RFC 2253 writes it: `CN=name,O=organization`. */
export function subjectName(certificate: bigint): string {
  return rfc2253(c.X509_get_subject_name(certificate));
}

export function issuerName(certificate: bigint): string {
  return rfc2253(c.X509_get_issuer_name(certificate));
}

/** The subject as OpenSSL once wrote it: `/O=organization/CN=name`. */
export function subjectLine(certificate: bigint): string {
  return oneLine(c.X509_get_subject_name(certificate));
}

export function issuerLine(certificate: bigint): string {
  return oneLine(c.X509_get_issuer_name(certificate));
}

/** Upper-case hexadecimal. */
export function serialNumber(certificate: bigint): string {
  const number = c.X509_get_serialNumber(certificate);
  return text((bio) => c.i2a_ASN1_INTEGER(bio, number) >= 0);
}

/** SHA-1 of the certificate, lower-case hexadecimal. */
export function fingerprint(certificate: bigint): string {
  const digest = Buffer.alloc(DIGEST_BYTES);
  const length = new Uint32Array(1);
  if (c.X509_digest(certificate, c.EVP_sha1(), digest, new Uint8Array(length.buffer)) === 0) return "";
  return digest.toString("hex", 0, length[0]);
}

/** `Nov 26 13:40:52 2026 GMT`. */
export function notBefore(certificate: bigint): string {
  return timeText(c.X509_get0_notBefore(certificate));
}

export function notAfter(certificate: bigint): string {
  return timeText(c.X509_get0_notAfter(certificate));
}

/** When the certificate expires, in seconds since 1970; NaN where it does not say so in a way that is allowed. */
export function expiryTime(certificate: bigint): number {
  return asn1Seconds(c.X509_get0_notAfter(certificate));
}

/** An ASN1_TIME in seconds since 1970; NaN where it is none that is allowed. */
export function asn1Seconds(time: bigint): number {
  const tm = Buffer.alloc(TM_BYTES);
  if (c.ASN1_TIME_to_tm(time, tm) === 0) return Number.NaN;
  const [second, minute, hour, day, month, year] = [0, 4, 8, 12, 16, 20].map((at) => tm.readInt32LE(at));
  return Date.UTC(year + 1900, month, day, hour, minute, second) / 1000;
}

/** The certificate in PEM, with a line feed at the end. */
export function certificatePem(certificate: bigint): string {
  return text((bio) => c.PEM_write_bio_X509(bio, certificate) === 1);
}

/** Whether the certificate is for a host of that name, as X509_check_host finds; wildcards are understood. */
export function isForHost(certificate: bigint, name: string): boolean {
  if (name === "") return false;
  const bytes = Buffer.from(name, "latin1");
  return c.X509_check_host(certificate, bytes, BigInt(bytes.length), 0, 0n) === 1;
}

/** Whether the certificate is for that address, written as text; never where it is none. */
export function isForAddress(certificate: bigint, address: string): boolean {
  return c.X509_check_ip_asc(certificate, cString(address), 0) === 1;
}

/** The OCSP responders of the authority information access extension. */
export function ocspResponders(certificate: bigint): string[] {
  const stack = c.X509_get1_ocsp(certificate);
  if (stack === 0n) return [];
  const urls = Array.from({ length: c.OPENSSL_sk_num(stack) }, (_, i) => stringAt(c.OPENSSL_sk_value(stack, i)) ?? "");
  c.X509_email_free(stack);
  return urls;
}

const results = new Map<bigint, string>();

/** What a result of verification (X509_V_ERR_…) means. */
export function verifyResultText(result: bigint): string {
  let known = results.get(result);
  if (known === undefined) {
    known = stringAt(c.X509_verify_cert_error_string(result)) ?? "";
    results.set(result, known);
  }
  return known;
}

function rfc2253(name: bigint): string {
  return text((bio) => c.X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0);
}

function oneLine(name: bigint): string {
  const line = c.X509_NAME_oneline(name, 0n, 0);
  if (line === 0n) return "";
  const copy = stringAt(line) ?? "";
  c.CRYPTO_free(line, 0n, 0);
  return copy;
}

function timeText(time: bigint): string {
  return text((bio) => c.ASN1_TIME_print(bio, time) === 1);
}

/** What is printed, or nothing where OpenSSL could not. */
function text(print: (bio: bigint) => boolean): string {
  return printed(print)?.latin1Slice() ?? "";
}
