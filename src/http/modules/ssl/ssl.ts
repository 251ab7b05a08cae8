import { list, size } from "../../../config/directives.ts";
import { fail } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { TlsContext } from "../../../net/tls/context.ts";
import { SslError } from "../../../sys/openssl/context.ts";
import { HTTP_SERVER } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";

/** ngx_http_ssl_module: TLS towards clients. What its directives say becomes the server's TlsContext. */
export const ssl = defineModule({
  name: "http_ssl",
  configure: "--with-http_ssl_module",
  directives: {
    ssl_certificate: list<Directive>({
      in: HTTP_SERVER,
      args: [1, 1],
      syntax: "file",
      doc: "The server's certificate with its chain, in PEM.",
      item: (at) => at,
    }),
    ssl_certificate_key: list<Directive>({
      in: HTTP_SERVER,
      args: [1, 1],
      syntax: "file",
      doc: "The key of the certificate, in PEM.",
      item: (at) => at,
    }),
    ssl_buffer_size: size({
      in: HTTP_SERVER,
      default: 16_384,
      doc: "The most bytes of a TLS record that is sent.",
    }),
  },
  variables: {
    ssl_protocol: { get: (r) => r.connection.tls?.ssl.protocol },
    ssl_cipher: { get: (r) => r.connection.tls?.ssl.cipher },
    ssl_server_name: { get: (r) => r.connection.tls?.ssl.serverName },
  },
  build(settings, { http, server, parent, scope }) {
    if (parent !== undefined || scope.context !== "server") return settings;
    const certificates = settings.ssl_certificate.map((at, i) => {
      const key = settings.ssl_certificate_key[i];
      const name = http.cycle.path(at.args[0], "conf");
      const keyName = http.cycle.path(key.args[0], "conf");
      return { name, keyName, certificate: http.cycle.readFile(name), key: http.cycle.readFile(keyName) };
    });
    if (certificates.length === 0) return settings;
    try {
      const context = new TlsContext({ side: "server", certificates, recordSize: settings.ssl_buffer_size });
      server.tls = { context, rejects: false };
    } catch (error) {
      if (!(error instanceof SslError)) throw error;
      fail(settings.ssl_certificate[0], error.message);
    }
    return settings;
  },
});
