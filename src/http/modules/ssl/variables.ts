import {
  agreedCurve,
  alpnProtocol,
  offeredCiphers,
  offeredCurves,
  offeredSignatures,
  peerCertificate,
  peerSignature,
  signature,
  verifyResult,
} from "../../../sys/openssl/agreed.ts";
import {
  certificatePem,
  expiryTime,
  fingerprint,
  issuerLine,
  issuerName,
  notAfter,
  notBefore,
  serialNumber,
  subjectLine,
  subjectName,
  verifyResultText,
} from "../../../sys/openssl/certificate.ts";
import type { SslConnection } from "../../../sys/openssl/ssl.ts";
import { ESCAPE_COMPONENT, escapeUri } from "../../../wire/escape.ts";
import type { VariableSpec } from "../../core/script.ts";
import type { ClientTls } from "../../core/types.ts";
import { ofTls } from "./of_tls.ts";
import { sessionVariables } from "./sessions.ts";

/** The variables of ngx_http_ssl_module. */
export const sslVariables: Readonly<Record<string, VariableSpec>> = {
  ssl_protocol: ofTls((ssl) => ssl.protocol),
  ssl_cipher: ofTls((ssl) => ssl.cipher),
  ssl_ciphers: ofTls(offeredCiphers),
  ssl_curve: ofTls(agreedCurve),
  ssl_curves: ofTls(offeredCurves),
  ssl_sigalg: ofTls(signature),
  ssl_sigalgs: ofTls(offeredSignatures),
  ssl_server_name: ofTls((ssl) => ssl.serverName),
  ssl_alpn_protocol: ofTls(alpnProtocol),
  // OpenSSL has no Encrypted Client Hello before version 4.
  ssl_ech_status: ofTls(() => undefined),
  ssl_ech_outer_server_name: ofTls(() => undefined),
  ...sessionVariables,
  ssl_client_cert: ofClient((certificate) => certificatePem(certificate).slice(0, -1).replaceAll("\n", "\n\t")),
  ssl_client_raw_cert: ofClient(certificatePem),
  ssl_client_escaped_cert: ofClient((certificate) => escapeUri(certificatePem(certificate), ESCAPE_COMPONENT)),
  ssl_client_s_dn: ofClient(subjectName),
  ssl_client_i_dn: ofClient(issuerName),
  ssl_client_s_dn_legacy: ofClient(subjectLine),
  ssl_client_i_dn_legacy: ofClient(issuerLine),
  ssl_client_serial: ofClient(serialNumber),
  ssl_client_fingerprint: ofClient(fingerprint),
  ssl_client_verify: ofTls(clientVerify),
  ssl_client_v_start: ofClient(notBefore),
  ssl_client_v_end: ofClient(notAfter),
  ssl_client_v_remain: ofClient(daysLeft),
  ssl_client_sigalg: ofTls(peerSignature),
};

/** A variable of the certificate that the client has shown. */
function ofClient(get: (certificate: bigint) => string | undefined): VariableSpec {
  return ofTls((ssl) => {
    const certificate = peerCertificate(ssl);
    return certificate === 0n ? undefined : get(certificate);
  });
}

function clientVerify(ssl: SslConnection, { certificateFailure }: ClientTls): string {
  if (peerCertificate(ssl) === 0n) return "NONE";
  const result = verifyResult(ssl);
  const failure = result === 0n ? certificateFailure : verifyResultText(result);
  return failure === undefined ? "SUCCESS" : `FAILED:${failure}`;
}

const DAY = 86_400;

function daysLeft(certificate: bigint): string | undefined {
  const expires = expiryTime(certificate);
  if (Number.isNaN(expires)) return undefined;
  return String(Math.max(0, Math.floor((expires - Math.floor(Date.now() / 1000)) / DAY)));
}
