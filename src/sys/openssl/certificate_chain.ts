import { bindWhenUsed } from "../ffi.ts";
import { peerCertificate, verifyResult } from "./agreed.ts";
import { type SslContext, SslError } from "./context.ts";
import { clearErrors } from "./errors.ts";
import { mapped } from "./memory.ts";
import { Owned } from "./owned.ts";
import type { SslConnection } from "./ssl.ts";

/** Certificates and who issued them: those of a context, and the verified chain of a peer. */
const c = bindWhenUsed(null, {
  SSL_CTX_ctrl: { return: "int64", arguments: ["handle", "int32", "int64", "pointer"], nullable: [3] },
  // The context's.
  SSL_CTX_get0_certificate: { return: "handle", arguments: ["handle"] },
  SSL_CTX_get_cert_store: { return: "handle", arguments: ["handle"] },
  X509_check_issued: { return: "int32", arguments: ["handle", "handle"] },
  // One more reference.
  X509_up_ref: { return: "int32", arguments: ["handle"] },
  // The caller's, until X509_STORE_CTX_free. The store, the certificate and the stack are lent until then.
  X509_STORE_CTX_new: { return: "handle", arguments: [] },
  X509_STORE_CTX_init: { return: "int32", arguments: ["handle", "handle", "handle", "handle"], nullable: [2, 3] },
  X509_STORE_CTX_free: { return: "void", arguments: ["handle"] },
  // With 1 the cell is set to a certificate that is the caller's.
  X509_STORE_CTX_get1_issuer: { return: "int32", arguments: ["pointer", "handle", "handle"] },
  X509_verify_cert: { return: "int32", arguments: ["handle"] },
  // A stack that is the caller's, and so is a reference to each of its certificates, until OSSL_STACK_OF_X509_free.
  X509_STORE_CTX_get1_chain: { return: "handle", arguments: ["handle"] },
  X509_chain_up_ref: { return: "handle", arguments: ["handle"] },
  OSSL_STACK_OF_X509_free: { return: "void", arguments: ["handle"] },
  OPENSSL_sk_num: { return: "int32", arguments: ["handle"], nullable: [0] },
  // The stack's.
  OPENSSL_sk_value: { return: "handle", arguments: ["handle", "int32"] },
  // The connection's, or null.
  SSL_get0_verified_chain: { return: "handle", arguments: ["handle"] },
  SSL_get_peer_cert_chain: { return: "handle", arguments: ["handle"] },
  // The library's.
  EVP_sha1: { return: "handle", arguments: [] },
  EVP_sha256: { return: "handle", arguments: [] },
  // Write a digest's bytes; how many they are is not asked for.
  X509_digest: { return: "int32", arguments: ["handle", "handle", "pointer", "pointer"], nullable: [3] },
  X509_NAME_digest: { return: "int32", arguments: ["handle", "handle", "pointer", "pointer"], nullable: [3] },
  X509_pubkey_digest: { return: "int32", arguments: ["handle", "handle", "pointer", "pointer"], nullable: [3] },
  // The certificate's.
  X509_get_subject_name: { return: "handle", arguments: ["handle"] },
  X509_get0_serialNumber: { return: "handle", arguments: ["handle"] },
  // Writes the number where the cell points to.
  i2d_ASN1_INTEGER: { return: "int32", arguments: ["handle", "pointer"], nullable: [1] },
});

/** <openssl/ssl.h> */
const SSL_CTRL_GET_EXTRA_CHAIN_CERTS = 82;
const SSL_CTRL_SET_CURRENT_CERT = 117;
const SSL_CERT_SET_FIRST = 1n;
const SSL_CERT_SET_NEXT = 2n;
const X509_V_OK = 0n;

const cells = mapped(256);
const view = new DataView(cells.buffer);

/** A certificate of a context with the chain that is sent along: pointers to what is the context's. */
export interface ContextCertificate {
  readonly certificate: bigint;
  /** A stack; 0n where there is none. */
  readonly chain: bigint;
}

/** The certificates of a context, one of each type of key. */
export function contextCertificates({ pointer }: SslContext): ContextCertificate[] {
  const found: ContextCertificate[] = [];
  let more = c.SSL_CTX_ctrl(pointer, SSL_CTRL_SET_CURRENT_CERT, SSL_CERT_SET_FIRST, 0n) === 1n;
  while (more) {
    view.setBigUint64(0, 0n, true);
    c.SSL_CTX_ctrl(pointer, SSL_CTRL_GET_EXTRA_CHAIN_CERTS, 0n, cells.address);
    found.push({ certificate: c.SSL_CTX_get0_certificate(pointer), chain: view.getBigUint64(0, true) });
    more = c.SSL_CTX_ctrl(pointer, SSL_CTRL_SET_CURRENT_CERT, SSL_CERT_SET_NEXT, 0n) === 1n;
  }
  return found;
}

/**
 * Who has issued a context's certificate: one of its chain, or of those that the context trusts. Undefined where none has.
 * Throws SslError.
 */
