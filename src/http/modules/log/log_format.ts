import { fail, type Scope } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { splitTemplate } from "../../../script/template.ts";
import { variableValue } from "../../../script/variables.ts";
import { iso8601, logTime, now } from "../../../sys/clock.ts";
import { escapeJson } from "../../../wire/escape.ts";
import type { Request } from "../../core/request.ts";
import { type Variable, type Variables, whenVariablesKnown } from "../../core/script.ts";
import { bodyBytesSent } from "../../variables/response.ts";

/** `escape=` of a log_format: how bytes are written that could forge a line or field. */
export type LogEscape = "default" | "json" | "none";

/** A compiled `log_format`. */
export class LogFormat {
  readonly name: string;
  /** Makes the line of a request, without line feed; a byte string. */
  render: (request: Request) => string;

  constructor(name: string) {
    this.name = name;
    this.render = () => "";
  }
}

export const COMBINED =
  '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"';

type Op = (request: Request) => string;

/** Variables of the log alone; they hide request variables of the same name. */
const LOG_ONLY: Readonly<Record<string, Op>> = {
  pipe: (request) => (request.connection.pipelined ? "p" : "."),
  time_local: logTime,
  time_iso8601: iso8601,
  msec: () => secondsOf(Date.now()),
  request_time: (request) => secondsOf(Math.floor(now() - request.startedAt)),
  status: statusOf,
  bytes_sent: (request) => String(request.connection.sent - request.sentAtStart),
  body_bytes_sent: (request) => String(bodyBytesSent(request)),
  request_length: (request) => String(request.length),
};

/** Variables whose values never need escaping, whatever a client sends. */
const PLAIN: ReadonlySet<string> = new Set(["remote_addr", "remote_port", "server_addr", "server_port", "connection"]);

function secondsOf(ms: number): string {
  const rest = ms % 1000;
  return `${Math.floor(ms / 1000)}.${rest < 10 ? "00" : rest < 100 ? "0" : ""}${rest}`;
}

const statuses: string[] = [];

function statusOf(request: Request): string {
  const status = request.errorStatus !== 0 ? request.errorStatus : request.response.status;
  const shown = status !== 0 ? status : request.version === 9 ? 9 : 0;
  statuses[shown] ??= String(shown).padStart(3, "0");
  return statuses[shown];
}

/** Reads a format's strings; variables are bound once all are known. */
export function logFormat(name: string, texts: readonly string[], at: Directive, scope: Scope): LogFormat {
  const format = new LogFormat(name);
  const written = escapeOf(texts[0], at);
  const parts = (written === undefined ? texts : texts.slice(1)).flatMap((text) => splitTemplate(text, at));
  whenVariablesKnown(scope, (variables) => {
    format.render = compile(
      parts.map((part) => {
        if ("literal" in part) return part.literal;
        // As in nginx `$1` is the name of a variable here, not a capture: there is none of that name.
        return opOf("capture" in part ? String(part.capture) : part.variable, variables, at, written ?? "default");
      }),
    );
  });
  return format;
}

function escapeOf(text: string, at: Directive): LogEscape | undefined {
  if (!text.startsWith("escape=")) return undefined;
  const written = text.slice("escape=".length);
  if (written === "default" || written === "json" || written === "none") return written;
  return fail(at, `unknown log format escaping "${written}"`);
}

function opOf(name: string, variables: Variables, at: Directive, written: LogEscape): Op {
  if (Object.hasOwn(LOG_ONLY, name)) return LOG_ONLY[name];
  const variable = variables.use(name, at);
  if (written === "none") return (request) => variableValue(request, variable) ?? "";
  if (written === "json") return (request) => escapeJson(variableValue(request, variable) ?? "");
  if (PLAIN.has(name)) return (request) => variableValue(request, variable) ?? "-";
  return escaped(variable);
}

/** Bytes written as `\xHH`. */
const UNSAFE = /["\\\x00-\x1f\x7f-\xff]/;
const EACH_UNSAFE = /["\\\x00-\x1f\x7f-\xff]/g;

function escaped(variable: Variable): Op {
  return (request) => {
    const value = variableValue(request, variable);
    if (value === undefined) return "-";
    return UNSAFE.test(value) ? value.replace(EACH_UNSAFE, hex) : value;
  };
}

function hex(byte: string): string {
  return `\\x${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}

/** Makes one function of the parts: values, each with the text behind it. */
function compile(parts: readonly (string | Op)[]): (request: Request) => string {
  let start = "";
  const ops: Op[] = [];
  const texts: string[] = [];
  for (const part of parts) {
    if (typeof part !== "string") {
      ops.push(part);
      texts.push("");
    } else if (ops.length === 0) {
      start += part;
    } else {
      texts[texts.length - 1] += part;
    }
  }
  return (request) => {
    let line = start;
    for (let i = 0; i < ops.length; i++) line += ops[i](request) + texts[i];
    return line;
  };
}
