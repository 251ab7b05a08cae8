import { bindWhenUsed } from "../ffi.ts";
import { makeCallback } from "./callbacks.ts";
import { type SslContext, SslError } from "./context.ts";
import { clearErrors } from "./errors.ts";
import type { Certificates, RevocationLists } from "./x509.ts";

/** How a context verifies its peers' certificates. Nobody is refused during the handshake: its result is judged later. */
const c = bindWhenUsed(null, {
  SSL_CTX_get_verify_mode: { return: "int32", arguments: ["handle"] },
  SSL_CTX_set_verify: { return: "void", arguments: ["handle", "int32", "handle"] },
  SSL_CTX_set_verify_depth: { return: "void", arguments: ["handle", "int32"] },
  // The context's.
  SSL_CTX_get_cert_store: { return: "handle", arguments: ["handle"] },
  // The store takes references of its own.
  X509_STORE_add_cert: { return: "int32", arguments: ["handle", "handle"] },
  X509_STORE_add_crl: { return: "int32", arguments: ["handle", "handle"] },
  X509_STORE_set_flags: { return: "int32", arguments: ["handle", "uint64"] },
  // The certificate's.
  X509_get_subject_name: { return: "handle", arguments: ["handle"] },
  X509_NAME_cmp: { return: "int32", arguments: ["handle", "handle"] },
  // The caller's; then the list's.
  X509_NAME_dup: { return: "handle", arguments: ["handle"] },
  OPENSSL_sk_new_null: { return: "handle", arguments: [] },
  OPENSSL_sk_push: { return: "int32", arguments: ["handle", "handle"] },
  // The list and its names are the context's from then on.
  SSL_CTX_set_client_CA_list: { return: "void", arguments: ["handle", "handle"] },
});

/** <openssl/ssl.h>, <openssl/x509_vfy.h> */
const SSL_VERIFY_PEER = 1;
const X509_V_FLAG_CRL_CHECK = 0x4n;
const X509_V_FLAG_CRL_CHECK_ALL = 0x8n;

let goOn = 0n;

/** ngx_ssl_verify_callback */
function verifyCallback(): bigint {
  if (goOn === 0n) goOn = makeCallback({ return: "int32", arguments: ["int32", "handle"] }, 0, () => 1);
  return goOn;
}

/** A server asks its clients for a certificate (CertificateRequest). */
export function requestCertificate({ pointer }: SslContext): void {
  c.SSL_CTX_set_verify(pointer, SSL_VERIFY_PEER, verifyCallback());
}

/** How many certificates there may be between a peer's and one that is trusted. */
export function setVerifyDepth({ pointer }: SslContext, depth: number): void {
  c.SSL_CTX_set_verify(pointer, c.SSL_CTX_get_verify_mode(pointer), verifyCallback());
  c.SSL_CTX_set_verify_depth(pointer, depth);
}

/** `name`: what errors call the certificates. Throws SslError. */
export function trust(context: SslContext, { pointers }: Certificates, name: string): void {
  const store = c.SSL_CTX_get_cert_store(context.pointer);
  for (const certificate of pointers) {
    clearErrors();
    if (c.X509_STORE_add_cert(store, certificate) !== 1) throw new SslError(`X509_STORE_add_cert("${name}") failed`);
  }
}

/** Tells clients by whom their certificates are to be issued. */
export function nameAuthorities({ pointer }: SslContext, { pointers }: Certificates): void {
  const names: bigint[] = [];
  const list = c.OPENSSL_sk_new_null();
  for (const certificate of pointers) {
    const name = c.X509_get_subject_name(certificate);
    if (names.some((known) => c.X509_NAME_cmp(known, name) === 0)) continue;
    names.push(name);
    c.OPENSSL_sk_push(list, c.X509_NAME_dup(name));
  }
  c.SSL_CTX_set_client_CA_list(pointer, list);
}

/** From now on each certificate needs a list of its issuer's that does not have it. Throws SslError. */
export function refuseRevoked(context: SslContext, { pointers }: RevocationLists, name: string): void {
  const store = c.SSL_CTX_get_cert_store(context.pointer);
  for (const list of pointers) {
    clearErrors();
    if (c.X509_STORE_add_crl(store, list) !== 1) throw new SslError(`X509_STORE_add_crl("${name}") failed`);
  }
  c.X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
}
