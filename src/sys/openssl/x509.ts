import { bindWhenUsed } from "../ffi.ts";
import { clearErrors, lastErrorIs, takeErrors } from "./errors.ts";
import { mapped } from "./memory.ts";
import { withBytes } from "./memory_bio.ts";
import { Owned } from "./owned.ts";

const READER = {
  return: "handle",
  arguments: ["handle", "handle", "handle", "handle"],
  nullable: [1, 2],
} as const;

/** Certificates and revocation lists in PEM. */
const c = bindWhenUsed(null, {
  // The caller's, until X509_free and X509_CRL_free. Without a callback the last argument is the password, lent.
  PEM_read_bio_X509: READER,
  PEM_read_bio_X509_AUX: READER,
  PEM_read_bio_X509_CRL: READER,
});

/** A certificate and the rest of its chain, or certificates that are trusted. At least one. */
export type Certificates = Owned<"X509">;
export type RevocationLists = Owned<"X509_CRL">;

/** Else OpenSSL would ask for the password of a certificate that is encrypted, at the terminal. */
const NO_PASSWORD = mapped(1).address;
/** <openssl/err.h> and <openssl/pemerr.h>: no more blocks in the file. */
const ERR_LIB_PEM = 9;
const PEM_R_NO_START_LINE = 108;

/**
 * ssl_certificate: a certificate, maybe with its trust settings, then its chain. As with all readers here, a string is what
 * failed, in nginx's words.
 */
export function readCertificateChain(pem: Uint8Array): Certificates | string {
  return readAll("X509", pem, "PEM_read_bio_X509_AUX", "PEM_read_bio_X509");
}

/** ssl_client_certificate, ssl_trusted_certificate: certificates, maybe with trust settings. */
export function readTrustedCertificates(pem: Uint8Array): Certificates | string {
  return readAll("X509", pem, "PEM_read_bio_X509_AUX", "PEM_read_bio_X509_AUX");
}

/** ssl_crl. */
export function readRevocationLists(pem: Uint8Array): RevocationLists | string {
  return readAll("X509_CRL", pem, "PEM_read_bio_X509_CRL", "PEM_read_bio_X509_CRL");
}

type Reader = "PEM_read_bio_X509" | "PEM_read_bio_X509_AUX" | "PEM_read_bio_X509_CRL";

/** Reads blocks until there are no more. `first` and `next` name the functions for the first one and for those behind it. */
function readAll<Kind extends "X509" | "X509_CRL">(
  kind: Kind,
  pem: Uint8Array,
  first: Reader,
  next: Reader,
): Owned<Kind> | string {
  const pointers: bigint[] = [];
  clearErrors();
  const failed = withBytes(pem, (bio) => {
    for (;;) {
      const reader = pointers.length === 0 ? first : next;
      const pointer = c[reader](bio, 0n, 0n, NO_PASSWORD);
      if (pointer !== 0n) {
        pointers.push(pointer);
        continue;
      }
      if (pointers.length > 0 && lastErrorIs(ERR_LIB_PEM, PEM_R_NO_START_LINE)) return undefined;
      return `${reader}() failed${takeErrors()}`;
    }
  });
  clearErrors();
  const read = new Owned(kind, pointers);
  if (failed === undefined) return read;
  read.free();
  return failed;
}
