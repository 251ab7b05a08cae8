import { fail, type Scope, scopesThatSet } from "../config/schema.ts";
import { parseMsec } from "../config/values.ts";
import type { Cycle } from "../runtime/cycle.ts";
import { MAX_VARIABLES, variable } from "../wire/uwsgi.ts";
import type { CheckDefinition, CheckType } from "./definition.ts";
import { type CheckSetting, check, type HealthCheckSetting, healthCheck } from "./directives.ts";
import type { Match } from "./match.ts";
import { CLASSES, DEFAULT_ALIVE, type ResponseTests, statusIn } from "./response.ts";
import type { Sharing } from "./sharing.ts";
import { checkTls, locationTls } from "./tls.ts";

const DEFAULT_SEND = "GET / HTTP/1.0\r\n\r\n";

type Params = CheckDefinition["params"];

const GET = [
  { key: "REQUEST_METHOD", value: "GET" },
  { key: "REQUEST_URI", value: "/" },
];
/** What an application may rely on (RFC 3875 section 4.1, PEP 3333). */
const GET_ROOT = [
  ...GET,
  { key: "PATH_INFO", value: "/" },
  { key: "QUERY_STRING", value: "" },
  { key: "SERVER_NAME", value: "localhost" },
  { key: "SERVER_PORT", value: "80" },
  { key: "SERVER_PROTOCOL", value: "HTTP/1.0" },
];
/** The parameters where none are given; types that have none are not here. */
const DEFAULT_PARAMS: Partial<Readonly<Record<CheckType, Params>>> = {
  fastcgi: [...GET, { key: "SCRIPT_FILENAME", value: "index.php" }],
  uwsgi: GET_ROOT,
  scgi: [{ key: "SCGI", value: "1" }, ...GET_ROOT],
};
const NO_TESTS: ResponseTests = { status: () => true, headers: [], body: [] };
/** proxy_connect_timeout and proxy_read_timeout where nothing sets them. */
const PROXY_TIMEOUT = 60_000;

/** The checks of each upstream by its name in lower case: its own `check` first, then those of locations that pass to it. */
export function checksOf(cycle: Cycle): Map<string, CheckDefinition[]> {
  const { root } = cycle;
  const checks = new Map<string, CheckDefinition[]>();
  const add = (upstream: string, definition: CheckDefinition) => {
    const list = checks.get(upstream);
    if (list === undefined) checks.set(upstream, [definition]);
    // Two locations with the same check of the same upstream are one check.
    else if (!list.some(({ identity }) => identity === definition.identity)) list.push(definition);
  };
  const upstreams = new Set<string>();
  const grouped = root.children.some(({ context }) => context === "cluster");
  const sharedAs = new Map<string, Sharing | undefined>();
  const agree = (upstream: string, { sharing, directive }: CheckSetting | HealthCheckSetting) => {
    const name = sharing?.quorum ? "quorum" : "observers";
    if (sharing !== undefined && !grouped) fail(directive, `"${name}" needs a "cluster" block: there is no other node`);
    const known = sharedAs.get(upstream);
    if (sharedAs.has(upstream) && (known?.quorum !== sharing?.quorum || known?.observers !== sharing?.observers))
      fail(directive, `all checks of upstream "${upstream}" must have the same "quorum" and "observers"`);
    sharedAs.set(upstream, sharing);
  };
  for (const scope of upstreamsIn(root)) {
    upstreams.add(nameOf(scope));
    const definition = ownCheck(scope, cycle);
    const setting = check.in(scope).check;
    if (setting !== undefined) agree(nameOf(scope), setting);
    if (definition !== undefined) add(nameOf(scope), definition);
  }
  for (const scope of scopesThatSet(root, healthCheck.specs.health_check)) {
    for (const setting of healthCheck.own(scope).health_check ?? []) {
      const pass = setting.type === "grpc" ? "grpc_pass" : "proxy_pass";
      const host = passesTo(scope, pass);
      if (host === undefined) {
        const typed = pass === "proxy_pass" && passesTo(scope, "grpc_pass") !== undefined;
        const hint = typed ? ', or "type=grpc" for its grpc_pass' : "";
        fail(setting.directive, `health_check needs a ${pass} to an upstream in its location${hint}`);
      }
      const upstream = host.toLowerCase();
      if (!upstreams.has(upstream)) fail(setting.directive, `no upstream "${host}" for health_check`);
      agree(upstream, setting);
      add(upstream, locationCheck(scope, setting, host));
    }
  }
  return checks;
}

