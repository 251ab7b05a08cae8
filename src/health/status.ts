import type { BoundPlan } from "./plan.ts";
import { statusHtml } from "./status_html.ts";

export type StatusFormat = "html" | "csv" | "json";

/** A row of the status page. Strings are byte strings. */
export interface StatusRow {
  readonly index: number;
  readonly upstream: string;
  readonly name: string;
  readonly up: boolean;
  readonly rise: number;
  readonly fall: number;
  readonly type: string;
  /** `port=` of the check; 0: the server's own. */
  readonly port: number;
  /** Wall-clock ms since when it is up or down, and of the last check (0 before it). */
  readonly since: number;
  readonly checked: number;
  /** The last failed check, while it matters: when (wall-clock ms; 0: none) and why. */
  readonly failed: number;
  readonly reason: string;
}

/** All there is to show. `now`: wall-clock ms. */
export interface StatusReport {
  readonly rows: readonly StatusRow[];
  readonly generation: number;
  readonly now: number;
}

/** How long a failure is shown once its server is up and passes its checks again, ms. */
const FORGET = 3_600_000;

export interface StatusPage {
  readonly contentType: string;
  readonly body: string;
}

/** What a request may ask of the page. */
export interface StatusQuery {
  readonly format: StatusFormat;
  readonly status: "up" | "down" | undefined;
}

const FORMATS: Readonly<Record<StatusFormat, { readonly contentType: string; readonly write: Writer }>> = {
  html: { contentType: "text/html", write: statusHtml },
  csv: { contentType: "text/plain", write: csv },
  json: { contentType: "application/json", write: json },
};
/** `shown`: the rows that were asked for. */
type Writer = (shown: readonly StatusRow[], report: StatusReport, query: StatusQuery) => string;

/**
 * Reads `format=` and `status=` of a request's arguments (without "?"; a byte string). What is neither is passed to
 * `bad`, in the module's words, and ignored.
 */
export function statusQuery(args: string, format: StatusFormat, bad?: (message: string) => void): StatusQuery {
  const complain = (value: string) => bad?.(`http upstream check, bad argument: "${value}"`);
  let chosen = format;
  let status: StatusQuery["status"];
  const wanted = argument(args, "format");
  if (wanted === "html" || wanted === "csv" || wanted === "json") chosen = wanted;
  else if (wanted !== undefined) complain(wanted);
  const part = argument(args, "status");
  if (part !== undefined) {
    const word = part.toLowerCase();
    if (word === "up" || word === "down") status = word;
    else complain(part);
  }
  return { format: chosen, status };
}

/** As ngx_http_arg: the first argument of that name, in any case. */
function argument(args: string, name: string): string | undefined {
  for (const pair of args.split("&")) {
    const equals = pair.indexOf("=");
    if (equals === name.length && pair.slice(0, equals).toLowerCase() === name) return pair.slice(equals + 1);
  }
  return undefined;
}

/** The states of a plan's checks at `now` (wall-clock ms), in the order of the configuration. */
export function statusRows(plan: BoundPlan, now = Date.now()): StatusRow[] {
  return plan.checks.map(({ upstream, name, definition }, index) => {
    const { up, rise, fall, since, checked, failed, reason } = plan.states.read(plan.records[index]);
    const recovered = up && fall === 0 && now - failed > FORGET;
    const failure = recovered ? { failed: 0, reason: "" } : { failed, reason };
    const { type, port } = definition;
    return { index, upstream, name, up, rise, fall, type, port, since, checked, ...failure };
  });
}

/** The page, whose columns and fields begin with those that the upstream check module prints. */
export function statusPage(report: StatusReport, query: StatusQuery): StatusPage {
  const { status } = query;
  const shown = status === undefined ? report.rows : report.rows.filter(({ up }) => up === (status === "up"));
  const { contentType, write } = FORMATS[query.format];
  return { contentType, body: write(shown, report, query) };
}

/** A line a server, with the module's columns and no others: those who read it count them. */
function csv(rows: readonly StatusRow[]): string {
  return rows
    .map(({ index, upstream, name, up, rise, fall, type, port }) => {
      return `${index},${upstream},${name},${up ? "up" : "down"},${rise},${fall},${type},${port}\n`;
    })
    .join("");
}

function json(shown: readonly StatusRow[], { rows, generation }: StatusReport): string {
  const lines = shown.map(({ index, upstream, name, up, rise, fall, type, port, since, failed, reason }) => {
    const status = up ? "up" : "down";
    const module = `"index": ${index}, "upstream": ${quote(upstream)}, "name": ${quote(name)}, "status": "${status}", "rise": ${rise}, "fall": ${fall}, "type": "${type}", "port": ${port}`;
    return `    {${module}, "since": ${time(since)}, "failed": ${time(failed)}, "reason": ${quote(reason)}}`;
  });
  const list = lines.length === 0 ? "" : `${lines.join(",\n")}\n`;
  const up = rows.filter((row) => row.up).length;
  const counts = `  "total": ${shown.length},\n  "generation": ${generation},\n  "up": ${up},\n  "down": ${rows.length - up},\n`;
  return `{"servers": {\n${counts}  "server": [\n${list}  ]\n}}\n`;
}

/** A time as RFC 3339 has it, or null. */
function time(ms: number): string {
  return ms === 0 ? "null" : `"${new Date(ms).toISOString()}"`;
}

/** All but printable ASCII is escaped: bytes that are no UTF-8 text would make the whole page no JSON. */
function quote(text: string): string {
  const characters = Buffer.from(text, "latin1").toString("utf8");
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(characters).replace(/[^ -~]/g, escaped);
}
