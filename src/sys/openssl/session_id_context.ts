import { bindWhenUsed } from "../ffi.ts";
import { type SslContext, SslError } from "./context.ts";
import { clearErrors } from "./errors.ts";

/** What servers must have in common for one to resume a session of the other (ngx_ssl_session_id_context). */
const c = bindWhenUsed(null, {
  // The library's.
  EVP_sha1: { return: "handle", arguments: [] },
  // The caller's, until EVP_MD_CTX_free.
  EVP_MD_CTX_new: { return: "handle", arguments: [] },
  EVP_MD_CTX_free: { return: "void", arguments: ["handle"] },
  EVP_DigestInit_ex: { return: "int32", arguments: ["handle", "handle", "handle"], nullable: [2] },
  EVP_DigestUpdate: { return: "int32", arguments: ["handle", "buffer", "uint64"], sizes: { 1: 2 } },
  EVP_DigestFinal_ex: { return: "int32", arguments: ["handle", "buffer", "handle"], nullable: [2] },
  // The context's, or null.
  SSL_CTX_get0_certificate: { return: "handle", arguments: ["handle"] },
  X509_digest: { return: "int32", arguments: ["handle", "handle", "buffer", "handle"], nullable: [3] },
  // The context's, or null; so are its names.
  SSL_CTX_get_client_CA_list: { return: "handle", arguments: ["handle"] },
  OPENSSL_sk_num: { return: "int32", arguments: ["handle"] },
  OPENSSL_sk_value: { return: "handle", arguments: ["handle", "int32"] },
  X509_NAME_digest: { return: "int32", arguments: ["handle", "handle", "buffer", "handle"], nullable: [3] },
  SSL_CTX_set_session_id_context: { return: "int32", arguments: ["handle", "buffer", "uint32"], sizes: { 1: 2 } },
});

const SHA1_BYTES = 20;
const SSL_CTRL_SET_CURRENT_CERT = 117;
const SSL_CERT_SET_FIRST = 1n;
const SSL_CERT_SET_NEXT = 2n;

/** Made of these texts, byte strings, of the context's certificates, and of the names of the CAs that it tells clients. */
export function setSessionIdContext(context: SslContext, texts: readonly string[]): void {
  clearErrors();
  const digest = c.EVP_MD_CTX_new();
  const bytes = Buffer.alloc(SHA1_BYTES);
  try {
    if (c.EVP_DigestInit_ex(digest, c.EVP_sha1(), 0n) !== 1) throw new SslError("EVP_DigestInit_ex() failed");
    for (const text of texts) update(digest, Buffer.from(text, "latin1"));
    addCertificates(context, digest, bytes);
    addAuthorities(context, digest, bytes);
    if (c.EVP_DigestFinal_ex(digest, bytes, 0n) !== 1) throw new SslError("EVP_DigestFinal_ex() failed");
  } finally {
    c.EVP_MD_CTX_free(digest);
  }
  if (c.SSL_CTX_set_session_id_context(context.pointer, bytes, SHA1_BYTES) !== 1) {
    throw new SslError("SSL_CTX_set_session_id_context() failed");
  }
}

/** Those that were added, in OpenSSL's order: one of each kind of key. The last one is the current one afterwards. */
function addCertificates(context: SslContext, digest: bigint, bytes: Buffer): void {
  let found = context.control(SSL_CTRL_SET_CURRENT_CERT, SSL_CERT_SET_FIRST);
  while (found === 1n) {
    const certificate = c.SSL_CTX_get0_certificate(context.pointer);
    if (c.X509_digest(certificate, c.EVP_sha1(), bytes, 0n) !== 1) throw new SslError("X509_digest() failed");
    update(digest, bytes);
    found = context.control(SSL_CTRL_SET_CURRENT_CERT, SSL_CERT_SET_NEXT);
  }
  clearErrors();
}

function addAuthorities({ pointer }: SslContext, digest: bigint, bytes: Buffer): void {
  const names = c.SSL_CTX_get_client_CA_list(pointer);
  const count = names === 0n ? 0 : c.OPENSSL_sk_num(names);
  for (let i = 0; i < count; i++) {
    if (c.X509_NAME_digest(c.OPENSSL_sk_value(names, i), c.EVP_sha1(), bytes, 0n) !== 1) {
      throw new SslError("X509_NAME_digest() failed");
    }
    update(digest, bytes);
  }
}

function update(digest: bigint, bytes: Buffer): void {
  if (c.EVP_DigestUpdate(digest, bytes, BigInt(bytes.length)) !== 1) throw new SslError("EVP_DigestUpdate() failed");
}
