import { bindWhenUsed } from "../ffi.ts";
import { mapped } from "./memory.ts";

/** The keys by which the sides of a connection have agreed on a secret: their own for it, not those of certificates. */
const c = bindWhenUsed(null, {
  // Gives one reference to a key, which is the caller's.
  SSL_ctrl: { return: "int64", arguments: ["handle", "int32", "int64", "pointer"] },
  // Frees what the key consists of.
  EVP_PKEY_set_type: { return: "int32", arguments: ["handle", "int32"] },
  EVP_PKEY_free: { return: "void", arguments: ["handle"] },
});

/** <openssl/ssl.h>: SSL_get_peer_tmp_key and SSL_get_tmp_key. */
const SSL_CTRL_GET_PEER_TMP_KEY = 109;
const SSL_CTRL_GET_TMP_KEY = 133;

/** <openssl/evp.h>: a type that is known without a look at any provider. */
const EVP_PKEY_X25519 = 1034;

const out = mapped(8);
const pointers = new BigUint64Array(out.buffer);

/**
 * Once a handshake is complete OpenSSL has no use for them, but keeps them until SSL_free, so that they can be asked for:
 * 6 KiB where the peer has shown one of ML-KEM, as browsers do. Empties them: there is no call to have them dropped.
 */
export function forgetExchangedKeys(ssl: bigint): void {
  empty(ssl, SSL_CTRL_GET_PEER_TMP_KEY);
  empty(ssl, SSL_CTRL_GET_TMP_KEY);
}

function empty(ssl: bigint, command: number): void {
  if (c.SSL_ctrl(ssl, command, 0n, out.address) !== 1n) return;
  const key = pointers[0];
  c.EVP_PKEY_set_type(key, EVP_PKEY_X25519);
  c.EVP_PKEY_free(key);
}
