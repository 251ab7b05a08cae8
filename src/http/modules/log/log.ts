import { directive, list } from "../../../config/directives.ts";
import { fail, reachesOut, type Scope, scopesThatSet, valueIn } from "../../../config/schema.ts";
import type { Context, Directive } from "../../../config/types.ts";
import { parseMsec, parseNumber, parseSec, parseSize } from "../../../config/values.ts";
import type { HostWanted } from "../../../runtime/application.ts";
import type { LogBuffer } from "../../../runtime/log/log_files.ts";
import { parseSyslog, type SyslogServer } from "../../../runtime/log/syslog.ts";
import { constantOf, splitTemplate } from "../../../script/template.ts";
import { HTTP, HTTP_IF, HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule, type HttpBuild } from "../../conf/module.ts";
import { type Template, template } from "../../core/script.ts";
import type { Handler } from "../../core/types.ts";
import { type AccessLog, type LogTarget, logHandler } from "./access_log.ts";
import type { LogFileCache } from "./log_file_cache.ts";
import { COMBINED, LogFormat, logFormat } from "./log_format.ts";

/** One `access_log` as written. */
interface Written {
  readonly to: string | Template | SyslogServer;
  readonly format: LogFormat;
  readonly buffer: LogBuffer | undefined;
  readonly condition: Template | undefined;
}

/** The access logs of one block; `off` discards them. */
interface AccessLogs {
  readonly off: boolean;
  readonly logs: readonly Written[];
}

const DEFAULT_PATH = "logs/access.log";
const ACCESS_LOG: readonly Context[] = [...HTTP_IF, "limit_except"];

const specs = {
  log_format: list<LogFormat>({
    in: HTTP,
    args: [2, Number.POSITIVE_INFINITY],
    syntax: "name [escape=default|json|none] string ...",
    doc: "A line of the access log: text with variables. `combined` is always there.",
    defaultText: 'combined "..."',
    item(at, scope) {
      const [name, ...texts] = at.args;
      if (name === "combined" || valueIn(scope, specs.log_format).some((format) => format.name === name)) {
        fail(at, `duplicate "log_format" name "${name}"`);
      }
      return logFormat(name, texts, at, scope);
    },
  }),
  access_log: directive<AccessLogs | undefined>({
    in: ACCESS_LOG,
    args: [1, Number.POSITIVE_INFINITY],
    syntax: "path [format [buffer=size] [gzip[=level]] [flush=time] [if=condition]] | off",
    doc: "Where requests are logged and how; the path may hold variables or be `syslog:…`. Several may stand side by side.",
    initial: () => undefined,
    defaultText: "logs/access.log combined",
    repeat: true,
    read(at, scope, previous = { off: false, logs: [] }) {
      if (at.args[0] !== "off") return { ...previous, logs: [...previous.logs, readAccessLog(at, scope)] };
      if (at.args.length > 1) fail(at, `invalid parameter "${at.args[1]}"`);
      return { ...previous, off: true };
    },
  }),
  open_log_file_cache: directive<LogFileCache | undefined>({
    in: HTTP_LOCATION,
    args: [1, 4],
    syntax: "max=N [inactive=time] [min_uses=N] [valid=time] | off",
    doc: "Keeps log files whose names hold variables open: so many, until unused for so long (10s), looked at anew so often (60s).",
    initial: () => undefined,
    defaultText: "off",
    read: readCache,
  }),
};

function readCache(at: Directive): LogFileCache | undefined {
  let max = 0;
  let inactive = 10_000;
  let valid = 60_000;
  let minUses = 1;
  let off = false;
  for (const arg of at.args) {
    const refused = (): never => fail(at, `invalid "open_log_file_cache" parameter "${arg}"`);
    const { key, value = "" } = split(arg);
    if (key === "max") max = parseNumber(value) ?? refused();
    else if (key === "min_uses") minUses = parseNumber(value) ?? refused();
    else if (key === "inactive") inactive = (parseSec(value) ?? refused()) * 1000;
    else if (key === "valid") valid = (parseSec(value) ?? refused()) * 1000;
    else if (arg === "off") off = true;
    else refused();
  }
  if (off) return undefined;
  if (max === 0) fail(at, '"open_log_file_cache" must have "max" parameter');
  return { max, inactive, valid, minUses };
}

/** ngx_http_log_module. */
export const log = defineModule({
  name: "http_log",
  directives: specs,
  hosts: accessLogHosts,
  build({ access_log: set, open_log_file_cache: cache }, { http, scope }): Handler | undefined {
    if (set?.off) return undefined;
    const written = set?.logs ?? [byDefault(scope)];
    const logs = written.map(
      ({ to, buffer, format, condition }): AccessLog => ({
        target: targetOf(to, buffer, cache, http),
        format,
        condition,
      }),
    );
    return logHandler(logs, http.cycle.data.hosts);
  },
  log: (handler) => handler,
});

