import { bindWhenUsed, cString } from "../ffi.ts";
import { type SslContext, SslError } from "./context.ts";
import { clearErrors } from "./errors.ts";
import { withBytes } from "./memory_bio.ts";

/** What a context agrees on with its peers: versions, ciphers, groups. All throw SslError, in nginx's words. */
const c = bindWhenUsed(null, {
  // A copy is made of what the buffer has, text with a NUL.
  SSL_CTX_set_cipher_list: { return: "int32", arguments: ["handle", "buffer"] },
  SSL_CTX_ctrl: { return: "int64", arguments: ["handle", "int32", "int64", "buffer"] },
  // The caller's, until EVP_PKEY_free or until a context has taken it.
  PEM_read_bio_Parameters: { return: "handle", arguments: ["handle", "handle"], nullable: [1] },
  SSL_CTX_set0_tmp_dh_pkey: { return: "int32", arguments: ["handle", "handle"] },
  EVP_PKEY_free: { return: "void", arguments: ["handle"] },
});

/** <openssl/ssl.h> */
const SSL_CTRL = { SET_GROUPS_LIST: 92, SET_MIN_PROTO_VERSION: 123, SET_MAX_PROTO_VERSION: 124 } as const;
const SSL_OP_CIPHER_SERVER_PREFERENCE = 1n << 22n;
const TLS1_3_VERSION = 0x304n;

/** As `ssl_protocols` has them. OpenSSL knows nothing of SSLv2 any more. */
export type TlsProtocol = "SSLv2" | "SSLv3" | "TLSv1" | "TLSv1.1" | "TLSv1.2" | "TLSv1.3";

/** SSL_OP_NO_… */
const WITHOUT: readonly (readonly [TlsProtocol, bigint])[] = [
  ["SSLv3", 1n << 25n],
  ["TLSv1", 1n << 26n],
  ["TLSv1.2", 1n << 27n],
  ["TLSv1.1", 1n << 28n],
  ["TLSv1.3", 1n << 29n],
];

export function setProtocols(context: SslContext, protocols: ReadonlySet<TlsProtocol>): void {
  for (const [protocol, option] of WITHOUT) {
    if (protocols.has(protocol)) context.clearOptions(option);
    else context.setOptions(option);
  }
  context.control(SSL_CTRL.SET_MIN_PROTO_VERSION, 0n);
  context.control(SSL_CTRL.SET_MAX_PROTO_VERSION, TLS1_3_VERSION);
}

/** ngx_ssl_ciphers: up to TLS 1.2. */
export function setCiphers(context: SslContext, ciphers: string): void {
  clearErrors();
  if (c.SSL_CTX_set_cipher_list(context.pointer, cString(ciphers)) === 1) return;
  throw new SslError(`SSL_CTX_set_cipher_list("${ciphers}") failed`);
}

/** The server's order of ciphers counts, not the client's. */
export function preferServerCiphers(context: SslContext): void {
  context.setOptions(SSL_OP_CIPHER_SERVER_PREFERENCE);
}

/** ngx_ssl_dhparam: parameters in PEM for ciphers with DHE, from the file of that name. */
export function setDhParameters(context: SslContext, pem: Uint8Array, name: string): void {
  clearErrors();
  const parameters = withBytes(pem, (bio) => c.PEM_read_bio_Parameters(bio, 0n));
  if (parameters === 0n) throw new SslError(`PEM_read_bio_Parameters("${name}") failed`);
  if (c.SSL_CTX_set0_tmp_dh_pkey(context.pointer, parameters) === 1) return;
  const error = new SslError(`SSL_CTX_set0_tmp_dh_pkey("${name}") failed`);
  c.EVP_PKEY_free(parameters);
  throw error;
}

/** ngx_ssl_ecdh_curve */
export function setCurves(context: SslContext, curves: string): void {
  if (curves === "auto") return;
  clearErrors();
  if (c.SSL_CTX_ctrl(context.pointer, SSL_CTRL.SET_GROUPS_LIST, 0n, cString(curves)) === 1n) return;
  throw new SslError(`SSL_CTX_set1_curves_list("${curves}") failed`);
}
