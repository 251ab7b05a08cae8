import { peerCertificate, verifyResult } from "../../sys/openssl/agreed.ts";
import { verifyResultText } from "../../sys/openssl/certificate.ts";
import { forgetSession } from "../../sys/openssl/session.ts";
import type { ServerTls } from "../core/location.ts";
import type { ClientTls } from "../core/types.ts";

/** Why a request is not processed (ngx_http_process_request). */
export interface TlsRefusal {
  readonly status: number;
  readonly sentence: string;
}

export const PLAIN_REQUEST: TlsRefusal = { status: 497, sentence: "client sent plain HTTP request to HTTPS port" };
const NO_CERTIFICATE: TlsRefusal = { status: 496, sentence: "client sent no required SSL certificate" };
/** nginx has closed such connections by then. The client may ask again over a new one (RFC 9110, section 15.5.20). */
const OUTDATED: TlsRefusal = {
  status: 421,
  sentence: "client certificate was verified by what an earlier configuration says",
};

const X509_V_OK = 0n;
/** <openssl/x509_vfy.h>: X509_V_ERR_… of a certificate that may be good, but of no authority that is known. */
const NO_AUTHORITY: ReadonlySet<bigint> = new Set([18n, 19n, 20n, 21n, 27n]);

/** Judges the certificate that a client has shown in its handshake, or has not. */
export function judgeCertificate(tls: ClientTls, verify: ServerTls["verify"]): TlsRefusal | undefined {
  if (tls.outdated) return OUTDATED;
  const { ssl, certificateFailure } = tls;
  const result = verifyResult(ssl);
  let refusal: TlsRefusal | undefined;
  if (result !== X509_V_OK && !(verify === "optional_no_ca" && NO_AUTHORITY.has(result))) {
    refusal = {
      status: 495,
      sentence: `client SSL certificate verify error: (${result}:${verifyResultText(result)})`,
    };
  } else if (verify === "on" && peerCertificate(ssl) === 0n) {
    refusal = NO_CERTIFICATE;
  } else if (certificateFailure !== undefined) {
    refusal = { status: 495, sentence: `client SSL certificate verify error: ${certificateFailure}` };
  }
  if (refusal !== undefined) forgetSession(ssl);
  return refusal;
}
