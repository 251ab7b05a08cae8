import { fail, placeIn, type SettingsOf } from "../../../config/schema.ts";
import { CertificateError } from "../../../net/tls/certificates.ts";
import { TlsContext, TlsSettingError, type TlsSettings } from "../../../net/tls/context.ts";
import type { Place } from "../../conf/module.ts";
import type { ServerTls } from "../../core/location.ts";
import { certificatePairs, certificatePlace } from "./certificates.ts";
import { sslDirectives } from "./directives.ts";
import { sessionSettings } from "./sessions.ts";

export type SslSettings = SettingsOf<typeof sslDirectives>;

/** Which directive says what. */
const DIRECTIVES: Readonly<Record<keyof TlsSettings, keyof SslSettings>> = {
  side: "ssl_certificate",
  protocols: "ssl_protocols",
  ciphers: "ssl_ciphers",
  preferServerCiphers: "ssl_prefer_server_ciphers",
  certificates: "ssl_certificate",
  curves: "ssl_ecdh_curve",
  recordSize: "ssl_buffer_size",
  sessions: "ssl_session_cache",
};

/** ngx_http_ssl_merge_srv_conf: what a server's directives come to, undefined where it has nothing to shake hands with. */
export function buildTls(settings: SslSettings, place: Place): ServerTls | undefined {
  const { scope } = place;
  const certificates = certificatePairs(settings, place.http.cycle);
  if (certificates.pairs.length === 0) return undefined;
  try {
    const context = new TlsContext({
      side: "server",
      protocols: settings.ssl_protocols,
      ciphers: settings.ssl_ciphers,
      preferServerCiphers: settings.ssl_prefer_server_ciphers,
      certificates,
      curves: settings.ssl_ecdh_curve,
      recordSize: settings.ssl_buffer_size,
      sessions: sessionSettings(settings, scope, place.http.cycle, []),
    });
    return { context, rejects: false };
  } catch (error) {
    if (error instanceof CertificateError) fail(certificatePlace(settings, error), error.message);
    if (!(error instanceof TlsSettingError)) throw error;
    fail(placeIn(scope, sslDirectives[DIRECTIVES[error.setting]]), error.message);
  }
}