/** check_panic of an upstream (its name in lower case), in percent. */
export function panicOf(root: Scope, upstream: string): number {
  const scope = upstreamsIn(root).findLast((block) => nameOf(block) === upstream);
  return scope === undefined ? 0 : check.in(scope).check_panic;
}

/** The upstream blocks. */
function upstreamsIn(root: Scope): readonly Scope[] {
  const blocks = root.children.filter(({ context }) => context === "http").flatMap(({ children }) => children);
  return blocks.filter(({ context }) => context === "upstream");
}

function nameOf(upstream: Scope): string {
  return (upstream.directive.args[0] ?? "").toLowerCase();
}

function ownCheck(scope: Scope, cycle: Cycle): CheckDefinition | undefined {
  const settings = check.in(scope);
  const base = settings.check;
  if (base === undefined) return undefined;
  const { type, interval, timeout, fall, rise, defaultDown, port, unique } = base;
  const http = type === "http" || type === "https";
  const send = http ? settings.check_http_send || DEFAULT_SEND : "";
  const classes = [...settings.check_http_expect_alive].reduce((bits, word) => bits | CLASSES[word], 0);
  const alive = classes || (http ? DEFAULT_ALIVE : 0);
  const body = http ? settings.check_http_expect_body : undefined;
  const params = paramsOf(settings, base);
  const judged = http || params.length > 0;
  const secure = type === "https" || type === "grpcs";
  const tlsText = secure ? [base.tls] : [];
  const grpcText = type === "grpc" || type === "grpcs" ? [base.grpc] : [];
  const expect: ResponseTests = !judged
    ? NO_TESTS
    : { status: alive === 0 ? () => true : statusIn(alive), headers: [], body: body === undefined ? [] : [body.test] };
  return {
    type,
    interval,
    timeout,
    fall,
    rise,
    defaultDown,
    port,
    unique,
    tls: secure ? checkTls(base, cycle) : undefined,
    grpc: base.grpc,
    ...(base.sharing === undefined ? {} : { sharing: base.sharing }),
    label: port === 0 ? type : `${type} port ${port}`,
    jitter: 0,
    keep: { requests: settings.check_keepalive_requests, time: 0 },
    send,
    expect,
    receive: undefined,
    params,
    identity: JSON.stringify([
      "check",
      type,
      port,
      send,
      judged ? alive : 0,
      body?.text ?? "",
      params,
      ...tlsText,
      ...grpcText,
    ]),
  };
}

/** The parameters of the request; empty for types without. */
function paramsOf(settings: ReturnType<typeof check.in>, { type, directive }: CheckSetting): Params {
  const { check_fastcgi_param: fastcgi, check_uwsgi_param: uwsgi, check_scgi_param: scgi } = settings;
  const given: Partial<Record<CheckType, Params>> = { fastcgi, uwsgi, scgi };
  const own = given[type] ?? [];
  const params = own.length > 0 ? own : (DEFAULT_PARAMS[type] ?? []);
  const length = params.reduce((sum, { key, value }) => sum + variable(key, value).length, 0);
  if (type === "uwsgi" && length > MAX_VARIABLES)
    fail(directive, `the parameters of a uwsgi check are too big: ${length}`);
  return params;
}

