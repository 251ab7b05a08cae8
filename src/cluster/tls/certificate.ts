import { peerCertificate, verifyResult } from "../../sys/openssl/agreed.ts";
import { isForAddress, isForHost, verifyResultText } from "../../sys/openssl/certificate.ts";
import type { SslConnection } from "../../sys/openssl/ssl.ts";

const X509_V_OK = 0n;

/**
 * Why the certificate that a node has shown is not accepted, with "its certificate" before it. `names`: host names and addresses
 * of the node, of which it must be for one.
 */
export function certificateFailure(ssl: SslConnection, names: readonly string[]): string | undefined {
  const certificate = peerCertificate(ssl);
  if (certificate === 0n) return "is missing";
  const result = verifyResult(ssl);
  if (result !== X509_V_OK) return `does not verify (${result}:${verifyResultText(result)})`;
  if (names.some((name) => isForHost(certificate, name) || isForAddress(certificate, name))) return undefined;
  return `is for none of ${names.map((name) => `"${name}"`).join(", ")}`;
}
