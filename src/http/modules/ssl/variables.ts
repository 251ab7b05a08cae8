import type { VariableSpec } from "../../core/script.ts";
import { sessionVariables } from "./sessions.ts";

/** The variables of ngx_http_ssl_module. */
export const sslVariables: Readonly<Record<string, VariableSpec>> = {
  ssl_protocol: { get: (r) => r.connection.tls?.ssl.protocol },
  ssl_cipher: { get: (r) => r.connection.tls?.ssl.cipher },
  ssl_server_name: { get: (r) => r.connection.tls?.ssl.serverName },
  ...sessionVariables,
};
