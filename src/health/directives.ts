import { bitmask, directive, keyValues, size, wrongArguments } from "../config/directives.ts";
import { defineDirectives, fail, reachesOut } from "../config/schema.ts";
import type { Directive } from "../config/types.ts";
import { parseMsec, parseNumber } from "../config/values.ts";
import { CHECK_TYPES, type CheckType } from "./definition.ts";
import { type Match, type NamedTest, readBodyTest, readMatch } from "./match.ts";
import type { GrpcSettings } from "./probes/grpc.ts";
import type { Sharing } from "./sharing.ts";

/** `check`, times in ms. */
export interface CheckSetting {
  readonly interval: number;
  readonly fall: number;
  readonly rise: number;
  readonly timeout: number;
  readonly defaultDown: boolean;
  readonly type: CheckType;
  readonly port: number;
  readonly unique: boolean;
  readonly tls: CheckTlsSetting;
  readonly grpc: GrpcSettings;
  readonly sharing: Sharing | undefined;
  readonly directive: Directive;
}

/** Parameters of `type=https` and `type=grpcs`. */
export interface CheckTlsSetting {
  /** ssl_name */
  readonly name: string | undefined;
  /** ssl_verify */
  readonly verify: boolean;
  /** ssl_trusted_certificate, as written. */
  readonly trusted: string | undefined;
  /** ssl_certificate and ssl_certificate_key, as written. */
  readonly pair: { readonly certificate: string; readonly key: string } | undefined;
}

/** `health_check`, times in ms. */
export interface HealthCheckSetting {
  readonly interval: number;
  readonly jitter: number;
  readonly fails: number;
  readonly passes: number;
  readonly uri: string;
  readonly port: number;
  /** Name of a `match` block; undefined: status 2xx or 3xx. */
  readonly match: string | undefined;
  readonly mandatory: boolean;
  readonly type: "http" | "tcp" | "grpc";
  readonly grpc: GrpcSettings;
  /** 0: no keep-alive. */
  readonly keepaliveTime: number;
  /** undefined: proxy_connect_timeout and proxy_read_timeout of the location decide. */
  readonly timeout: number | undefined;
  readonly sharing: Sharing | undefined;
  readonly directive: Directive;
}

const NUMBERS = new Set(["interval", "fall", "rise", "timeout", "port"]);

/** The arguments of `check`. As in the module, a repeated `check` starts from the defaults but for the type. */
function readCheck(at: Directive, previous: CheckSetting | undefined): CheckSetting {
  const numbers: Record<string, number> = { interval: 30_000, fall: 5, rise: 2, timeout: 1000, port: 0 };
  const flags: Record<string, boolean> = { default_down: true, unique: false };
  const texts: Record<string, string | undefined> = {
    quorum: undefined,
    observers: undefined,
    ssl_name: undefined,
    ssl_verify: undefined,
    ssl_trusted_certificate: undefined,
    ssl_certificate: undefined,
    ssl_certificate_key: undefined,
    grpc_service: undefined,
    grpc_status: undefined,
  };
  let type: CheckType = previous?.type ?? "tcp";
  for (const arg of at.args) {
    const [name, value] = split(arg);
    if (NUMBERS.has(name)) {
      const number = parseNumber(value);
      const most = name === "port" ? 65535 : 0x7fffffff;
      if (!number || number > most) invalid(at, arg);
      numbers[name] = number;
    } else if (name === "type") {
      type = CHECK_TYPES.find((known) => known === value) ?? invalid(at, arg);
    } else if (Object.hasOwn(flags, name)) {
      const word = value.toLowerCase();
      if (word !== "true" && word !== "false") {
        fail(at, `invalid value "${arg}", it must be "true" or "false"`);
      }
      flags[name] = word === "true";
    } else if (Object.hasOwn(texts, name)) {
      if (value === "") invalid(at, arg);
      texts[name] = value;
    } else invalid(at, arg);
  }
  const { interval, fall, rise, timeout, port } = numbers;
  const { default_down: defaultDown, unique } = flags;
  const sharing = readSharing(at, texts);
  if (unique && (sharing?.observers ?? 0) > 0) fail(at, '"unique=true" and "observers" do not go together');
  return {
    interval,
    fall,
    rise,
    timeout,
    port,
    type,
    defaultDown,
    unique,
    tls: readTls(at, type, texts),
    grpc: readGrpc(at, type === "grpc" || type === "grpcs", texts),
    sharing,
    directive: at,
  };
}

