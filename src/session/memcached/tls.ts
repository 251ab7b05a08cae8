import { failAtEnd } from "../../config/directives.ts";
import { fail, type Scope, type SettingsOf } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { CertificateError } from "../../net/tls/certificates.ts";
import { RECORD_BYTES, TlsContext, TlsSettingError } from "../../net/tls/context.ts";
import { certificateName, certificatesOf, keyName, readPasswordFile } from "../../runtime/certificates.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import type { blockDirectives } from "./directives.ts";
import type { ListenTls } from "./site.ts";

/** TLS of a listener with `ssl`. Throws ConfigError. */
export function listenTls(settings: SettingsOf<typeof blockDirectives>, block: Scope, cycle: Cycle): ListenTls {
  const {
    ssl_certificate: certificate,
    ssl_certificate_key: key,
    ssl_client_certificate: authorities,
    ssl_password_file: passwords,
  } = settings;
  if (certificate === undefined)
    return failAtEnd(block, 'no "ssl_certificate" is defined for a "session_listen" with ssl');
  if (key === undefined) {
    fail(certificate, `no "ssl_certificate_key" is defined for certificate "${certificate.args[0]}"`);
  }
  const source = certificatesOf(cycle);
  try {
    const context = new TlsContext({
      side: "server",
      protocols: settings.ssl_protocols,
      ciphers: settings.ssl_ciphers,
      certificates: {
        pairs: [{ certificate: certificateName(cycle, certificate.args[0]), key: keyName(cycle, key.args[0]) }],
        source,
        passwords: passwords && readPasswordFile(cycle, passwords),
      },
      verifyClients: authorities !== undefined,
      authorities: authorities && { path: cycle.path(authorities.args[0], "conf"), source },
      recordSize: RECORD_BYTES,
    });
    return { context, verifies: authorities !== undefined };
  } catch (error) {
    if (error instanceof CertificateError) fail(error.of === "key" ? key : certificate, error.message);
    if (!(error instanceof TlsSettingError)) throw error;
    return fail(placeOf(error, authorities, certificate), error.message);
  }
}

function placeOf({ setting }: TlsSettingError, authorities: Directive | undefined, certificate: Directive): Directive {
  return setting === "authorities" && authorities !== undefined ? authorities : certificate;
}
