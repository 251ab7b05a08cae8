import { parseUrl } from "../../net/parse_url.ts";
import type { CheckDefinition } from "../definition.ts";
import type { Probe } from "../probe.ts";
import { ajp } from "./ajp.ts";
import { fastcgi } from "./fastcgi.ts";
import { http } from "./http.ts";
import { mysql } from "./mysql.ts";
import { sslHello } from "./ssl_hello.ts";
import { talk } from "./talk.ts";
import { tcp } from "./tcp.ts";

/**
 * The probe of a check's type, for one server: `server` is its directive's argument as written. A new type is one more file,
 * one more line here and its name in definition.ts.
 */
export function probeOf(definition: CheckDefinition, server: string): Probe {
  const { send, expect, receive, params, keep } = definition;
  switch (definition.type) {
    case "tcp":
      return receive === undefined ? tcp() : talk(send, receive);
    case "http":
      return http({ send, expect, keep: keep.requests > 1 || keep.time > 0 });
    case "ssl_hello":
      return sslHello(hostName(server));
    case "mysql":
      return mysql();
    case "ajp":
      return ajp();
    case "fastcgi":
      return fastcgi({ params, expect });
  }
}

/** The name in `name:port`; undefined for literal addresses, which TLS has no server name for (RFC 6066 section 3). */
function hostName(server: string): string | undefined {
  const target = parseUrl(server, 0);
  return typeof target === "string" || "family" in target ? undefined : target.host;
}
