import { bitmask, directive, file, text } from "../../config/directives.ts";
import { type DirectiveSpec, fail } from "../../config/schema.ts";
import type { Context, Directive } from "../../config/types.ts";
import { parseMsec, parseNumber } from "../../config/values.ts";
import { accessRule } from "../../http/conf/access_rule.ts";
import { type ParsedListen, parseListen } from "../../http/conf/listen.ts";

/** One `session_listen`, without its block. Times are ms. */
export interface ListenLine {
  readonly at: Directive;
  readonly zone: string;
  readonly listen: ParsedListen;
  readonly maxConnections: number;
  readonly timeout: number;
  /** 0: none. */
  readonly idleTimeout: number;
}

const IN: readonly Context[] = ["session_listen"];
/** The port of memcached. */
const LISTEN = { name: "session_listen", port: 11211 } as const;
const MOST_CONNECTIONS = 1024;
const TIMEOUT = 60_000;

/** What may stand in the block of a `session_listen`. */
export const blockDirectives = {
  allow: accessRule(IN, false, "Lets clients of an address or network in; the first rule that matches decides."),
  deny: accessRule(IN, true, "Refuses clients of an address or network; the first rule that matches decides."),
  ssl_certificate: file({
    in: IN,
    doc: "A file with the certificate and its chain, in PEM, of a listener with `ssl`.",
  }),
  ssl_certificate_key: file({ in: IN, doc: "The certificate's private key, in PEM. Only the master reads it." }),
  ssl_password_file: file({ in: IN, doc: "Passwords of the private key, one a line. Only the master reads it." }),
  ssl_client_certificate: file({
    in: IN,
    doc: "A file with the authorities, in PEM, that clients' certificates are verified by. Given, clients must have one.",
  }),
  ssl_protocols: bitmask({
    in: IN,
    values: ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"],
    default: ["TLSv1.2", "TLSv1.3"],
    doc: "The versions of TLS that are spoken.",
  }),
  ssl_ciphers: text({
    in: IN,
    default: "HIGH:!aNULL:!MD5",
    syntax: "ciphers",
    doc: "The ciphers for TLS 1.2 and below, as OpenSSL writes them.",
  }),
};

export const sessionListen: DirectiveSpec<readonly ListenLine[]> = directive<readonly ListenLine[]>({
  in: ["http"],
  args: [2, Number.POSITIVE_INFINITY],
  block: "session_listen",
  blockOptional: true,
  repeat: true,
  inherit: false,
  syntax:
    "address[:port] zone=name [protocol=memcached] [ssl] [max_connections=number] [timeout=time] [idle_timeout=time] [parameters of listen] [{ … }]",
  doc: "Opens a session zone to servers that keep sessions in memcached, in its text protocol, at an address and port (11211). Items are kept as sessions are: durable, and the same in all workers, and where the zone has a `store` on all nodes. At most `max_connections` (1024) clients are connected; a command that has begun, or an answer, must go on within `timeout` (60s), and who asks for nothing within `idle_timeout` is disconnected (not by itself). With `ssl` the block names a certificate. Of `listen`, the parameters of its socket may be given.",
  initial: () => [],
  read: (at, _scope, previous = []) => [...previous, readLine(at)],
});

function readLine(at: Directive): ListenLine {
  const [address, ...words] = at.args;
  const socket: string[] = [];
  let zone = "";
  let maxConnections = MOST_CONNECTIONS;
  let timeout = TIMEOUT;
  let idleTimeout = 0;
  for (const word of words) {
    const equals = word.indexOf("=");
    const value = word.slice(equals + 1);
    const wrong = (): never => fail(at, `invalid parameter "${word}"`);
    switch (equals < 0 ? word : word.slice(0, equals)) {
      case "zone":
        zone = value || wrong();
        break;
      case "protocol":
        if (value !== "memcached") fail(at, `unknown protocol "${value}", it must be memcached`);
        break;
      case "max_connections":
        maxConnections = parseNumber(value) || wrong();
        break;
      case "timeout":
        timeout = parseMsec(value) || wrong();
        break;
      case "idle_timeout":
        idleTimeout = parseMsec(value) ?? wrong();
        break;
      case "default_server":
      case "default":
      case "proxy_protocol":
        wrong();
        break;
      default:
        socket.push(word);
    }
  }
  if (zone === "") fail(at, '"session_listen" must have "zone" parameter');
  const listen = parseListen([address, ...socket], LISTEN);
  if ("error" in listen) fail(at, listen.error);
  return { at, zone, listen, maxConnections, timeout, idleTimeout };
}
