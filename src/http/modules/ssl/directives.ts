import { bitmask, flag, list, refuse, size, text } from "../../../config/directives.ts";
import type { Directive } from "../../../config/types.ts";
import { HTTP_SERVER } from "../../conf/contexts.ts";
import { certificateDirectives } from "./certificates.ts";
import { clientDirectives } from "./clients.ts";
import { ocspDirectives } from "./ocsp.ts";
import { sessionDirectives } from "./sessions.ts";
import { staplingDirectives } from "./stapling.ts";

/** The directives of ngx_http_ssl_module. */
export const sslDirectives = {
  ...certificateDirectives,
  ssl_protocols: bitmask({
    in: HTTP_SERVER,
    values: ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"],
    default: ["TLSv1.2", "TLSv1.3"],
    doc: "The versions of TLS that are spoken. Of several servers on an address, the one that the client asks for by name (SNI) decides. OpenSSL has no SSL 2, and TLS 1.0 and 1.1 only with `@SECLEVEL=0` in ssl_ciphers.",
  }),
  ssl_ciphers: text({
    in: HTTP_SERVER,
    default: "HIGH:!aNULL:!MD5",
    syntax: "ciphers",
    doc: "The ciphers for TLS 1.2 and below, as OpenSSL writes them; those of TLS 1.3 are set by `ssl_conf_command Ciphersuites`.",
  }),
  ssl_prefer_server_ciphers: flag({
    in: HTTP_SERVER,
    default: false,
    doc: "The server's order of ciphers and curves counts, not the client's.",
  }),
  ssl_dhparam: text({
    in: HTTP_SERVER,
    default: "",
    syntax: "file",
    doc: "A file with Diffie-Hellman parameters, in PEM, for ciphers with DHE; without it there are none of these.",
  }),
  ssl_ecdh_curve: text({
    in: HTTP_SERVER,
    default: "auto",
    syntax: "curve",
    doc: "The groups for the exchange of keys, with colons between them, in the order preferred; `auto`: OpenSSL's own.",
  }),
  ssl_conf_command: list<Directive>({
    in: HTTP_SERVER,
    args: [2, 2],
    syntax: "name value",
    doc: "A command of OpenSSL's configuration files (SSL_CONF_cmd(3)), such as `Ciphersuites` or `Options`. These commands come last, and may change what other directives say.",
    item: (at) => at,
  }),
  ssl_certificate_compression: flag({
    in: HTTP_SERVER,
    default: false,
    doc: "Without effect, with a warning: Node's OpenSSL cannot compress certificates.",
  }),
  ssl_ech_file: list<Directive>({
    in: HTTP_SERVER,
    args: [1, 1],
    syntax: "file",
    doc: "Without effect, with a warning: OpenSSL has Encrypted Client Hello from version 4 on.",
    item: (at) => at,
  }),
  ssl_reject_handshake: flag({
    in: HTTP_SERVER,
    default: false,
    doc: "Refuses handshakes that ask for a name of this server (SNI), or in the address's default server those that ask for no name of any. No certificate is needed then.",
  }),
  ssl_buffer_size: size({
    in: HTTP_SERVER,
    default: 16_384,
    check: (bytes, at) => bytes > 0 || refuse(at, "invalid value"),
    doc: "The most bytes of a TLS record that is sent.",
  }),
  ...clientDirectives,
  ...sessionDirectives,
  ...ocspDirectives,
  ...staplingDirectives,
};