/** Parameters of type=grpc. */
function readGrpc(
  at: Directive,
  isGrpc: boolean,
  { grpc_service: service, grpc_status: code }: Readonly<Record<string, string | undefined>>,
): GrpcSettings {
  if (!isGrpc && (service ?? code) !== undefined) {
    fail(at, `parameter "${service === undefined ? "grpc_status" : "grpc_service"}" is for "type=grpc" only`);
  }
  if (service !== undefined && service.length > MOST_SERVICE) fail(at, `too long a name in "grpc_service"`);
  const status = code === undefined ? 0 : (parseNumber(code) ?? invalid(at, `grpc_status=${code}`));
  return { service: service ?? "", status };
}

const MOST_SERVICE = 1024;

/** Parameters that need a cluster. */
function readSharing(
  at: Directive,
  { quorum, observers }: Readonly<Record<string, string | undefined>>,
): Sharing | undefined {
  if (quorum !== undefined && quorum !== "majority") {
    fail(at, `invalid value "quorum=${quorum}", it must be "majority"`);
  }
  const number = observers === undefined ? 0 : parseNumber(observers) || invalid(at, `observers=${observers}`);
  return quorum === undefined && number === 0 ? undefined : { quorum: quorum !== undefined, observers: number };
}

function readTls(at: Directive, type: CheckType, texts: Readonly<Record<string, string | undefined>>): CheckTlsSetting {
  const { ssl_name: name, ssl_verify: verify, ssl_trusted_certificate: trusted } = texts;
  const { ssl_certificate: certificate, ssl_certificate_key: key } = texts;
  const given = Object.keys(texts).find((param) => param.startsWith("ssl_") && texts[param] !== undefined);
  if (type !== "https" && type !== "grpcs" && given !== undefined) {
    fail(at, `parameter "${given}" is for "type=https" and "type=grpcs" only`);
  }
  if (verify !== undefined && verify !== "on" && verify !== "off") {
    fail(at, `invalid value "ssl_verify=${verify}", it must be "on" or "off"`);
  }
  if (verify === "on" && trusted === undefined) fail(at, 'no "ssl_trusted_certificate" for "ssl_verify=on"');
  if (certificate !== undefined && key === undefined) fail(at, 'no "ssl_certificate_key" for "ssl_certificate"');
  if (certificate === undefined && key !== undefined) fail(at, 'no "ssl_certificate" for "ssl_certificate_key"');
  const pair = certificate === undefined || key === undefined ? undefined : { certificate, key };
  return { name, verify: verify === "on", trusted, pair };
}

function readHealthCheck(at: Directive): HealthCheckSetting {
  const times: Record<string, number | undefined> = {
    interval: 5000,
    jitter: 0,
    keepalive_time: 0,
    timeout: undefined,
  };
  const numbers: Record<string, number> = { fails: 1, passes: 1, port: 0 };
  const texts: Record<string, string | undefined> = {
    uri: "/",
    match: undefined,
    type: "http",
    grpc_service: undefined,
    grpc_status: undefined,
    quorum: undefined,
    observers: undefined,
  };
  let mandatory = false;
  at.args.forEach((arg, index) => {
    const [name, value] = split(arg);
    if (arg === "mandatory") mandatory = true;
    else if (arg === "persistent" && at.args[index - 1] === "mandatory") return;
    else if (!arg.includes("=") || value === "") invalid(at, arg);
    else if (Object.hasOwn(times, name)) {
      const time = parseMsec(value);
      if (time === undefined || (time === 0 && (name === "interval" || name === "timeout"))) invalid(at, arg);
      times[name] = time;
    } else if (Object.hasOwn(numbers, name)) {
      const number = parseNumber(value);
      if (!number || number > (name === "port" ? 65535 : 0x7fffffff)) invalid(at, arg);
      numbers[name] = number;
    } else if (Object.hasOwn(texts, name)) texts[name] = value;
    else invalid(at, arg);
  });
  const { type, uri = "/", match } = texts;
  if (type !== "http" && type !== "tcp" && type !== "grpc") invalid(at, `type=${type}`);
  if (type === "grpc" && (match !== undefined || texts.uri !== "/"))
    fail(at, `"type=grpc" and "${match === undefined ? "uri" : "match"}" do not go together`);
  if (!uri.startsWith("/") || /[\0-\x20\x7f]/.test(uri)) invalid(at, `uri=${uri}`);
  return {
    interval: times.interval ?? 5000,
    jitter: times.jitter ?? 0,
    keepaliveTime: times.keepalive_time ?? 0,
    timeout: times.timeout,
    fails: numbers.fails,
    passes: numbers.passes,
    port: numbers.port,
    uri,
    match,
    mandatory,
    type,
    grpc: readGrpc(at, type === "grpc", texts),
    sharing: readSharing(at, texts),
    directive: at,
  };
}

