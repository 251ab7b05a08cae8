import { duration } from "../../health/change.ts";
import { html, moment, PAGE_STYLE, pageHtml, REFRESH } from "../../http/core/page.ts";
import type { Opinion } from "../group/opinions.ts";
import type { Matrix, NodeRow, Seen, ServerRow } from "../matrix.ts";
import { wordOf } from "../report/report.ts";
import { refusedBatches } from "../sync/store_row.ts";
import { STYLE } from "./status_style.ts";
import { troubles } from "./words.ts";

/** Of an upstream with more servers than this only those are shown that are not up for all. */
const MANY = 24;
/** Names of columns stand upright from so many columns on. */
const UPRIGHT = 5;

/** What is shown of large upstreams. */
export interface PageQuery {
  readonly all: boolean;
}

/** The page of the matrix. All text in it is escaped. */
export function statusHtml(matrix: Matrix, query: PageQuery): string {
  const { cluster, self, at, nodes, servers, differences } = matrix;
  const wrong = troubles(matrix);
  const observers = nodes.filter(({ facts }) => facts !== undefined);
  const counts = `${nodes.length} nodes, ${servers.length} ${servers.length === 1 ? "server" : "servers"}`;
  return pageHtml(
    `${wrong.length === 0 ? "" : `${wrong.length} × `}Holdfast cluster ${html(cluster)}`,
    `${PAGE_STYLE}${STYLE}`,
    `<h1>Cluster ${html(cluster)} as ${html(self)} sees it</h1>
<p class="made">${counts}, made ${moment(at)}, again every ${REFRESH} s</p>
${words(wrong, differences)}
<section>
<h2>Nodes</h2>
<table class="nodes">
<thead><tr><th>Node</th><th>State</th><th>Reached by</th><th>Version</th><th>Configuration</th><th>Clock</th><th>Load</th><th>Protocol</th>${matrix.addresses.length > 0 ? "<th>Holds</th>" : ""}</tr></thead>
<tbody>
${nodes.map((node) => nodeLine(node, matrix)).join("")}</tbody>
</table>
</section>
<section>
<h2>Which node reaches which</h2>
${grid(observers, nodes, { name: ({ name }) => name, corner: "observer", none: ({ name }, row) => row.name === name })}
</section>
${upstreams(matrix, observers, query)}${LEGEND}${storeSection(matrix)}`,
  );
}

const LEGEND = `<p class="legend"><span><i class="u">✓</i> up</span> <span><i class="d">✕</i> down</span> <span><i class="q">?</i> no verdict yet</span>
<span><i></i> does not check it</span> Rows are observers, columns are what they observe. A node that this one does not hear has no row.</p>
`;

function storeSection({ store, at }: Matrix): string {
  if (store === undefined) return "";
  const { connected, since, reason, shared, sent, received, missed } = store;
  const lasted = ` <small>for ${duration(Math.max(0, at - since))}</small>`;
  const state = connected ? "connected" : "away";
  const cells: readonly (readonly [label: string, text: string])[] = [
    ["Shares", shared.map((topic) => `<code>${html(topic)}</code>`).join("<br>")],
    ["Sent", count(sent)],
    ["Received", count(received)],
    ["Missed", count(missed)],
    ["Refused", count(refusedBatches(store))],
  ];
  const head = cells.map(([label]) => `<th>${label}</th>`).join("");
  const rest = cells.map(([label, text]) => `<td data-is="${label}">${text}</td>`).join("");
  const why = connected || reason === "" ? "" : ` <small>${html(reason)}</small>`;
  return `<section>
<h2>What this node shares</h2>
<table class="nodes">
<thead><tr><th>Store</th><th>State</th>${head}</tr></thead>
<tbody>
<tr class="${connected ? "serving" : "down"}"><th scope="row">${html(store.store)}</th><td class="state"><b>${state}</b>${lasted}${why}</td>${rest}</tr>
</tbody>
</table>
</section>
`;
}

function words(wrong: readonly string[], differences: readonly string[]): string {
  const list = (style: string, all: readonly string[]) =>
    all.length === 0 ? "" : `<ul class="${style}">\n${all.map((one) => `  <li>${html(one)}</li>\n`).join("")}</ul>\n`;
  const good = wrong.length === 0 ? '<p class="good">All that are checked are up, for all nodes.</p>\n' : "";
  return `${good}${list("wrong", wrong)}${list("apart", differences)}`;
}

// ---- nodes

