import { fail, type Scope } from "../config/schema.ts";
import { upstreamTlsOf } from "../http/upstream/tls_settings.ts";
import { parseUrl } from "../net/parse_url.ts";
import { CertificateError } from "../net/tls/certificates.ts";
import { sentName, type TlsClientSettings } from "../net/tls/client.ts";
import { RECORD_BYTES, TlsContext, TlsSettingError } from "../net/tls/context.ts";
import { certificateName, certificatesOf, keyName } from "../runtime/certificates.ts";
import type { Cycle } from "../runtime/cycle.ts";
import type { CheckTls } from "./definition.ts";
import type { CheckSetting } from "./directives.ts";

/** TLS to servers that are checked. */

/** What `check type=https` and `type=grpcs` say of it. Throws ConfigError. */
export function checkTls({ tls, type, directive }: CheckSetting, cycle: Cycle): CheckTls {
  const source = certificatesOf(cycle);
  const trusted = tls.trusted === undefined ? undefined : { path: cycle.path(tls.trusted, "conf"), source };
  const { pair } = tls;
  const pairs =
    pair === undefined
      ? []
      : [{ certificate: certificateName(cycle, pair.certificate), key: keyName(cycle, pair.key) }];
  try {
    const context = new TlsContext({
      side: "client",
      protocols: new Set(["TLSv1.2", "TLSv1.3"]),
      ciphers: "DEFAULT",
      certificates: { pairs, source, passwords: undefined },
      recordSize: RECORD_BYTES,
      ...(type === "grpcs" ? { protocolNames: ["h2"] } : {}),
      ...(trusted === undefined ? {} : { trusted }),
    });
    return { context, name: tls.name, sendsName: true, verifies: tls.verify };
  } catch (error) {
    if (!(error instanceof CertificateError || error instanceof TlsSettingError)) throw error;
    return fail(directive, error.message);
  }
}

/** What a `health_check` does as the location's `proxy_ssl_…` say; undefined where that passes nothing to https://. */
export function locationTls(location: Scope, host: string): CheckTls | undefined {
  const tls = upstreamTlsOf(location);
  if (tls === undefined) return undefined;
  // A check has no request that variables could be of.
  return { context: tls.context, name: tls.name?.constant ?? host, sendsName: tls.sendsName, verifies: tls.verifies };
}

/** How to agree on TLS with a server; `server` is its directive's argument as written. */
export function clientSettings({ context, name, sendsName, verifies }: CheckTls, server: string): TlsClientSettings {
  const known = name ?? hostName(server);
  return {
    context,
    serverName: sendsName && known !== undefined ? sentName(known) : "",
    verifiedName: verifies ? (known ?? server) : undefined,
  };
}

/** The name in `name:port`; undefined for literal addresses, which TLS has no server name for (RFC 6066 section 3). */
export function hostName(server: string): string | undefined {
  const target = parseUrl(server, 0);
  return typeof target === "string" || "family" in target ? undefined : target.host;
}