export function findIssuer(context: SslContext, { certificate, chain }: ContextCertificate): Owned<"X509"> | undefined {
  const length = chain === 0n ? 0 : c.OPENSSL_sk_num(chain);
  for (let i = 0; i < length; i++) {
    const issuer = c.OPENSSL_sk_value(chain, i);
    if (c.X509_check_issued(issuer, certificate) !== Number(X509_V_OK)) continue;
    c.X509_up_ref(issuer);
    return new Owned("X509", [issuer]);
  }
  return withStore(context, 0n, 0n, (store) => {
    const found = c.X509_STORE_CTX_get1_issuer(cells.address, store, certificate);
    if (found < 0) throw new SslError("X509_STORE_CTX_get1_issuer() failed");
    return found === 0 ? undefined : new Owned("X509", [view.getBigUint64(0, true)]);
  });
}

/** Calls with an X509_STORE_CTX over what the context trusts. */
function withStore<T>({ pointer }: SslContext, certificate: bigint, untrusted: bigint, run: (store: bigint) => T): T {
  clearErrors();
  const store = c.X509_STORE_CTX_new();
  if (store === 0n) throw new SslError("X509_STORE_CTX_new() failed");
  try {
    if (c.X509_STORE_CTX_init(store, c.SSL_CTX_get_cert_store(pointer), certificate, untrusted) === 0) {
      throw new SslError("X509_STORE_CTX_init() failed");
    }
    return run(store);
  } finally {
    c.X509_STORE_CTX_free(store);
  }
}

/** The certificates of a peer, from its own to one that is trusted. After `free` nothing may be called. */
export class VerifiedChain {
  /** A stack. */
  readonly pointer: bigint;
  readonly length: number;

  /** Takes over the stack and what is in it. */
  constructor(pointer: bigint) {
    this.pointer = pointer;
    this.length = c.OPENSSL_sk_num(pointer);
    living++;
  }

  /** The n-th certificate, the chain's. */
  at(n: number): bigint {
    return c.OPENSSL_sk_value(this.pointer, n);
  }

  free(): void {
    living--;
    c.OSSL_STACK_OF_X509_free(this.pointer);
  }
}

let living = 0;

/** How many chains have not been freed. @internal For tests. */
export function livingChains(): number {
  return living;
}

/**
 * The chain by which a peer's certificate was verified; of a resumed session, by which it is now. Undefined where the peer has
 * shown none, or it was not verified. Throws SslError.
 */
export function verifiedChain(ssl: SslConnection, context: SslContext): VerifiedChain | undefined {
  const { pointer } = ssl;
  const certificate = peerCertificate(ssl);
  if (certificate === 0n || verifyResult(ssl) !== X509_V_OK) return undefined;
  const known = c.SSL_get0_verified_chain(pointer);
  if (known !== 0n) {
    const own = c.X509_chain_up_ref(known);
    if (own === 0n) throw new SslError("X509_chain_up_ref() failed");
    return new VerifiedChain(own);
  }
  return withStore(context, certificate, c.SSL_get_peer_cert_chain(pointer), (store) => {
    if (c.X509_verify_cert(store) <= 0) throw new SslError("X509_verify_cert() failed");
    const chain = c.X509_STORE_CTX_get1_chain(store);
    if (chain === 0n) throw new SslError("X509_STORE_CTX_get1_chain() failed");
    return new VerifiedChain(chain);
  });
}

const SHA1_BYTES = 20;
const SHA256_BYTES = 32;
/** What else would be a serial number of more than 20 bytes (RFC 5280, section 4.1.2.2). */
const MOST_SERIAL = 64;

/** A byte string that is another for every certificate: SHA-256. */
export function certificateDigest(certificate: bigint): string {
  clearErrors();
  if (c.X509_digest(certificate, c.EVP_sha256(), cells.address, 0n) === 0) throw new SslError("X509_digest() failed");
  return text(SHA256_BYTES);
}

/**
 * By which an authority knows a certificate of its own, a byte string: digests of its name and its key, and the serial number
 * (ngx_ssl_ocsp_create_key). Undefined where that is too long.
 */
export function certificateKey(certificate: bigint, issuer: bigint): string | undefined {
  const serial = c.X509_get0_serialNumber(certificate);
  const length = c.i2d_ASN1_INTEGER(serial, 0n);
  if (length <= 0 || length > MOST_SERIAL) return undefined;
  const sha1 = c.EVP_sha1();
  if (c.X509_NAME_digest(c.X509_get_subject_name(issuer), sha1, cells.address, 0n) === 0) return undefined;
  const name = text(SHA1_BYTES);
  if (c.X509_pubkey_digest(issuer, sha1, cells.address, 0n) === 0) return undefined;
  const key = text(SHA1_BYTES);
  view.setBigUint64(0, cells.address + 8n, true);
  c.i2d_ASN1_INTEGER(serial, cells.address);
  return name + key + text(length, 8);
}

function text(length: number, from = 0): string {
  return Buffer.from(cells.buffer, from, length).latin1Slice();
}
