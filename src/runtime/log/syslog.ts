import type { Socket } from "node:dgram";
import { hostname } from "node:os";
import { fail } from "../../config/schema.ts";
import { ConfigError, type Directive } from "../../config/types.ts";
import type { Address } from "../../net/address.ts";
import { parseUrl, type Target, targetAddresses } from "../../net/parse_url.ts";
import { dgram } from "../../sys/builtin.ts";
import { syslogTime } from "../../sys/clock.ts";
import { libc } from "../../sys/libc.ts";
import type { CycleData } from "../cycle.ts";

/** The `syslog:` parameters of `error_log` and `access_log`. */
export interface SyslogServer {
  /** The server as written, for messages. */
  readonly name: string;
  /** The addresses of a name are in `CycleData.hosts`. */
  readonly server: Target;
  readonly facility: number;
  /** The severity of access log lines; error log lines have their own. */
  readonly severity: number;
  readonly tag: string;
  readonly nohostname: boolean;
}

/** As in nginx, datagrams that cannot be sent are lost. */
export interface Syslog {
  /** Sends one message (a byte string without line feed). `severity` 0 emerg … 7 debug; default: the parameter's. */
  send(message: string, severity?: number): void;
}

const FACILITIES = [
  ...["kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv", "ftp"],
  ...["ntp", "audit", "alert", "cron", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"],
];
const SEVERITIES = ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];
const DEFAULT_PORT = 514;
/** Longer messages are truncated: NGX_MAX_ERROR_STR and a header. */
const MAX_BYTES = 2048 + 256;

/** Reads `syslog:server=…[,facility=…]…`, the first argument of a log directive. Throws ConfigError in nginx's words. */
export function parseSyslog(directive: Directive): SyslogServer {
  const parameters = new Map<string, string>();
  for (const parameter of directive.args[0].slice("syslog:".length).split(",")) {
    const [, name, value] = /^(server|facility|severity|tag)=(.*)$/.exec(parameter) ?? [];
    if (name !== undefined) {
      if (parameters.has(name)) fail(directive, `duplicate syslog "${name}"`);
      parameters.set(name, value);
    } else if (parameter === "nohostname") {
      parameters.set(parameter, "");
    } else {
      fail(directive, `unknown syslog parameter "${parameter}"`);
    }
  }
  const name = parameters.get("server") ?? fail(directive, "no syslog server specified");
  const tag = parameters.get("tag") ?? "holdfast";
  if (tag.length > 32) fail(directive, "syslog tag length exceeds 32");
  if (!/^[0-9A-Za-z_]*$/.test(tag)) {
    fail(directive, 'syslog "tag" only allows alphanumeric characters and underscore');
  }
  return {
    name,
    server: serverOf(name, directive),
    facility: indexOf(FACILITIES, parameters.get("facility") ?? "local7", "facility", directive),
    severity: indexOf(SEVERITIES, parameters.get("severity") ?? "info", "severity", directive),
    tag,
    nohostname: parameters.has("nohostname"),
  };
}

function indexOf(words: readonly string[], word: string, what: string, directive: Directive): number {
  const index = words.indexOf(word);
  return index < 0 ? fail(directive, `unknown syslog ${what} "${word}"`) : index;
}

function serverOf(name: string, directive: Directive): Target {
  const server = parseUrl(name, DEFAULT_PORT);
  if (typeof server === "string") return fail(directive, `${server} in syslog server "${name}"`);
  return server;
}

/** RFC 3164 lines to the server. `hosts` has the address of a server given by name. */
export function openSyslog(target: SyslogServer, hosts: CycleData["hosts"]): Syslog {
  const from = target.nohostname ? "" : `${hostname()} `;
  const deliver = delivery(addressOf(target, hosts));
  return {
    send(message, severity = target.severity) {
      const line = `<${target.facility * 8 + severity}>${syslogTime()} ${from}${target.tag}: ${message}`;
      deliver(Buffer.from(line.length > MAX_BYTES ? line.slice(0, MAX_BYTES) : line, "latin1"));
    },
  };
}

function addressOf(target: SyslogServer, hosts: CycleData["hosts"]): Address {
  const [found] = targetAddresses(target.server, hosts);
  if (found === undefined) throw new ConfigError(`host not found in syslog server "${target.name}"`);
  return found;
}

function delivery(address: Address): (bytes: Buffer) => void {
  if (address.family === "unix") return unixDelivery(address.path);
  const { family, host, port } = address;
  return (bytes) => udpSocket(family).send(bytes, port, host, () => {});
}

/** One socket an address family, kept over reloads. */
const udpSockets = new Map<"ipv4" | "ipv6", Socket>();

function udpSocket(family: "ipv4" | "ipv6"): Socket {
  let socket = udpSockets.get(family);
  if (socket === undefined) {
    socket = dgram().createSocket(family === "ipv6" ? "udp6" : "udp4");
    socket.unref();
    // ECONNREFUSED: an ICMP message from a host without a server.
    socket.on("error", () => {});
    udpSockets.set(family, socket);
  }
  return socket;
}

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
/** MSG_DONTWAIT and MSG_NOSIGNAL. */
const SEND_FLAGS = 0x4040;

/** One socket for all unix servers, made through FFI: Node has no unix datagram sockets. -1 until it is needed. */
let unixSocket = -1;

function unixDelivery(path: string): (bytes: Buffer) => void {
  const address = unixAddress(path);
  return (bytes) => {
    const c = libc();
    if (unixSocket < 0) unixSocket = c.socket(AF_UNIX, SOCK_DGRAM);
    if (unixSocket >= 0) c.sendto(unixSocket, bytes, SEND_FLAGS, address);
  };
}

/** A sockaddr_un. */
function unixAddress(path: string): Buffer {
  const bytes = Buffer.alloc(2 + path.length + 1);
  bytes.writeUInt16LE(AF_UNIX, 0);
  bytes.write(path, 2, "latin1");
  return bytes;
}
