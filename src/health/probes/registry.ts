import * as scgi from "../../wire/scgi.ts";
import * as uwsgi from "../../wire/uwsgi.ts";
import type { CheckDefinition } from "../definition.ts";
import type { Probe } from "../probe.ts";
import { hostName } from "../tls.ts";
import { ajp } from "./ajp.ts";
import { cgi } from "./cgi.ts";
import { fastcgi } from "./fastcgi.ts";
import { grpc } from "./grpc.ts";
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
    case "https":
      return http({ send, expect, keep: keep.requests > 1 || keep.time > 0 });
    case "ssl_hello":
      return sslHello(hostName(server));
    case "mysql":
      return mysql();
    case "ajp":
      return ajp();
    case "fastcgi":
      return fastcgi({ params, expect });
    case "grpc":
    case "grpcs":
      return grpc(definition.grpc ?? { service: "", status: 0 }, server, definition.tls !== undefined);
    case "uwsgi":
      return cgi(uwsgi.packet(0, 0, params.map(({ key, value }) => uwsgi.variable(key, value)).join("")), expect);
    case "node":
      return definition.probe?.() ?? tcp();
    case "scgi":
      return cgi(scgi.request(0, params.map(({ key, value }) => scgi.header(key, value)).join("")), expect);
  }
}
