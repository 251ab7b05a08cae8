import { bindWhenUsed, memoryAt } from "../ffi.ts";
import { makeCallback, running } from "./callbacks.ts";
import { type SslContext, SslError } from "./context.ts";
import { mapped } from "./memory.ts";

/** Session tickets (RFC 5077) with keys of our own, in place of those that OpenSSL makes for each SSL_CTX. */
const c = bindWhenUsed(null, {
  // The second argument is called with the SSL; what else it gets is valid within the call.
  SSL_CTX_set_tlsext_ticket_key_evp_cb: { return: "int32", arguments: ["handle", "handle"] },
  // This process's for ever.
  EVP_CIPHER_fetch: { return: "handle", arguments: ["handle", "string", "handle"], nullable: [0, 2] },
  // The key is copied; so is the initialization vector, which is OpenSSL's.
  EVP_EncryptInit_ex: {
    return: "int32",
    arguments: ["handle", "handle", "handle", "buffer", "handle"],
    nullable: [2],
  },
  EVP_DecryptInit_ex: {
    return: "int32",
    arguments: ["handle", "handle", "handle", "buffer", "handle"],
    nullable: [2],
  },
  // The key is copied, and the parameters are read.
  EVP_MAC_init: { return: "int32", arguments: ["handle", "buffer", "uint64", "pointer"], sizes: { 1: 2 } },
  RAND_bytes: { return: "int32", arguments: ["handle", "int32"] },
  SSL_version: { return: "int32", arguments: ["handle"] },
  memcpy: { return: "handle", arguments: ["handle", "buffer", "uint64"], sizes: { 1: 2 } },
});

const NAME_BYTES = 16;
const BLOCK_BYTES = 16;
const TLS1_3_VERSION = 0x304;

/** What a ticket is encrypted with (RFC 5077, section 4). */
export interface TicketKey {
  /** 16 bytes by which a ticket says which key it wants. */
  readonly name: Buffer;
  /** For HMAC-SHA256. */
  readonly hmac: Buffer;
  /** Of 16 bytes for AES-128-CBC, of 32 for AES-256-CBC. */
  readonly aes: Buffer;
}

/** Whoever has the keys of a context. */
export interface TicketKeyOwner {
  /** Those that a ticket may have; that of new ones first. */
  ticketKeys(): readonly TicketKey[];
}

/** What the callback returns. */
const FAILED = -1;
const NONE = 0;
const FOUND = 1;
/** The client gets a new ticket. */
const RENEW = 2;

let callback = 0n;

/** Has tickets of a context's connections encrypted with keys of `context.tickets`. */
export function useTicketKeys(context: SslContext, owner: TicketKeyOwner): void {
  if (callback === 0n) {
    const signature = {
      return: "int32",
      arguments: ["handle", "handle", "handle", "handle", "handle", "int32"],
    } as const;
    callback = makeCallback(signature, FAILED, ticketKey);
  }
  context.tickets = owner;
  c.SSL_CTX_set_tlsext_ticket_key_evp_cb(context.pointer, callback);
}

/** ngx_ssl_ticket_key_callback */
function ticketKey(ssl: bigint, name: bigint, iv: bigint, cipher: bigint, mac: bigint, encrypt: number): number {
  const keys = running.connection?.context.tickets?.ticketKeys();
  if (keys === undefined) return FAILED;
  if (encrypt === 1) {
    if (c.RAND_bytes(iv, BLOCK_BYTES) !== 1) throw new SslError("RAND_bytes() failed");
    encryptWith(keys[0], iv, cipher, mac);
    c.memcpy(name, keys[0].name, BigInt(NAME_BYTES));
    return FOUND;
  }
  const wanted = Buffer.from(memoryAt(name, NAME_BYTES));
  const index = keys.findIndex((key) => key.name.equals(wanted));
  if (index === -1) return NONE;
  decryptWith(keys[index], iv, cipher, mac);
  // A ticket of TLS 1.3 is used once; one of an older key would soon be of no use.
  return index > 0 || c.SSL_version(ssl) === TLS1_3_VERSION ? RENEW : FOUND;
}

function encryptWith({ aes, hmac }: TicketKey, iv: bigint, cipher: bigint, mac: bigint): void {
  if (c.EVP_EncryptInit_ex(cipher, cipherFor(aes), 0n, aes, iv) !== 1)
    throw new SslError("EVP_EncryptInit_ex() failed");
  authenticateWith(hmac, mac);
}

function decryptWith({ aes, hmac }: TicketKey, iv: bigint, cipher: bigint, mac: bigint): void {
  if (c.EVP_DecryptInit_ex(cipher, cipherFor(aes), 0n, aes, iv) !== 1)
    throw new SslError("EVP_DecryptInit_ex() failed");
  authenticateWith(hmac, mac);
}

function authenticateWith(hmac: Buffer, mac: bigint): void {
  const done = c.EVP_MAC_init(mac, hmac, BigInt(hmac.length), digestParameter());
  if (done !== 1) throw new SslError("EVP_MAC_init() failed");
}

let aes128 = 0n;
let aes256 = 0n;

function cipherFor({ length }: Buffer): bigint {
  if (length === 32) {
    if (aes256 === 0n) aes256 = c.EVP_CIPHER_fetch(0n, "AES-256-CBC", 0n);
    return aes256;
  }
  if (aes128 === 0n) aes128 = c.EVP_CIPHER_fetch(0n, "AES-128-CBC", 0n);
  return aes128;
}

/** <openssl/core.h>: an OSSL_PARAM has five words of 64 bits, and one of zeros ends a list. */
const OSSL_PARAM_BYTES = 40;
const OSSL_PARAM_UTF8_STRING = 4n;
const PARAMETER = "digest\0";
const DIGEST = "SHA256\0";

let digestAt: bigint | undefined;

/** The list of parameters `digest = SHA256`. */
function digestParameter(): bigint {
  if (digestAt !== undefined) return digestAt;
  const strings = 2 * OSSL_PARAM_BYTES;
  const { address, buffer } = mapped(strings + PARAMETER.length + DIGEST.length);
  Buffer.from(buffer).latin1Write(PARAMETER + DIGEST, strings, PARAMETER.length + DIGEST.length);
  const parameterAt = address + BigInt(strings);
  const valueAt = parameterAt + BigInt(PARAMETER.length);
  new BigUint64Array(buffer, 0, 4).set([parameterAt, OSSL_PARAM_UTF8_STRING, valueAt, BigInt(DIGEST.length - 1)]);
  digestAt = address;
  return address;
}
