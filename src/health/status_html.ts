import { html, moment, PAGE_STYLE, pageHtml, REFRESH } from "../http/core/page.ts";
import type { StatusQuery, StatusReport, StatusRow } from "./status.ts";
import { CERTIFICATES_STYLE, certificatesTable } from "./status_certificates.ts";
import { age, failure } from "./status_text.ts";

/** The first eight are the module's. */
const COLUMNS = [
  "Index",
  "Upstream",
  "Name",
  "Status",
  "Rise counts",
  "Fall counts",
  "Check type",
  "Check port",
  "For",
  "Last failure",
];

/**
 * The table's cells are bare, as the module's: scripts look for `<td>down</td>` and `bgcolor="#FF0000"`. So the styles go
 * by a cell's place. On a narrow screen a row becomes a card; on a wide one (a television on a wall) everything grows.
 */
const STYLE = `${PAGE_STYLE}
  .totals { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1.1rem 0; padding: 0; list-style: none }
  .totals li { flex: 1 1 5rem; max-width: 16rem }
  .totals a { display: block; padding: .5rem 1rem .6rem; border: 1px solid var(--line); border-radius: .6rem; background: var(--card);
    color: var(--soft); text-decoration: none; font-size: .9rem }
  .totals b { display: block; font-size: 2.2rem; line-height: 1.2; color: var(--ink); font-variant-numeric: tabular-nums }
  .totals a[aria-current] { box-shadow: 0 0 0 2px var(--soft) }
  .totals .up b { color: var(--up) }
  .totals .all { background: var(--up-soft); border-color: var(--up) }
  .totals .some { background: var(--down-soft); border-color: var(--down); color: var(--down) } .totals .some b { color: inherit }
  table { width: 100%; border-collapse: separate; border-spacing: 0; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; overflow: hidden }
  th, td { padding: .5rem .8rem; text-align: left; vertical-align: baseline; border-top: 1px solid var(--line) }
  th { border-top: 0; font-size: .82rem; font-weight: 600; color: var(--soft); vertical-align: bottom }
  td { font-variant-numeric: tabular-nums } td:nth-child(3) { font-weight: 600; min-width: 11rem; overflow-wrap: anywhere } td:nth-child(10) { overflow-wrap: anywhere }
  td:nth-child(1), td:nth-child(5), td:nth-child(6), td:nth-child(8), th:nth-child(1), th:nth-child(5), th:nth-child(6), th:nth-child(8) { text-align: right }
  td:nth-child(4) { font-weight: 700; color: var(--up); white-space: nowrap } td:nth-child(4)::before { content: "\\25B2\\A0" } td:nth-child(9) { white-space: nowrap }
  tr[bgcolor] td { background: var(--down-soft) } tr[bgcolor] td:nth-child(4) { color: var(--down) } tr[bgcolor] td:nth-child(4)::before { content: "\\25BC\\A0" }
  tr[bgcolor] td:first-child { box-shadow: inset .3rem 0 var(--down) }
  small { color: var(--soft); white-space: nowrap } .none { padding: 1rem; color: var(--soft) }
  @media (max-width: 1000px) {
    table, tbody { display: block; background: none; border: 0; overflow: visible } tr:first-child { display: none }
    tr { display: grid; grid-template-columns: 1fr 1fr auto; gap: .1rem .8rem; margin-bottom: .6rem; padding: .7rem .9rem; background: var(--card);
      border: 1px solid var(--line); border-radius: .6rem }
    tr[bgcolor] { background: var(--down-soft); border-color: var(--down); border-left-width: .4rem }
    td { display: block; padding: 0; border: 0; font-size: .9rem } tr[bgcolor] td { background: none } tr[bgcolor] td:first-child { box-shadow: none }
    td:nth-child(1) { display: none } td:nth-child(3) { order: 1; grid-column: 1 / 3; min-width: 0; font-size: 1.05rem } td:nth-child(4) { order: 2; font-size: 1.05rem; text-align: right }
    td:nth-child(2) { order: 3; grid-column: 1 / 3; color: var(--soft) } td:nth-child(9) { order: 4; text-align: right; color: var(--soft) }
    td:nth-child(10) { order: 5; grid-column: 1 / 4 } td:nth-child(10):empty { display: none }
    td:nth-child(n+5):nth-child(-n+8) { order: 6; color: var(--soft); font-size: .82rem }
    td:nth-child(5), td:nth-child(6) { text-align: left } td:nth-child(7) { text-align: right }
    td:nth-child(5)::before { content: "rise " } td:nth-child(6)::before { content: "fall " } td:nth-child(7)::before { content: "check " }
    td:nth-child(9)::before { content: "for " } td:nth-child(8) { display: none }
  }
`;

/** The page of all states. All text in it is escaped. */
export function statusHtml(
  shown: readonly StatusRow[],
  { rows, certificates, generation, now }: StatusReport,
  query: StatusQuery,
): string {
  const down = rows.filter((row) => !row.up).length;
  const more = certificates.length > 0;
  return pageHtml(
    `${down === 0 ? "" : `${down} down – `}Holdfast http upstream check status`,
    `${STYLE}${more ? CERTIFICATES_STYLE : ""}`,
    `<h1>Holdfast http upstream check status</h1>
<h2>Check upstream server number: ${shown.length}, generation: ${generation}</h2>
<p class="made">Made ${moment(now)}, again every ${REFRESH} s</p>
${rows.length === 0 && more ? "" : servers(shown, rows, query, now)}${more ? certificatesTable(certificates, now) : ""}`,
  );
}

function servers(shown: readonly StatusRow[], rows: readonly StatusRow[], query: StatusQuery, now: number): string {
  const up = rows.filter((row) => row.up).length;
  const down = rows.length - up;
  const head = COLUMNS.map((column) => `    <th>${column}</th>\n`).join("");
  return `<ul class="totals">
  <li>${total("", "", up + down, up + down === 1 ? "server" : "servers", query)}</li>
  <li>${total("up", down === 0 ? "up all" : "up", up, "up", query)}</li>
  <li>${total("down", down === 0 ? "" : "some", down, "down", query)}</li>
</ul>
${shown.length === 0 ? `<p class="none">No server is ${query.status}.</p>\n` : ""}<table>
  <tr>
${head}  </tr>
${shown.map((row) => line(row, now)).join("")}</table>
`;
}

/** A total, linked to the list of its servers. */
function total(status: string, style: string, count: number, what: string, query: StatusQuery): string {
  const here = (query.status ?? "") === status ? ' aria-current="true"' : "";
  const args = status === "" ? "?format=html" : `?format=html&amp;status=${status}`;
  return `<a href="${args}"${style === "" ? "" : ` class="${style}"`}${here}><b>${count}</b>${what}</a>`;
}

function line(row: StatusRow, now: number): string {
  const { index, upstream, name, up, rise, fall, type, port, since, checked, failed, reason, decided } = row;
  const cells = [index, upstream, name, up ? "up" : "down", rise, fall, type, port].map(String).map(html);
  const lasted = checked === 0 ? "unchecked" : age(since, now);
  const why = [decided === "" ? "" : `<b>${decided}</b>`, reason === "" ? "" : failure(reason, failed, now)];
  const texts = [...cells, lasted, why.filter((text) => text !== "").join(" ")];
  const text = texts.map((cell) => `    <td>${cell}</td>\n`).join("");
  return `  <tr${up ? "" : ' bgcolor="#FF0000"'}>\n${text}  </tr>\n`;
}
