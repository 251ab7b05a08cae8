import type { BoundPlan } from "./plan.ts";

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
  /** Why the last failed check failed; "" when none has. */
  readonly reason: string;
}

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
  html: { contentType: "text/html", write: html },
  csv: { contentType: "text/plain", write: csv },
  json: { contentType: "application/json", write: json },
};
type Writer = (rows: readonly StatusRow[], generation: number) => string;

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

/** The states of a plan's checks now, in the order of the configuration. */
export function statusRows(plan: BoundPlan): StatusRow[] {
  return plan.checks.map(({ upstream, name, definition }, index) => {
    const { up, rise, fall, reason } = plan.states.read(plan.records[index]);
    return { index, upstream, name, up, rise, fall, type: definition.type, port: definition.port, reason };
  });
}

/** The page: columns and fields as the upstream check module prints them, then the last failure's reason. */
export function statusPage(rows: readonly StatusRow[], generation: number, query: StatusQuery): StatusPage {
  const { status } = query;
  const shown = status === undefined ? rows : rows.filter(({ up }) => up === (status === "up"));
  const { contentType, write } = FORMATS[query.format];
  return { contentType, body: write(shown, generation) };
}

const COLUMNS = [
  "Index",
  "Upstream",
  "Name",
  "Status",
  "Rise counts",
  "Fall counts",
  "Check type",
  "Check port",
  "Last failure",
];

/** The cells are bare, as the module's: scripts look for `<td>down</td>` and `bgcolor="#FF0000"`. */
const STYLE = `
  body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }
  h1 { font-size: 1.4em; margin: 0 } h2 { font-size: 1em; font-weight: normal; color: #666 }
  table { border-collapse: collapse } th, td { padding: .35em .8em; border: 1px solid #ccc; text-align: left }
  th { background: #eee } td:nth-child(4) { font-weight: 600 } tr[bgcolor] td { background: #c62828; color: #fff }
  td:nth-child(1), td:nth-child(5), td:nth-child(6), td:nth-child(8) { text-align: right; font-variant-numeric: tabular-nums }
`;

function html(rows: readonly StatusRow[], generation: number): string {
  const lines = rows.map(({ index, upstream, name, up, rise, fall, type, port, reason }) => {
    const cells = [index, upstream, name, up ? "up" : "down", rise, fall, type, port, reason];
    const text = cells.map((cell) => `    <td>${escapeHtml(String(cell))}</td>\n`).join("");
    return `  <tr${up ? "" : ' bgcolor="#FF0000"'}>\n${text}  </tr>\n`;
  });
  return `<!DOCTYPE html>
<html>
<head>
  <meta charset="utf-8">
  <title>Holdfast http upstream check status</title>
  <style>${STYLE}</style>
</head>
<body>
<h1>Holdfast http upstream check status</h1>
<h2>Check upstream server number: ${rows.length}, generation: ${generation}</h2>
<table>
  <tr>
${COLUMNS.map((column) => `    <th>${column}</th>\n`).join("")}  </tr>
${lines.join("")}</table>
</body>
</html>
`;
}

/** A line a server. Only the last column may need quoting: the module's own columns hold no comma. */
function csv(rows: readonly StatusRow[]): string {
  return rows
    .map(({ index, upstream, name, up, rise, fall, type, port, reason }) => {
      const last = /[",\r\n]/.test(reason) ? `"${reason.replace(/[\r\n]+/g, " ").replaceAll('"', '""')}"` : reason;
      return `${index},${upstream},${name},${up ? "up" : "down"},${rise},${fall},${type},${port},${last}\n`;
    })
    .join("");
}

function json(rows: readonly StatusRow[], generation: number): string {
  const lines = rows.map(({ index, upstream, name, up, rise, fall, type, port, reason }) => {
    const status = up ? "up" : "down";
    return `    {"index": ${index}, "upstream": ${quote(upstream)}, "name": ${quote(name)}, "status": "${status}", "rise": ${rise}, "fall": ${fall}, "type": "${type}", "port": ${port}, "reason": ${quote(reason)}}`;
  });
  const list = lines.length === 0 ? "" : `${lines.join(",\n")}\n`;
  return `{"servers": {\n  "total": ${rows.length},\n  "generation": ${generation},\n  "server": [\n${list}  ]\n}}\n`;
}

/** All but printable ASCII is escaped: bytes that are no UTF-8 text would make the whole page no JSON. */
function quote(text: string): string {
  const characters = Buffer.from(text, "latin1").toString("utf8");
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(characters).replace(/[^ -~]/g, escaped);
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

function escapeHtml(text: string): string {
  return text
    .replace(/[&<>"]/g, (character) => ENTITIES[character])
    .replace(/\p{Cc}/gu, (unit) => (unit < " " ? "?" : unit));
}
