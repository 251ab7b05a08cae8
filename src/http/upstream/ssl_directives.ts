import { bitmask, file, flag, list, number, text } from "../../config/directives.ts";
import type { DirectiveSpec, SettingsOf } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { certificateCache } from "../conf/certificate_cache.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { oneTemplate } from "../core/script.ts";
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
    ssl_certificate: oneTemplate({
      in: HTTP_LOCATION,
      syntax: "file",
      doc: "A file with the certificate that servers are shown, and its chain, in PEM, or `data:` and the certificate itself; empty for none. With variables it is loaded for each handshake, by the worker.",
    }),
    ssl_certificate_key: oneTemplate({
      in: HTTP_LOCATION,
      syntax: "file",
      doc: "The private key of that certificate, in PEM: a file, `data:` and the key itself, `store:` and a URI that OpenSSL can load, or `engine:`, an engine's name and the key's. Only the master reads it, unless it or the certificate has variables.",
    }),
    ssl_certificate_cache: certificateCache(HTTP_LOCATION),
    ssl_password_file: file({
      in: HTTP_LOCATION,
      doc: "Passwords of the key, one a line, tried one after the other. Only the master reads it.",
    }),
    ssl_verify: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: `Verifies servers' certificates by ${prefix}_ssl_trusted_certificate, and that they are for ${prefix}_ssl_name.`,
    }),
    ssl_verify_depth: number({
      in: HTTP_LOCATION,
      default: 1,
      doc: "How many certificates of authorities there may be between a server's certificate and one that is trusted.",
    }),
    ssl_trusted_certificate: text({
      in: HTTP_LOCATION,
      default: "",
      syntax: "file",
      doc: "A file with the authorities, in PEM, that servers' certificates are verified by.",
    }),
    ssl_crl: text({
      in: HTTP_LOCATION,
      default: "",
      syntax: "file",
      doc: "A file with lists of revoked certificates, in PEM: one of each authority in a server's chain.",
    }),
    ssl_name: oneTemplate({
      in: HTTP_LOCATION,
      syntax: "name",
      doc: "The server's name: what its certificate must be for, and what it is told where SNI is on. A port is left out.",
      defaultText: "host of the URL",
    }),
    ssl_server_name: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Tells the server which name is meant (SNI, RFC 6066). An IP address is not sent.",
    }),
    ssl_session_reuse: flag({
      in: HTTP_LOCATION,
      default: true,
      doc: "Resumes the last session with the same server. A worker keeps its sessions over reloads; the workers share those of an upstream that has a `zone`.",
    }),
    ssl_conf_command: list<Directive>({
      in: HTTP_LOCATION,
      args: [2, 2],
      syntax: "name value",
      doc: "A command of OpenSSL's configuration files (SSL_CONF_cmd(3)), such as `Ciphersuites` or `Options`. These commands come last, and may change what other directives say.",
      item: (at) => at,
    }),
  };
}

type Table = ReturnType<typeof table>;

/** The settings of `upstreamSslDirectives` by their common names. */
export type SslSettings = SettingsOf<Table>;

/** The settings of a table that has `upstreamSslDirectives(prefix)` in it, and that table. */
export type WithSsl<P extends string> = SettingsOf<Prefixed<P, Table>>;
export type SslTable = Readonly<Record<string, DirectiveSpec<unknown>>>;

/** The directives of modules whose servers may speak TLS: `proxy_ssl_name` … A module spreads them into its table. */
export function upstreamSslDirectives<P extends string>(prefix: P): Prefixed<P, Table> {
  return prefixed(prefix, table(prefix));
}
