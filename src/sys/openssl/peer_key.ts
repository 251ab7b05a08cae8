import { bindWhenUsed } from "../ffi.ts";
import { mapped } from "./memory.ts";

/** The key of the peer's by which a secret was agreed on: made for that, not the one of its certificate. */
const c = bindWhenUsed(null, {
  // Gives one reference to the key, which is the caller's.
  SSL_ctrl: { return: "int64", arguments: ["handle", "int32", "int64", "pointer"] },
  // Frees what the key consists of.
  EVP_PKEY_set_type: { return: "int32", arguments: ["handle", "int32"] },
  EVP_PKEY_free: { return: "void", arguments: ["handle"] },
});

/** <openssl/ssl.h>: SSL_get_peer_tmp_key. */
const SSL_CTRL_GET_PEER_TMP_KEY = 109;

/** <openssl/evp.h>: a type that is known without a look at any provider. */
const EVP_PKEY_X25519 = 1034;

const out = mapped(8);
const pointers = new BigUint64Array(out.buffer);

/**
 * Once the handshake is complete OpenSSL has no use for that key, but keeps it until SSL_free, so that it can be asked for. This
 * empties it: there is no call to have it dropped.
 */
export function emptyPeerKey(ssl: bigint): void {
  if (c.SSL_ctrl(ssl, SSL_CTRL_GET_PEER_TMP_KEY, 0n, out.address) !== 1n) return;
  const key = pointers[0];
  c.EVP_PKEY_set_type(key, EVP_PKEY_X25519);
  c.EVP_PKEY_free(key);
}