function split(arg: string): [string, string] {
  const equals = arg.indexOf("=");
  return equals === -1 ? [arg, ""] : [arg.slice(0, equals), arg.slice(equals + 1)];
}

function invalid(at: Directive, arg: string): never {
  return fail(at, `invalid parameter "${arg}"`);
}

/** `check` and what belongs to it: the upstream check module's directives, and Tengine's. */
export const check = defineDirectives("http_upstream_check", {
  check: directive<CheckSetting, undefined>({
    in: ["upstream"],
    args: [1, Number.POSITIVE_INFINITY],
    syntax:
      "interval=milliseconds [fall=count] [rise=count] [timeout=milliseconds] [default_down=true|false] [type=tcp|http|https|ssl_hello|mysql|ajp|fastcgi|uwsgi|scgi|grpc|grpcs] [port=port] [unique=true|false] [ssl_name=name] [ssl_verify=on|off] [ssl_trusted_certificate=file] [ssl_certificate=file ssl_certificate_key=file] [grpc_service=name] [grpc_status=code] [quorum=majority] [observers=number]",
    doc: "Checks the upstream's servers: `fall` failures in a row take a server out, `rise` passes bring it back. Where a parameter is left out: interval=30000 fall=5 rise=2 timeout=1000 default_down=true type=tcp. `port` checks another port of the same server (unix sockets ignore it); `unique=true` shares one check among upstreams that check an address in the same way. type=https is type=http after a TLS handshake: `ssl_name` is the name that the server is asked for, else the host name of `server`; `ssl_verify=on` has its certificate verified, with that name, against those in the file; `ssl_certificate` and `ssl_certificate_key` are shown to a server that wants a certificate. type=grpc calls grpc.health.v1.Health/Check for `grpc_service`, or for the server as a whole, and passes when the answer is SERVING; with `grpc_status` it passes when the call ends with that status instead, such as 12 of a server without that service. type=grpcs is the same over TLS. In a cluster, `quorum=majority` has the servers that balancing uses be those that most of the nodes find up, and `observers` has each server be checked by so many nodes only, whose findings the others use.",
    initial: () => undefined,
    repeat: true,
    read: (at, _scope, previous) => readCheck(at, previous),
  }),
  check_http_send: directive<string, undefined>({
    in: ["upstream"],
    args: [1, 1],
    syntax: "http_packet",
    doc: 'The request that type=http and type=https sends, with its line ends: `"HEAD / HTTP/1.0\\r\\n\\r\\n"`.',
    defaultText: '"GET / HTTP/1.0\\r\\n\\r\\n"',
    initial: () => undefined,
    repeat: true,
    read: (at) => at.args[0],
  }),
  check_http_expect_alive: bitmask({
    in: ["upstream"],
    values: ["http_1xx", "http_2xx", "http_3xx", "http_4xx", "http_5xx"],
    doc: "The classes of status codes that pass type=http, type=https, type=fastcgi, type=uwsgi and type=scgi. Without this directive checks of the last three pass with any status.",
    defaultText: "http_2xx http_3xx",
  }),
  check_http_expect_body: directive<NamedTest, undefined>({
    in: ["upstream"],
    args: [1, 2],
    syntax: "~ | ~* | !~ | !~* regex",
    doc: "What the response body of type=http and type=https must match (or must not): only its first 256k are examined. A single argument is text the body must contain.",
    initial: () => undefined,
    repeat: true,
    read: (at) => readBodyTest(at, at.args),
  }),
  check_keepalive_requests: directive<number>({
    in: ["upstream"],
    args: [1, 1],
    syntax: "number",
    doc: "How many requests of type=http and type=https are sent over one connection. The request must ask for keep-alive.",
    defaultText: "1",
    initial: () => 1,
    repeat: true,
    read: (at) => parseNumber(at.args[0]) || fail(at, '"check_keepalive_requests" directive invalid value'),
  }),
  check_fastcgi_param: {
    ...keyValues({
      in: ["upstream"],
      syntax: "parameter value",
      doc: "A parameter of the request that type=fastcgi sends.",
    }),
    defaultText: "REQUEST_METHOD GET, REQUEST_URI /, SCRIPT_FILENAME index.php",
  },
  check_uwsgi_param: {
    ...keyValues({
      in: ["upstream"],
      syntax: "parameter value",
      doc: "A parameter of the request that type=uwsgi sends.",
    }),
    defaultText: "those of a GET of / that WSGI requires",
  },
  check_scgi_param: {
    ...keyValues({
      in: ["upstream"],
      syntax: "parameter value",
      doc: "A parameter of the request that type=scgi sends, behind CONTENT_LENGTH 0.",
    }),
    defaultText: "SCGI 1, and those of a GET of /",
  },
  check_panic: directive<number>({
    in: ["upstream"],
    args: [1, 1],
    syntax: "off | percent%",
    doc: "When fewer than this percentage of the upstream's servers are up, requests are balanced over all of them rather than over the few (or none) that are left.",
    defaultText: "off",
    initial: () => 0,
    read(at) {
      if (at.args[0] === "off") return 0;
      const match = /^(\d{1,3})%$/.exec(at.args[0]);
      if (match === null || Number(match[1]) > 100)
        fail(at, `invalid value "${at.args[0]}", it must be "off" or a percentage`);
      return Number(match[1]);
    },
  }),
  check_shm_size: size({
    in: ["http"],
    default: 1024 * 1024,
    doc: "The least size of the shared memory of health states. It grows by itself where more servers are checked, so it need not be set.",
  }),
});

