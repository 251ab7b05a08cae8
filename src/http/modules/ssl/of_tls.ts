import type { SslConnection } from "../../../sys/openssl/ssl.ts";
import { once, type VariableSpec } from "../../core/script.ts";
import type { ClientTls } from "../../core/types.ts";

/** A variable of the client's TLS connection: not found without TLS, and where nothing is said. */
export function ofTls(get: (ssl: SslConnection, tls: ClientTls) => string | undefined): VariableSpec {
  return once(({ connection: { tls } }) => {
    // A subrequest may outlive its connection.
    if (tls === undefined || tls.ssl.freed) return undefined;
    return get(tls.ssl, tls) || undefined;
  });
}
