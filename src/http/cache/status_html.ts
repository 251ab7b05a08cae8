import {
  CARD_STYLE,
  figuresHtml,
  html,
  moment,
  numberText as number,
  PAGE_STYLE,
  pageHtml,
  REFRESH,
  sizeText as size,
} from "../core/page.ts";
import type { CacheStatus } from "../core/upstream.ts";
import { type CacheReport, KINDS, OUT_OF_CACHE } from "./status.ts";

const STYLE = `${PAGE_STYLE}${CARD_STYLE}
  .k0 { background: #1a8a4c } .k1 { background: #c9a227 } .k2 { background: #dfc25f } .k3 { background: #63b98a }
  .k4 { background: #73828c } .k5 { background: #a1aeb6 } .k6 { background: #c3ccd2 }
  ul { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; margin: .6rem 0 0; padding: 0; list-style: none; font-size: .9rem; font-variant-numeric: tabular-nums }
  li i { display: inline-block; width: .7rem; height: .7rem; margin-right: .4rem; border-radius: .2rem } li span { color: var(--soft) }
`;

/** The page of all caches. All text in it is escaped. */
export function statusHtml(reports: readonly CacheReport[], now: number): string {
  const what = reports.length === 1 ? "1 cache" : `${reports.length} caches`;
  return pageHtml(
    "Holdfast cache status",
    STYLE,
    `<h1>Holdfast cache status</h1>
<p class="made">${what}, made ${moment(now)}, again every ${REFRESH} s</p>
${reports.map(section).join("")}`,
  );
}

function section(report: CacheReport): string {
  const { name, directory, loading, ratio, responses, counts } = report;
  const flag = loading ? '<span class="flag">loading</span>' : "";
  const shown =
    ratio === undefined
      ? "<span>no responses yet</span>"
      : `<b>${(ratio * 100).toFixed(1)} %</b><span>of ${number(responses)} responses came out of the cache</span>`;
  return `<section>
<header><h2>${html(name)}</h2><code>${html(directory)}</code>${flag}</header>
<p class="main">${shown}</p>
<div class="bar">${KINDS.map((kind, i) => part(i, counts.get(kind)?.responses ?? 0)).join("")}</div>
<ul>
${KINDS.map((kind, i) => item(i, kind, report)).join("")}</ul>
${figures(report)}</section>
`;
}

function part(i: number, responses: number): string {
  return responses === 0 ? "" : `<i class="k${i}" style="flex-grow:${responses}"></i>`;
}

function item(i: number, kind: CacheStatus, { counts }: CacheReport): string {
  const { responses = 0, bytes = 0 } = counts.get(kind) ?? {};
  const more = OUT_OF_CACHE.has(kind) && responses > 0 ? ` <span>${size(bytes)}</span>` : "";
  return `  <li><i class="k${i}"></i>${kind} <b>${number(responses)}</b>${more}</li>\n`;
}

function figures(report: CacheReport): string {
  const { maxSize, minFree, written, memory, memoryLimit } = report;
  const bounds = [
    ...(Number.isFinite(maxSize) ? [`of ${size(maxSize)}`] : []),
    ...(minFree > 0 ? [`${size(minFree)} stay free`] : []),
  ];
  const inMemory =
    memoryLimit === 0 ? "off" : `${size(memory.bytes)} <small>up to ${size(memoryLimit)} a worker</small>`;
  const rows: readonly (readonly [string, string])[] = [
    ["Entries", number(report.entries)],
    ["Size on disk", `${size(report.size)} <small>${bounds.join(", ")}</small>`],
    ["Served", size(report.served)],
    ["Written", `${size(written.bytes)} <small>${number(written.responses)} responses</small>`],
    ["Evictions", number(report.evictions)],
    ["In memory", inMemory],
    ["Served from memory", `${number(memory.responses)} <small>responses</small>`],
    ["Purges pending", number(report.purges)],
  ];
  return figuresHtml(rows);
}
