import { fail, type Scope, type SettingsOf } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { CertificateError } from "../../net/tls/certificates.ts";
import type { TlsClientSettings } from "../../net/tls/client.ts";
import { RECORD_BYTES, TlsContext, TlsSettingError, type TlsSettings } from "../../net/tls/context.ts";
import { certificateName, certificatesOf, keyName, readPasswordFile } from "../../runtime/certificates.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import { certificateFailure } from "./certificate.ts";
import type { tlsDirectives } from "./directives.ts";

/** How this node's messages go over TLS. */
export interface GroupTls {
  readonly server: TlsContext;
  readonly client: TlsContext;
  /** It answers in clear too, and asks over TLS only those that say that they are asked so. */
  readonly optional: boolean;
}

/** The settings of the connection to a node whose certificate must be for one of these names. */
export function clientTls({ client: context }: GroupTls, names: readonly string[]): TlsClientSettings {
  const refuses: TlsClientSettings["refuses"] = (ssl) => {
    const failure = certificateFailure(ssl, names);
    return failure === undefined ? undefined : `its certificate ${failure}`;
  };
  return { context, serverName: "", refuses };
}

/** undefined without `ssl_certificate`. Throws ConfigError. */
export function readGroupTls(
  settings: SettingsOf<typeof tlsDirectives>,
  scope: Scope,
  specs: typeof tlsDirectives,
  cycle: Cycle,
): GroupTls | undefined {
  const { ssl_certificate: certificate, ssl_certificate_key: key, ssl_trusted_certificate: trusted } = settings;
  const { ssl_crl: revoked, ssl_password_file: passwords } = settings;
  if (certificate === undefined) {
    const others = [key, trusted, revoked, passwords, scope.places.get(specs.ssl)];
    const at = others.find((one) => one !== undefined);
    return at === undefined ? undefined : fail(at, `no "ssl_certificate" is defined for "${at.name}"`);
  }
  const [path] = certificate.args;
  if (key === undefined) return fail(certificate, `no "ssl_certificate_key" is defined for certificate "${path}"`);
  if (trusted === undefined) {
    return fail(certificate, 'no "ssl_trusted_certificate" is defined: it verifies the certificates of other nodes');
  }
  const source = certificatesOf(cycle);
  const file = (at: Directive) => ({ path: cycle.path(at.args[0], "conf"), source });
  const common: Omit<TlsSettings, "side"> = {
    protocols: new Set(["TLSv1.3"]),
    ciphers: "DEFAULT",
    certificates: {
      pairs: [{ certificate: certificateName(cycle, path), key: keyName(cycle, key.args[0]) }],
      source,
      passwords: passwords && readPasswordFile(cycle, passwords),
    },
    verifyDepth: settings.ssl_verify_depth,
    trusted: file(trusted),
    ...(revoked === undefined ? {} : { revoked: file(revoked) }),
    recordSize: RECORD_BYTES,
  };
  try {
    const server = new TlsContext({ ...common, side: "server", verifyClients: true });
    return { server, client: new TlsContext({ ...common, side: "client" }), optional: settings.ssl === "optional" };
  } catch (error) {
    if (error instanceof CertificateError) return fail(error.of === "key" ? key : certificate, error.message);
    if (!(error instanceof TlsSettingError)) throw error;
    const at = error.setting === "trusted" ? trusted : error.setting === "revoked" ? revoked : certificate;
    return fail(at ?? certificate, error.message);
  }
}
