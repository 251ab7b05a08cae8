import { fail, placeIn, type SettingsOf } from "../../../config/schema.ts";
import { TlsContext, TlsSettingError, type TlsSettings } from "../../../net/tls/context.ts";
import type { Place } from "../../conf/module.ts";
import type { ServerTls } from "../../core/location.ts";
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
  const certificates = readCertificates(settings, place);
  if (certificates.length === 0) return undefined;
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
    if (!(error instanceof TlsSettingError)) throw error;
    fail(placeIn(scope, sslDirectives[DIRECTIVES[error.setting]]), error.message);
  }
}

function readCertificates(settings: SslSettings, { http: { cycle } }: Place): TlsSettings["certificates"] {
  return settings.ssl_certificate.map((at, i) => {
    const name = cycle.path(at.args[0], "conf");
    const keyName = cycle.path(settings.ssl_certificate_key[i].args[0], "conf");
    return { name, keyName, certificate: cycle.readFile(name), key: cycle.readFile(keyName) };
  });
}
