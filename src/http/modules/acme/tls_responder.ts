import { uncached } from "../../../net/tls/certificates.ts";
import { RECORD_BYTES, TlsContext } from "../../../net/tls/context.ts";
import type { HandshakeResponder } from "../../core/types.ts";
import type { CertificateZone } from "./certificate_zone.ts";
import { challengeKey } from "./challenges.ts";
import { identifierOfServerName } from "./order.ts";

/** RFC 8737 */
const PROTOCOL = "acme-tls/1";

/** Answers tls-alpn-01 with the certificate that the checker has made for it. */
export function tlsResponder(zone: CertificateZone): HandshakeResponder {
  return {
    protocol: PROTOCOL,
    contextFor(name) {
      const identifier = name === undefined ? undefined : identifierOfServerName(name);
      const answer = identifier === undefined ? undefined : zone.read(challengeKey("tls-alpn-01", identifier));
      return answer && contextWith(`data:${answer.text}`);
    },
  };
}

function contextWith(pem: string): TlsContext {
  return new TlsContext({
    side: "server",
    protocols: new Set(["TLSv1.2", "TLSv1.3"]),
    ciphers: "HIGH:!aNULL:!MD5",
    certificates: { pairs: [{ certificate: pem, key: pem }], source: uncached(noFile), passwords: [] },
    recordSize: RECORD_BYTES,
    protocolNames: [PROTOCOL],
    handshakeOnly: true,
  });
}

function noFile(path: string): never {
  throw new Error(`"${path}" is not to be read`);
}
