import type { SslConnection } from "../../../sys/openssl/ssl.ts";
import { once, type VariableSpec } from "../../core/script.ts";

/** A variable of the client's TLS connection: not found without TLS, and where nothing is said. */
export function ofTls(get: (ssl: SslConnection) => string | undefined): VariableSpec {
  return once(({ connection: { tls } }) => {
    // A subrequest may outlive its connection.
    if (tls === undefined || tls.ssl.freed) return undefined;
    return get(tls.ssl) || undefined;
  });
}
