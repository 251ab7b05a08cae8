import { bitmask, directive, flag, text } from "../../config/directives.ts";
import type { SettingsOf } from "../../config/schema.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { type Template, template } from "../core/script.ts";
import { type Prefixed, prefixed } from "./directives.ts";

/** The directives about TLS to servers, without their prefix. */
function table(prefix: string) {
  return {
    ssl_protocols: bitmask({
      in: HTTP_LOCATION,
      values: ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"],
      default: ["TLSv1.2", "TLSv1.3"],
      doc: `The versions of TLS that are spoken to servers. OpenSSL has no SSL 2, and TLS 1.0 and 1.1 only with \`@SECLEVEL=0\` in ${prefix}_ssl_ciphers.`,
    }),
    ssl_ciphers: text({
      in: HTTP_LOCATION,
      default: "DEFAULT",
      syntax: "ciphers",
      doc: `The ciphers for TLS 1.2 and below, as OpenSSL writes them; those of TLS 1.3 are set by \`${prefix}_ssl_conf_command Ciphersuites\`.`,
    }),
    ssl_name: directive<Template | undefined>({
      in: HTTP_LOCATION,
      args: [1, 1],
      syntax: "name",
      doc: "The server's name: what its certificate must be for, and what it is told where SNI is on. A port is left out.",
      defaultText: "host of the URL",
      initial: () => undefined,
      read: (at, scope) => template(scope, at, at.args[0]),
    }),
    ssl_server_name: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Tells the server which name is meant (SNI, RFC 6066). An IP address is not sent.",
    }),
  };
}

type Table = ReturnType<typeof table>;

/** The settings of `upstreamSslDirectives` by their common names. */
export type SslSettings = SettingsOf<Table>;

/** The settings of a table that has `upstreamSslDirectives(prefix)` in it. */
export type WithSsl<P extends string> = SettingsOf<Prefixed<P, Table>>;

/** The directives of modules whose servers may speak TLS: `proxy_ssl_name` … A module spreads them into its table. */
export function upstreamSslDirectives<P extends string>(prefix: P): Prefixed<P, Table> {
  return prefixed(prefix, table(prefix));
}
