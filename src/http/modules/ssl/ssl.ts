import { defineModule } from "../../conf/module.ts";
import { buildTls } from "./build.ts";
import { sslDirectives } from "./directives.ts";
import { responderHosts } from "./ocsp.ts";
import { sslVariables } from "./variables.ts";

/** ngx_http_ssl_module: TLS towards clients. What its directives say becomes the server's TlsContext. */
export const ssl = defineModule({
  name: "http_ssl",
  configure: "--with-http_ssl_module",
  directives: sslDirectives,
  hosts: responderHosts,
  variables: sslVariables,
  server: buildTls,
});
