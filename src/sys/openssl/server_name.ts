import { bindWhenUsed, memoryAt } from "../ffi.ts";
import { makeCallback } from "./callbacks.ts";
import type { SslContext } from "./context.ts";
import { mapped } from "./memory.ts";

/** The name that a client asks for (SNI: RFC 6066, section 3), on the side of the server. */
const c = bindWhenUsed(null, {
  // The second pointer is set to memory of the SSL's, valid within the callback.
  SSL_client_hello_get0_ext: { return: "int32", arguments: ["handle", "uint32", "pointer", "pointer"] },
  SSL_CTX_callback_ctrl: { return: "int64", arguments: ["handle", "int32", "handle"] },
});

/** <openssl/tls1.h> */
const SSL_CTRL_SET_TLSEXT_SERVERNAME_CB = 53;
const SSL_TLSEXT_ERR_OK = 0;
const TLSEXT_TYPE_server_name = 0;
const TLSEXT_MAXLEN_HOST_NAME = 255;

const SSL_AD_DECODE_ERROR = 50;
export const SSL_AD_UNRECOGNIZED_NAME = 112;

const extension = mapped(16);
const extensions = new DataView(extension.buffer);

/** The name in the ClientHello that is processed, as strictly as OpenSSL reads it; else an alert. */
export function helloName(ssl: bigint): string | undefined | number {
  if (c.SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, extension.address, extension.address + 8n) !== 1) {
    return undefined;
  }
  const length = Number(extensions.getBigUint64(8, true));
  if (length < 5) return SSL_AD_DECODE_ERROR;
  const bytes = Buffer.from(memoryAt(extensions.getBigUint64(0, true), length));
  if (bytes.readUInt16BE(0) + 2 !== length || bytes[2] !== 0 || bytes.readUInt16BE(3) + 5 !== length) {
    return SSL_AD_DECODE_ERROR;
  }
  const name = bytes.toString("latin1", 5);
  return name.length > TLSEXT_MAXLEN_HOST_NAME || name.includes("\0") ? SSL_AD_UNRECOGNIZED_NAME : name;
}

let acknowledgement = 0n;

/**
 * Has the connections of a context tell the client that its name was used. Only then has OpenSSL the name in a session of
 * TLS 1.2, where it looks for it after a resumption.
 */
export function acknowledgeServerName({ pointer }: SslContext): void {
  if (acknowledgement === 0n) {
    acknowledgement = makeCallback(
      { return: "int32", arguments: ["handle", "handle", "handle"] },
      SSL_TLSEXT_ERR_OK,
      () => SSL_TLSEXT_ERR_OK,
    );
  }
  c.SSL_CTX_callback_ctrl(pointer, SSL_CTRL_SET_TLSEXT_SERVERNAME_CB, acknowledgement);
}
