import { fail } from "../config/schema.ts";
import { parseUrl } from "../net/parse_url.ts";
import type { TlsClientSettings } from "../net/tls/client.ts";
import { TlsContext, TlsSettingError } from "../net/tls/context.ts";
import { certificatesOf } from "../runtime/certificates.ts";
import type { Cycle } from "../runtime/cycle.ts";
import type { CheckTls } from "./definition.ts";
import type { CheckSetting } from "./directives.ts";

/** TLS to servers that are checked. */

const RECORD_BYTES = 16_384;

/** What `check type=https` says of it. Throws ConfigError. */
export function checkTls({ tls, directive }: CheckSetting, cycle: Cycle): CheckTls {
  const source = certificatesOf(cycle);
  const trusted = tls.trusted === undefined ? undefined : { path: cycle.path(tls.trusted, "conf"), source };
  try {
    const context = new TlsContext({
      side: "client",
      protocols: new Set(["TLSv1.2", "TLSv1.3"]),
      ciphers: "DEFAULT",
      certificates: { pairs: [], source, passwords: undefined },
      recordSize: RECORD_BYTES,
      ...(trusted === undefined ? {} : { trusted }),
    });
    return { context, serverName: tls.name, verifies: tls.verify };
  } catch (error) {
    if (!(error instanceof TlsSettingError)) throw error;
    return fail(directive, error.message);
  }
}

/** How to agree on TLS with a server; `server` is its directive's argument as written. */
export function clientSettings({ context, serverName, verifies }: CheckTls, server: string): TlsClientSettings {
  const name = serverName ?? hostName(server);
  return { context, serverName: name ?? "", verifiedName: verifies ? (name ?? server) : undefined };
}

/** The name in `name:port`; undefined for literal addresses, which TLS has no server name for (RFC 6066 section 3). */
export function hostName(server: string): string | undefined {
  const target = parseUrl(server, 0);
  return typeof target === "string" || "family" in target ? undefined : target.host;
}