function nodeLine(node: NodeRow, { at, addresses }: Matrix): string {
  const { name, address, self, facts, left, clockAhead, protocol, encrypted, verdict, seen } = node;
  const all = Object.values(seen);
  const reached = all.filter(({ state }) => state === "up").length;
  const since = Math.max(...all.map((one) => one.since), 0);
  const state = facts?.state ?? (left === true ? "left" : verdict === "down" ? "down" : "not heard");
  const style = facts === undefined ? "down" : facts.state;
  const lasted = facts === undefined && since > 0 ? ` <small>for ${duration(Math.max(0, at - since))}</small>` : "";
  const by = all.length === 0 ? "" : `<b class="${reached === all.length ? "u" : "d"}">${reached} of ${all.length}</b>`;
  const clock = self || facts === undefined ? "" : apart(clockAhead);
  const load =
    facts === undefined
      ? ""
      : `${count(facts.connections)} <small>open</small> ${count(facts.requests)} <small>served</small>`;
  const cells: readonly (readonly [label: string, text: string])[] = [
    ["Reached by", by],
    ["Version", html(facts?.version ?? "")],
    ["Configuration", facts === undefined ? "" : `<code>${html(facts.configuration)}</code>`],
    ["Clock", clock],
    ["Load", load],
    ["Protocol", html(protocol.replace(/^versions? /, "") + (encrypted === true ? " over TLS" : ""))],
  ];
  const held = addresses
    .filter(({ holders }) => holders.includes(name))
    .map(({ address: one }) => `<b>${html(one)}</b>`);
  const holds = addresses.length === 0 ? "" : `<td data-is="Holds">${held.join("<br>")}</td>`;
  const rest = cells.map(([label, text]) => `<td data-is="${label}">${text}</td>`).join("");
  const own = self ? ' <em title="the node that has been asked">this node</em>' : "";
  return `<tr class="${style}"><th scope="row">${html(name)}${own} <small>${html(address)}</small></th><td class="state"><b>${state}</b>${lasted}</td>${rest}${holds}</tr>\n`;
}

function apart(ms: number): string {
  const figure = Math.abs(ms) < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`;
  return `${ms > 0 ? "+" : ""}${figure}`;
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

// ---- who sees whom

interface GridOf<T> {
  readonly name: (column: T) => string;
  readonly corner: string;
  /** Where there is nothing to see. */
  readonly none?: (column: T, observer: NodeRow) => boolean;
}

function grid<T extends Seen>(
  observers: readonly NodeRow[],
  columns: readonly T[],
  { name, corner, none }: GridOf<T>,
): string {
  const upright = columns.length > UPRIGHT ? ' class="upright"' : "";
  const head = columns.map((column) => `<th scope="col"><span>${html(name(column))}</span></th>`).join("");
  const lines = observers.map((observer) => {
    const cells = columns.map((column) =>
      none?.(column, observer) === true
        ? '<td class="n"></td>'
        : cell(column.seen[observer.name], observer.name, name(column)),
    );
    return `<tr><th scope="row">${html(observer.name)}</th>${cells.join("")}<td class="fill"></td></tr>\n`;
  });
  return `<div class="scroll"><table class="grid">
<thead><tr${upright}><th>${corner}</th>${head}<td class="fill"></td></tr></thead>
<tbody>
${lines.join("")}</tbody></table></div>`;
}

function cell(opinion: Opinion | undefined, observer: string, subject: string): string {
  if (opinion === undefined) return "<td></td>";
  if (opinion.state === "up") return '<td class="u">✓</td>';
  if (opinion.state === "unknown") return '<td class="q">?</td>';
  const title = `${observer} finds ${subject} down: ${opinion.reason}`;
  return `<td class="d" title="${html(title)}">✕</td>`;
}

// ---- servers

function upstreams({ servers }: Matrix, observers: readonly NodeRow[], query: PageQuery): string {
  const byName = new Map<string, ServerRow[]>();
  for (const row of servers) byName.set(row.upstream, [...(byName.get(row.upstream) ?? []), row]);
  return [...byName].map(([upstream, rows]) => upstreamSection(upstream, rows, observers, query)).join("");
}

function isWorthALook({ seen, report }: ServerRow): boolean {
  return report !== undefined || Object.values(seen).some(({ state }) => state !== "up");
}

function upstreamSection(
  upstream: string,
  rows: readonly ServerRow[],
  observers: readonly NodeRow[],
  { all }: PageQuery,
): string {
  const part = rows.length > MANY && !all;
  const shown = part ? rows.filter(isWorthALook) : rows;
  const up = rows.filter(({ verdict }) => verdict === "up").length;
  const few =
    rows.length > MANY
      ? `<a href="${part ? "?format=html&amp;all=1" : "?format=html"}">${part ? "show all" : "show what is not up"}</a>`
      : "";
  const table = shown.length === 0 ? "" : grid(observers, shown, { name: serverName, corner: "observer" });
  return `<section>
<h2>Servers of ${html(upstream)}</h2>
<p class="made">${up} of ${rows.length} up for all ${few}</p>
${table}
</section>
`;
}

function serverName({ server, report }: ServerRow): string {
  return report === undefined ? server : `${server} (${wordOf(report.state)})`;
}
