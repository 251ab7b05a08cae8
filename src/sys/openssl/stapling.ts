import { bindWhenUsed } from "../ffi.ts";
import { makeCallback, running } from "./callbacks.ts";
import type { SslContext } from "./context.ts";

/** OCSP stapling (RFC 6066, section 8): what is sent along with a certificate to clients that ask for its status. */
const c = bindWhenUsed(null, {
  SSL_CTX_callback_ctrl: { return: "int64", arguments: ["handle", "int32", "handle"] },
  SSL_ctrl: { return: "int64", arguments: ["handle", "int32", "int64", "handle"] },
  // The connection's.
  SSL_get_certificate: { return: "handle", arguments: ["handle"] },
  // A copy of the bytes, the caller's until CRYPTO_free. The file's name may be null.
  CRYPTO_memdup: {
    return: "handle",
    arguments: ["buffer", "uint64", "handle", "int32"],
    nullable: [2],
    sizes: { 0: 1 },
  },
});

/** <openssl/tls1.h>, <openssl/ssl.h> */
const SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB = 63;
const SSL_CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP = 71;
const SSL_TLSEXT_ERR_OK = 0;
const SSL_TLSEXT_ERR_NOACK = 3;

let callback = 0n;

/** Has the connections of a context ask their HelloHandler where a client asks for the certificate's status. */
export function askOnStatusRequest({ pointer }: SslContext): void {
  if (callback === 0n) {
    callback = makeCallback({ return: "int32", arguments: ["handle", "handle"] }, SSL_TLSEXT_ERR_NOACK, statusRequest);
  }
  c.SSL_CTX_callback_ctrl(pointer, SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB, callback);
}

/** ngx_ssl_certificate_status_callback */
function statusRequest(ssl: bigint): number {
  const certificate = c.SSL_get_certificate(ssl);
  const response = certificate === 0n ? undefined : running.connection?.helloHandler?.onStatusRequest(certificate);
  if (response === undefined) return SSL_TLSEXT_ERR_NOACK;
  const copy = c.CRYPTO_memdup(response, BigInt(response.length), 0n, 0);
  if (copy === 0n) return SSL_TLSEXT_ERR_NOACK;
  // The connection frees it.
  c.SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP, BigInt(response.length), copy);
  return SSL_TLSEXT_ERR_OK;
}
