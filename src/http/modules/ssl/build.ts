import { fail, placeIn, type SettingsOf } from "../../../config/schema.ts";
import { CertificateError } from "../../../net/tls/certificates.ts";
import { TlsContext, TlsSettingError, type TlsSettings } from "../../../net/tls/context.ts";
import type { Place } from "../../conf/module.ts";
import type { ServerTls } from "../../core/location.ts";
import { certificatePlace, type ServerCertificates, serverCertificates } from "./certificates.ts";
import { sslDirectives } from "./directives.ts";
import { sessionSettings, sharedCacheOf } from "./sessions.ts";

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
  earlyData: "ssl_early_data",
};

/** ngx_http_ssl_merge_srv_conf: what the directives of a server come to. */
export function buildTls(settings: SslSettings, place: Place): void {
  const { server } = place;
  const tls = {
    certify: undefined,
    certified: settings.ssl_certificate.length > 0,
    rejects: settings.ssl_reject_handshake,
    verify: "off",
  } as const;
  // Whatever is refused below, other errors are not to follow from that.
  server.tls = { ...tls, context: undefined };
  const certificates = serverCertificates(settings, place.http.cycle);
  const context = buildContext(settings, place, certificates);
  server.tls = { ...tls, context, certify: certificates.certify };
}

function buildContext(settings: SslSettings, place: Place, certificates: ServerCertificates): ServerTls["context"] {
  const { scope } = place;
  if (settings.ssl_certificate.length === 0 && !settings.ssl_reject_handshake) return undefined;
  const sessions = sessionSettings(settings, scope, place.http.cycle, certificates.names);
  try {
    return new TlsContext({
      side: "server",
      protocols: settings.ssl_protocols,
      ciphers: settings.ssl_ciphers,
      preferServerCiphers: settings.ssl_prefer_server_ciphers,
      certificates: certificates.pairs,
      curves: settings.ssl_ecdh_curve,
      recordSize: settings.ssl_buffer_size,
      sessions,
      earlyData: settings.ssl_early_data ? { cache: sharedCacheOf(sessions) } : undefined,
    });
  } catch (error) {
    if (error instanceof CertificateError) fail(certificatePlace(settings, error), error.message);
    if (!(error instanceof TlsSettingError)) throw error;
    fail(placeIn(scope, sslDirectives[DIRECTIVES[error.setting]]), error.message);
  }
}
