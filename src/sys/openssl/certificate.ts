import { bind } from "../ffi.ts";
import { type SslContext, SslError } from "./context.ts";
import { clearErrors } from "./errors.ts";

/** Certificates and keys of a context, from PEM text. */
const c = bind(null, {
  // Copies nothing: the bytes are used until BIO_free.
  BIO_new_mem_buf: { return: "handle", arguments: ["buffer", "int32"], sizes: { 0: 1 } },
  BIO_free: { return: "int32", arguments: ["handle"] },
  // The caller's, until X509_free and EVP_PKEY_free. The text of a password, or null, is lent.
  PEM_read_bio_X509: { return: "handle", arguments: ["handle", "handle", "handle", "handle"], nullable: [1, 2, 3] },
  PEM_read_bio_PrivateKey: {
    return: "handle",
    arguments: ["handle", "handle", "handle", "handle"],
    nullable: [1, 2, 3],
  },
  X509_free: { return: "void", arguments: ["handle"] },
  EVP_PKEY_free: { return: "void", arguments: ["handle"] },
  // The context takes references of its own.
  SSL_CTX_use_certificate: { return: "int32", arguments: ["handle", "handle"] },
  SSL_CTX_use_PrivateKey: { return: "int32", arguments: ["handle", "handle"] },
});

const SSL_CTRL_CHAIN_CERT = 89;

export interface CertificateBytes {
  /** What nginx's sentences call them: a file, or `data:…`. */
  readonly name: string;
  readonly keyName: string;
  readonly certificate: Uint8Array;
  readonly key: Uint8Array;
}

/** Adds a certificate with its chain and key. Throws SslError. */
export function useCertificate(context: SslContext, { name, keyName, certificate, key }: CertificateBytes): void {
  clearErrors();
  const ctx = context.pointer;
  const certificates = c.BIO_new_mem_buf(certificate, certificate.length);
  const leaf = c.PEM_read_bio_X509(certificates, 0n, 0n, 0n);
  if (leaf === 0n) {
    c.BIO_free(certificates);
    throw new SslError(`cannot load certificate "${name}": PEM_read_bio_X509_AUX() failed`);
  }
  const used = c.SSL_CTX_use_certificate(ctx, leaf);
  c.X509_free(leaf);
  for (;;) {
    const next = c.PEM_read_bio_X509(certificates, 0n, 0n, 0n);
    if (next === 0n) break;
    // With 1 the context takes a reference of its own.
    context.control(SSL_CTRL_CHAIN_CERT, 1n, next);
    c.X509_free(next);
  }
  c.BIO_free(certificates);
  if (used !== 1) throw new SslError(`SSL_CTX_use_certificate("${name}") failed`);
  clearErrors();
  const keys = c.BIO_new_mem_buf(key, key.length);
  const pkey = c.PEM_read_bio_PrivateKey(keys, 0n, 0n, 0n);
  c.BIO_free(keys);
  if (pkey === 0n) throw new SslError(`cannot load certificate key "${keyName}": PEM_read_bio_PrivateKey() failed`);
  const usedKey = c.SSL_CTX_use_PrivateKey(ctx, pkey);
  c.EVP_PKEY_free(pkey);
  if (usedKey !== 1) throw new SslError(`SSL_CTX_use_PrivateKey("${keyName}") failed`);
}
