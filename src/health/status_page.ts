import type { CertificateStatus } from "../http/conf/module.ts";
import type { StatusFormat, StatusQuery, StatusReport, StatusRow } from "./status.ts";
import { statusHtml } from "./status_html.ts";

export interface StatusPage {
  readonly contentType: string;
  readonly body: string;
}

const FORMATS: Readonly<Record<StatusFormat, { readonly contentType: string; readonly write: Writer }>> = {
  html: { contentType: "text/html", write: statusHtml },
  csv: { contentType: "text/plain", write: csv },
  json: { contentType: "application/json", write: json },
};
/** `shown`: the rows that were asked for. */
type Writer = (shown: readonly StatusRow[], report: StatusReport, query: StatusQuery) => string;

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

function json(shown: readonly StatusRow[], { rows, certificates, generation }: StatusReport): string {
  const lines = shown.map(({ index, upstream, name, up, rise, fall, type, port, since, failed, reason, decided }) => {
    const status = up ? "up" : "down";
    const more = decided === "" ? "" : `, "decided": ${quote(decided)}`;
    const module = `"index": ${index}, "upstream": ${quote(upstream)}, "name": ${quote(name)}, "status": "${status}", "rise": ${rise}, "fall": ${fall}, "type": "${type}", "port": ${port}`;
    return `    {${module}, "since": ${time(since)}, "failed": ${time(failed)}, "reason": ${quote(reason)}${more}}`;
  });
  const list = lines.length === 0 ? "" : `${lines.join(",\n")}\n`;
  const up = rows.filter((row) => row.up).length;
  const counts = `  "total": ${shown.length},\n  "generation": ${generation},\n  "up": ${up},\n  "down": ${rows.length - up},\n`;
  return `{"servers": {\n${counts}  "server": [\n${list}  ]\n}${certificatesJson(certificates)}}\n`;
}

/** A further member where there are any. */
function certificatesJson(certificates: readonly CertificateStatus[]): string {
  if (certificates.length === 0) return "";
  const lines = certificates.map(({ names, issuer, state, expires, next, failed, reason }) => {
    const who = `"names": [${names.map(quote).join(", ")}], "issuer": ${quote(issuer)}`;
    return `  {${who}, "state": "${state}", "expires": ${time(expires)}, "next": ${time(next)}, "failed": ${time(failed)}, "reason": ${quote(reason)}}`;
  });
  return `, "certificates": [\n${lines.join(",\n")}\n]`;
}

/** A time as RFC 3339 has it, or null. */
function time(ms: number): string {
  return ms === 0 || !Number.isFinite(ms) ? "null" : `"${new Date(ms).toISOString()}"`;
}

/** All but printable ASCII is escaped: bytes that are no UTF-8 text would make the whole page no JSON. */
function quote(text: string): string {
  const characters = Buffer.from(text, "latin1").toString("utf8");
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(characters).replace(/[^ -~]/g, escaped);
}