function locationCheck(scope: Scope, setting: HealthCheckSetting, host: string): CheckDefinition {
  const { interval, jitter, fails, passes, port, type, keepaliveTime, mandatory } = setting;
  const match = matchOf(scope, setting);
  const keep = { requests: 1, time: keepaliveTime };
  const prefix = type === "grpc" ? "grpc" : "proxy";
  const connect = proxyTime(scope, `${prefix}_connect_timeout`);
  const timeout = setting.timeout ?? Math.max(connect, proxyTime(scope, `${prefix}_read_timeout`));
  const http = type === "http";
  const send = http ? request(scope, setting.uri, host, keepaliveTime > 0) : (match?.send ?? "");
  const tls = type === "tcp" ? undefined : locationTls(scope, host);
  const asked = type === "grpc" ? setting.grpc : (match?.text ?? null);
  const identity = ["health_check", type, port, send, asked];
  const expect = !http ? NO_TESTS : (match ?? { ...NO_TESTS, status: statusIn(DEFAULT_ALIVE) });
  return {
    type,
    ...(setting.sharing === undefined ? {} : { sharing: setting.sharing }),
    grpc: setting.grpc,
    label: http ? `health_check ${setting.uri}` : `health_check type=${type}`,
    interval,
    jitter,
    timeout,
    fall: fails,
    rise: passes,
    defaultDown: mandatory,
    port,
    unique: false,
    keep,
    send,
    expect,
    tls,
    receive: type === "tcp" ? match?.expect : undefined,
    params: [],
    identity: JSON.stringify(tls === undefined ? identity : [...identity, tls.name, tls.sendsName, tls.verifies]),
  };
}

function matchOf(scope: Scope, { match, directive }: HealthCheckSetting): Match | undefined {
  if (match === undefined) return undefined;
  return healthCheck.in(scope).match.get(match) ?? fail(directive, `match "${match}" is not found`);
}

/** The request, with the location's proxy_set_header lines; $proxy_host is the only variable with a value. */
function request(scope: Scope, uri: string, host: string, keep: boolean): string {
  const lines = new Map([
    ["host", `Host: ${host}`],
    ["user-agent", "User-Agent: holdfast (health check)"],
  ]);
  for (const [name, text] of setHeaders(scope)) {
    const value = text.replace(/\$\{?(\w+)\}?/g, (_, variable: string) => (variable === "proxy_host" ? host : ""));
    if (value === "") lines.delete(name.toLowerCase());
    else lines.set(name.toLowerCase(), `${name}: ${value}`);
  }
  // HTTP/1.1 servers refuse a request without Host.
  if (!lines.has("host")) lines.set("host", `Host: ${host}`);
  lines.set("connection", `Connection: ${keep ? "keep-alive" : "close"}`);
  return `GET ${uri} HTTP/1.1\r\n${[...lines.values()].join("\r\n")}\r\n\r\n`;
}

/** The nearest scope's proxy_set_header lines; an inner list replaces an outer one. */
function setHeaders(scope: Scope): (readonly [string, string])[] {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    const lines = named(at, "proxy_set_header");
    if (lines.length > 0) return lines.map(({ args }) => [args[0], args[1] ?? ""]);
  }
  return [];
}

function proxyTime(scope: Scope, name: string): number {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    const text = named(at, name).at(-1)?.args[0];
    if (text !== undefined) return parseMsec(text) ?? PROXY_TIMEOUT;
  }
  return PROXY_TIMEOUT;
}

/** The host of the location's own proxy_pass or grpc_pass. */
function passesTo(scope: Scope, pass: "proxy_pass" | "grpc_pass"): string | undefined {
  const url = named(scope, pass).at(-1)?.args[0];
  if (url === undefined) return undefined;
  return (pass === "proxy_pass" ? /^https?:\/\/([^/?#$]+)/i : /^(?:grpcs?:\/\/)?([^/?#$]+)$/i).exec(url)?.[1];
}

function named(scope: Scope, name: string): { readonly args: readonly string[] }[] {
  return scope.order.filter(({ directive }) => directive.name === name).map(({ directive }) => directive);
}
