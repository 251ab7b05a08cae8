import { bindWhenUsed } from "../ffi.ts";
import { clearErrors, lastErrorIs, takeErrors } from "./errors.ts";
import type { PrivateKey } from "./keys.ts";
import type { Certificates } from "./x509.ts";

const CTRL = { return: "int64", arguments: ["handle", "int32", "int64", "handle"], nullable: [3] } as const;

/** The certificate and key that a context (SSL_CTX) or a connection (SSL) shows to its peers: one pair for each kind of key. */
const c = bindWhenUsed(null, {
  // What is given is borrowed: the context or connection takes references of its own.
  SSL_CTX_use_certificate: { return: "int32", arguments: ["handle", "handle"] },
  SSL_CTX_use_PrivateKey: { return: "int32", arguments: ["handle", "handle"] },
  SSL_CTX_ctrl: CTRL,
  SSL_use_certificate: { return: "int32", arguments: ["handle", "handle"] },
  SSL_use_PrivateKey: { return: "int32", arguments: ["handle", "handle"] },
  SSL_ctrl: CTRL,
});

/** <openssl/ssl.h> */
const SSL_CTRL_CHAIN = 88;
const SSL_CTRL_CHAIN_CERT = 89;
/** <openssl/err.h>, <openssl/x509err.h> */
const ERR_LIB_X509 = 11;
const X509_R_KEY_VALUES_MISMATCH = 116;

/** Who shows the certificate. */
export interface Holder {
  readonly kind: "SSL_CTX" | "SSL";
  readonly pointer: bigint;
}

/** Sets the certificate and its chain. What failed, as nginx says it of the certificate of that name, or undefined. */
export function useCertificate(
  { kind, pointer }: Holder,
  { pointers }: Certificates,
  name: string,
): string | undefined {
  const ctrl = kind === "SSL" ? c.SSL_ctrl : c.SSL_CTX_ctrl;
  const [certificate, ...chain] = pointers;
  clearErrors();
  const used =
    kind === "SSL" ? c.SSL_use_certificate(pointer, certificate) : c.SSL_CTX_use_certificate(pointer, certificate);
  if (used === 0) return `${kind}_use_certificate("${name}") failed${takeErrors()}`;
  // SSL_CTX_set0_chain(NULL), then SSL_CTX_add1_chain_cert().
  ctrl(pointer, SSL_CTRL_CHAIN, 0n, 0n);
  for (const link of chain) {
    if (ctrl(pointer, SSL_CTRL_CHAIN_CERT, 1n, link) === 0n)
      return `${kind}_set0_chain("${name}") failed${takeErrors()}`;
  }
  return undefined;
}

/** Sets the key of the certificate that was set before. `mismatch`: it is another certificate's. */
export function usePrivateKey(
  { kind, pointer }: Holder,
  key: PrivateKey,
  name: string,
): { readonly failed: string; readonly mismatch: boolean } | undefined {
  clearErrors();
  const used =
    kind === "SSL" ? c.SSL_use_PrivateKey(pointer, key.pointer) : c.SSL_CTX_use_PrivateKey(pointer, key.pointer);
  if (used !== 0) return undefined;
  const mismatch = lastErrorIs(ERR_LIB_X509, X509_R_KEY_VALUES_MISMATCH);
  return { failed: `${kind}_use_PrivateKey("${name}") failed${takeErrors()}`, mismatch };
}
