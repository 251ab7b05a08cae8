import {
  CARD_STYLE,
  figuresHtml,
  html,
  moment,
  numberText,
  PAGE_STYLE,
  pageHtml,
  REFRESH,
  sizeText,
} from "../../http/core/page.ts";
import type { GroupReport, ZoneReport } from "./status.ts";

const STYLE = `${PAGE_STYLE}${CARD_STYLE}
  .bar i { background: #1a8a4c } .bar .full { background: #c9a227 }
  .store { display: flex; flex-wrap: wrap; gap: .1rem .7rem; margin: .7rem 0 0; padding: .5rem .8rem; border-radius: .4rem; background: var(--up-soft) }
  .store b { color: var(--up) } .away { background: var(--down-soft) } .away b { color: var(--down) } .unknown { background: var(--line) }
  .store code { overflow-wrap: anywhere } .store span { color: var(--soft) }
`;

/** The page of all zones. All text in it is escaped. */
export function statusHtml(reports: readonly ZoneReport[], now: number): string {
  const what = reports.length === 1 ? "1 session zone" : `${reports.length} session zones`;
  return pageHtml(
    "Holdfast session status",
    STYLE,
    `<h1>Holdfast session status</h1>
<p class="made">${what}, made ${moment(now)}, again every ${REFRESH} s</p>
${reports.map(section).join("")}`,
  );
}

const UNKNOWN = "–";
/** From this part of its size on, a zone's bar warns: it lets go of sessions that live when it is full. */
const NEARLY_FULL = 0.9;

function section(report: ZoneReport): string {
  const { name, directory, usage, size, timeout, group } = report;
  const { sessions, bytes = 0 } = usage ?? {};
  const part = Math.min(1, bytes / size);
  const flag = usage === undefined ? '<span class="flag">cannot be opened</span>' : "";
  const bar =
    bytes === 0 ? "" : `<i${part >= NEARLY_FULL ? ' class="full"' : ""} style="width:${(part * 100).toFixed(1)}%"></i>`;
  return `<section>
<header><h2>${html(name)}</h2><code>${html(directory)}</code>${flag}</header>
<p class="main"><b>${sessions === undefined ? UNKNOWN : numberText(sessions)}</b><span>session${sessions === 1 ? "" : "s"}, each for ${duration(timeout)} after its last use</span></p>
<div class="bar">${bar}</div>
${group === undefined ? "" : storeLine(group)}${figures(report)}</section>
`;
}

function storeLine({ store, state, since }: GroupReport): string {
  const when = since === 0 ? "" : `<span>since ${moment(since)}</span>`;
  const word = state === "unknown" ? "not asked yet" : state;
  return `<p class="store ${state}"><b>${word}</b><code>${html(store)}</code>${when}</p>\n`;
}

function figures({ usage, size, counts, group, durability }: ZoneReport): string {
  const waiting = group?.waiting;
  const note = (text: string) => ` <small>${text}</small>`;
  return figuresHtml([
    ["Size", `${usage === undefined ? UNKNOWN : sizeText(usage.bytes)}${note(`of ${sizeText(size)}`)}`],
    ["Reads", numberText(counts.reads)],
    ["Writes", `${numberText(counts.writes)}${note(durability)}`],
    ["Touched", numberText(counts.touches)],
    ["Conflicts", numberText(counts.conflicts)],
    ["Refused by a limit", numberText(counts.refused)],
    ["Not stored", numberText(counts.failed)],
    ["Evicted", numberText(counts.evictions)],
    ["Ended", numberText(counts.ended)],
    ["Items of memcached", usage === undefined ? UNKNOWN : numberText(usage.items)],
    ...(waiting === undefined
      ? []
      : [
          ["Waiting for the store", numberText(waiting.sessions)] as const,
          ["Size of those waiting", `${sizeText(waiting.bytes)}${note(`of ${sizeText(waiting.size)}`)}`] as const,
        ]),
  ]);
}

const SPANS: readonly (readonly [ms: number, unit: string])[] = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
];

function duration(ms: number): string {
  const [span, unit] = SPANS.find(([one]) => ms % one === 0) ?? [1000, "s"];
  return `${ms / span} ${unit}`;
}
