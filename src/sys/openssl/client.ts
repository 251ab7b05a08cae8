import { bindWhenUsed, cString } from "../ffi.ts";
import { clearErrors } from "./errors.ts";
import type { SslConnection } from "./ssl.ts";

/** What only the client's side of a connection does. */
const c = bindWhenUsed(null, {
  // The name is copied.
  SSL_ctrl: { return: "int64", arguments: ["handle", "int32", "int64", "buffer"] },
});

/** <openssl/tls1.h> */
const SSL_CTRL_SET_TLSEXT_HOSTNAME = 55;
const TLSEXT_NAMETYPE_HOST_NAME = 0n;

/** SNI, a byte string. False where it cannot be sent, with errors in the queue. */
export function setServerName({ pointer }: SslConnection, name: string): boolean {
  clearErrors();
  return c.SSL_ctrl(pointer, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_HOST_NAME, cString(name)) === 1n;
}
