import { type SslContext, SslError } from "../../sys/openssl/context.ts";
import { nameAuthorities, refuseRevoked, trust } from "../../sys/openssl/verification.ts";
import type { Certificates, RevocationLists } from "../../sys/openssl/x509.ts";

/** Loads what peers are verified with, by path. A string is what failed. */
export interface TrustSource {
  trustedCertificates(path: string): Certificates | string;
  revocationLists(path: string): RevocationLists | string;
}

export interface TrustFile {
  readonly path: string;
  readonly source: TrustSource;
}

/** ssl_client_certificate. Throws SslError. */
export function trustAuthorities(context: SslContext, file: TrustFile): void {
  const certificates = loadTrusted(context, file);
  nameAuthorities(context, certificates);
  certificates.free();
}

/** ssl_trusted_certificate, proxy_ssl_trusted_certificate. Throws SslError. */
export function trustCertificates(context: SslContext, file: TrustFile): void {
  loadTrusted(context, file).free();
}

function loadTrusted(context: SslContext, { path, source }: TrustFile): Certificates {
  const certificates = source.trustedCertificates(path);
  if (typeof certificates === "string") throw new SslError(`cannot load certificate "${path}": ${certificates}`);
  trust(context, certificates, path);
  return certificates;
}

/** ssl_crl, proxy_ssl_crl. Throws SslError. */
export function useRevocationLists(context: SslContext, { path, source }: TrustFile): void {
  const lists = source.revocationLists(path);
  if (typeof lists === "string") throw new SslError(`cannot load CRL "${path}": ${lists}`);
  refuseRevoked(context, lists, path);
  lists.free();
}