function byDefault(scope: Scope): Written {
  return { to: DEFAULT_PATH, format: combined(scope.directive, scope), buffer: undefined, condition: undefined };
}

function targetOf(
  to: Written["to"],
  buffer: LogBuffer | undefined,
  cache: LogFileCache | undefined,
  http: HttpBuild,
): LogTarget {
  const { cycle } = http;
  if (typeof to === "string") {
    const path = cycle.path(to);
    http.logFiles.add(path);
    return { to: "file", path, buffer: buffer ?? buffersOf(http.scope).get(to) };
  }
  if ("render" in to) return { to: "varying file", path: to, absolute: (path) => cycle.path(path), cache };
  return { to: "syslog", server: to };
}

function readAccessLog(at: Directive, scope: Scope): Written {
  const [path, name = "combined", ...parameters] = at.args;
  const to = readTarget(path, at, scope);
  const format = formatNamed(name, at, scope);
  let size = 0;
  let flush = 0;
  let gzip = 0;
  let condition: Template | undefined;
  for (const parameter of parameters) {
    const { key, value } = split(parameter);
    if (key === "buffer" && value !== undefined) {
      size = parseSize(value) || fail(at, `invalid buffer size "${value}"`);
    } else if (key === "flush" && value !== undefined) {
      flush = parseMsec(value) || fail(at, `invalid flush time "${value}"`);
    } else if (key === "gzip") {
      if (size === 0) size = 64 * 1024;
      gzip = value === undefined ? 1 : Number(value);
      if (!/^[1-9]$/.test(value ?? "1")) fail(at, `invalid compression level "${value}"`);
    } else if (key === "if" && value !== undefined) {
      condition = template(scope, at, value);
    } else {
      fail(at, `invalid parameter "${parameter}"`);
    }
  }
  if (flush > 0 && size === 0) fail(at, `no buffer is defined for access_log "${path}"`);
  if (size === 0) return { to, format, buffer: undefined, condition };
  if (typeof to !== "string") {
    return fail(
      at,
      "render" in to ? "buffered logs cannot have variables in name" : "logs to syslog cannot be buffered",
    );
  }
  return { to, format, buffer: shared(to, { size, flush, gzip }, at, scope), condition };
}

function split(parameter: string): { readonly key: string; readonly value: string | undefined } {
  const at = parameter.indexOf("=");
  return at < 0
    ? { key: parameter, value: undefined }
    : { key: parameter.slice(0, at), value: parameter.slice(at + 1) };
}

function readTarget(path: string, at: Directive, scope: Scope): Written["to"] {
  if (path.startsWith("syslog:")) return parseSyslog(at);
  return constantOf(splitTemplate(path, at)) ?? template(scope, at, path);
}

function formatNamed(name: string, at: Directive, scope: Scope): LogFormat {
  if (name.toLowerCase() === "combined") return combined(at, scope);
  const known = valueIn(scope, specs.log_format);
  return (
    known.find((format) => format.name.toLowerCase() === name.toLowerCase()) ?? fail(at, `unknown log format "${name}"`)
  );
}

const COMBINED_FORMAT = Symbol("combined");
const BUFFERS = Symbol("log buffers");

function combined(at: Directive, scope: Scope): LogFormat {
  const known = scope.notes.get(COMBINED_FORMAT);
  if (known instanceof LogFormat) return known;
  const made = logFormat("combined", [COMBINED], at, scope);
  scope.notes.set(COMBINED_FORMAT, made);
  return made;
}

/** The buffers of the configuration by path: all access_logs to a file share one. */
function buffersOf(scope: Scope): Map<string, LogBuffer> {
  const known = scope.notes.get(BUFFERS);
  if (known instanceof Map) return known;
  const made = new Map<string, LogBuffer>();
  scope.notes.set(BUFFERS, made);
  return made;
}

function shared(path: string, buffer: LogBuffer, at: Directive, scope: Scope): LogBuffer {
  const buffers = buffersOf(scope);
  const known = buffers.get(path);
  if (
    known !== undefined &&
    (known.size !== buffer.size || known.flush !== buffer.flush || known.gzip !== buffer.gzip)
  ) {
    fail(at, `access_log "${path}" already defined with conflicting parameters`);
  }
  buffers.set(path, buffer);
  reachesOut(scope, at);
  return buffer;
}

/** Names of syslog servers, to be looked up before the tree is built. */
function accessLogHosts(http: Scope): HostWanted[] {
  const wanted: HostWanted[] = [];
  for (const scope of scopesThatSet(http, specs.access_log)) {
    for (const { to } of valueIn(scope, specs.access_log)?.logs ?? []) {
      if (typeof to === "string" || "render" in to || "family" in to.server) continue;
      const { file, line } = scope.places.get(specs.access_log) ?? scope.directive;
      wanted.push({ host: to.server.host, file, line, error: `host not found in syslog server "${to.name}"` });
    }
  }
  return wanted;
}
