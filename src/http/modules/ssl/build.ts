import { refusalsOf, warn } from "../../../config/errors.ts";
import { fail, placeIn, type Scope, type SettingsOf } from "../../../config/schema.ts";
import { CertificateError, fopenError } from "../../../net/tls/certificates.ts";
import { TlsContext, TlsSettingError, type TlsSettings } from "../../../net/tls/context.ts";
import { confPathsOf } from "../../../runtime/certificates.ts";
import type { Cycle } from "../../../runtime/cycle.ts";
import { errorCode } from "../../../sys/errno.ts";
import type { Place } from "../../conf/module.ts";
import type { ServerTls } from "../../core/location.ts";
import { certificatePlace, type ServerCertificates, serverCertificates } from "./certificates.ts";
import { clientVerification, verificationIdentity } from "./clients.ts";
import { sslDirectives } from "./directives.ts";
import { clientOcsp } from "./ocsp.ts";
import { sessionSettings, sharedCacheOf } from "./sessions.ts";
import { addStaples } from "./stapling.ts";

export type SslSettings = SettingsOf<typeof sslDirectives>;

/** Which directive says what. */
const DIRECTIVES: Readonly<Record<keyof TlsSettings, keyof SslSettings>> = {
  side: "ssl_certificate",
  protocols: "ssl_protocols",
  ciphers: "ssl_ciphers",
  preferServerCiphers: "ssl_prefer_server_ciphers",
  certificates: "ssl_certificate",
  verifyClients: "ssl_verify_client",
  verifyDepth: "ssl_verify_depth",
  authorities: "ssl_client_certificate",
  trusted: "ssl_trusted_certificate",
  dhParameters: "ssl_dhparam",
  revoked: "ssl_crl",
  curves: "ssl_ecdh_curve",
  recordSize: "ssl_buffer_size",
  sessions: "ssl_session_cache",
  earlyData: "ssl_early_data",
  keepsSessions: "ssl_session_cache",
  confCommands: "ssl_conf_command",
  protocolNames: "ssl_certificate",
  handshakeOnly: "ssl_certificate",
};

const HTTP_1 = ["http/1.1", "http/1.0", "http/0.9"];
const HTTP_2 = ["h2", ...HTTP_1];

/** ngx_http_ssl_merge_srv_conf: what the directives of a server come to. */
export function buildTls(settings: SslSettings, place: Place): void {
  const { server } = place;
  const { ssl_ocsp: ocsp, ssl_ocsp_responder: responder } = settings;
  const tls = {
    certify: undefined,
    certified: settings.ssl_certificate.length > 0,
    rejects: settings.ssl_reject_handshake,
    verify: settings.ssl_verify_client,
    verification: verificationIdentity(settings, [ocsp, responder], place.http.cycle),
  };
  // Whatever is refused below, other errors are not to follow from that.
  server.tls = { ...tls, context: undefined };
  refusalsOf(place.scope).attempt(() => {
    const certificates = serverCertificates(settings, place.http.cycle);
    const context = buildContext(settings, place, certificates);
    server.tls = { ...tls, context, certify: certificates.certify };
  }, "complete");
}

function buildContext(settings: SslSettings, place: Place, certificates: ServerCertificates): ServerTls["context"] {
  const { scope } = place;
  if (settings.ssl_certificate.length === 0 && !settings.ssl_reject_handshake) return undefined;
  warnOfIgnored(settings, scope);
  const idContext = [...certificates.names, place.server.tls.verification];
  const sessions = sessionSettings(settings, scope, place.http.cycle, idContext);
  try {
    const context = new TlsContext({
      side: "server",
      protocols: settings.ssl_protocols,
      ciphers: settings.ssl_ciphers,
      preferServerCiphers: settings.ssl_prefer_server_ciphers,
      certificates: certificates.pairs,
      ...clientVerification(settings, scope, place.http.cycle),
      dhParameters: dhParameters(settings, place),
      curves: settings.ssl_ecdh_curve,
      recordSize: settings.ssl_buffer_size,
      protocolNames: place.server.http2.enabled ? HTTP_2 : HTTP_1,
      sessions,
      earlyData: settings.ssl_early_data ? { cache: sharedCacheOf(sessions) } : undefined,
      confCommands: confCommands(settings, place.http.cycle),
    });
    context.clientOcsp = clientOcsp(settings, place);
    if (certificates.pairs !== "asked") addStaples(context, certificates.pairs, settings, place);
    return context;
  } catch (error) {
    if (error instanceof CertificateError) fail(certificatePlace(settings, error), error.message);
    if (!(error instanceof TlsSettingError)) throw error;
    const { setting, item } = error;
    const at = setting === "confCommands" ? settings.ssl_conf_command.at(item) : undefined;
    fail(at ?? placeIn(scope, sslDirectives[DIRECTIVES[setting]]), error.message);
  }
}

/** What Node's OpenSSL is built without, or is too old for. */
function warnOfIgnored(settings: SslSettings, scope: Scope): void {
  const ignored = (name: keyof SslSettings) =>
    warn(placeIn(scope, sslDirectives[name]), scope, `"${name}" is not supported on this platform, ignored`);
  if (settings.ssl_certificate_compression) ignored("ssl_certificate_compression");
  if (settings.ssl_ech_file.length > 0) ignored("ssl_ech_file");
}

function dhParameters(
  { ssl_dhparam: file }: SslSettings,
  { http: { cycle }, scope }: Place,
): TlsSettings["dhParameters"] {
  if (file === "") return undefined;
  const name = cycle.path(file, "conf");
  try {
    return { pem: cycle.readFile(name), name };
  } catch (error) {
    return fail(
      placeIn(scope, sslDirectives.ssl_dhparam),
      `BIO_new_file("${name}") failed${fopenError(name, errorCode(error))}`,
    );
  }
}

function confCommands({ ssl_conf_command: directives }: SslSettings, cycle: Cycle): TlsSettings["confCommands"] {
  if (directives.length === 0) return undefined;
  return { commands: directives.map(({ args: [name, value] }) => ({ name, value })), paths: confPathsOf(cycle) };
}