/** NGINX Plus's `health_check` and `match`. */
export const healthCheck = defineDirectives("http_upstream_hc", {
  health_check: directive<readonly HealthCheckSetting[]>({
    in: ["location"],
    args: [0, Number.POSITIVE_INFINITY],
    syntax:
      "[interval=time] [jitter=time] [fails=number] [passes=number] [uri=uri] [port=number] [match=name] [mandatory [persistent]] [type=http|tcp|grpc] [grpc_service=name] [grpc_status=code] [keepalive_time=time] [timeout=time] [quorum=majority] [observers=number]",
    doc: "Checks the servers of the upstream that this location's proxy_pass or grpc_pass names; type=grpc needs the latter. With `mandatory` a new server gets no requests before it has passed; states always persist over reloads. `timeout` bounds a whole check; without it proxy_connect_timeout and proxy_read_timeout do. `quorum` and `observers` are those of `check`.",
    initial: () => [],
    inherit: false,
    repeat: true,
    read(at, scope, previous = []) {
      reachesOut(scope, at);
      return [...previous, readHealthCheck(at)];
    },
  }),
  match: directive<ReadonlyMap<string, Match>>({
    in: ["http"],
    args: [1, 1],
    block: "free",
    syntax: "name { … }",
    doc: "Tests that the answer to a health check must pass: `status`, `header`, `body` and `require`, or `send` and `expect` for type=tcp.",
    initial: () => new Map(),
    repeat: true,
    read(at, _scope, previous = new Map()) {
      const [name] = at.args;
      if (previous.has(name)) fail(at, `duplicate match "${name}"`);
      if (at.block === undefined) wrongArguments(at);
      return new Map([...previous, [name, readMatch(at.block)]]);
    },
  }),
});
