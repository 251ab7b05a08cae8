/** The chart of the ratios, written by hand as SVG: one panel a scenario, one bar a server, a line at nginx = 1. */
import type { Report, Row, ScenarioResult } from "./report.ts";
import { reference } from "./report.ts";

const width = 860;
const labelWidth = 190;
const valueWidth = 190;
const barHeight = 18;
const barGap = 6;
const panelHead = 34;
const panelGap = 22;
const plotWidth = width - labelWidth - valueWidth;
/** Bars beyond this many times nginx are cut and marked, or the differences near 1 could not be seen. */
const mostShown = 3;

const colours: Record<string, string> = {
  nginx: "#8a94a0",
  haproxy: "#5b87b0",
  "http-proxy": "#d0a45c",
  "@fastify/http-proxy": "#c07f4f",
  holdfast: "#1f7a5a",
  "holdfast-node": "#6aa68c",
};

function escapeText(text: string): string {
  return text.replace(/[&<>"]/g, (found) => `&#${found.charCodeAt(0)};`);
}

function text(x: number, y: number, content: string, attributes = ""): string {
  return `<text x="${x}" y="${y}" ${attributes}>${escapeText(content)}</text>`;
}

const at = (ratio: number) => labelWidth + (Math.min(ratio, mostShown) / mostShown) * plotWidth;

function bar(row: Row, y: number): string[] {
  const ratio = row.ratio?.median ?? 0;
  const end = Math.max(at(ratio), labelWidth + 1);
  const colour = colours[row.server] ?? "#777777";
  const middle = y + barHeight - 5;
  const own = row.server === "holdfast" ? ' font-weight="600"' : "";
  const parts = [
    text(labelWidth - 10, middle, row.server, `text-anchor="end"${own}`),
    `<rect x="${labelWidth}" y="${y}" width="${(end - labelWidth).toFixed(1)}" height="${barHeight}" rx="2" fill="${colour}"/>`,
  ];
  if (ratio > mostShown) {
    const cut = (x: number) => `M${x} ${y - 2}l-6 ${barHeight / 2 + 2}h6l-6 ${barHeight / 2 + 2}`;
    parts.push(`<path d="${cut(end - 20)}" fill="none" stroke="#ffffff" stroke-width="3"/>`);
  } else if (row.ratio !== undefined && row.ratio.upper > row.ratio.lower) {
    const y2 = y + barHeight / 2;
    parts.push(
      `<path d="M${at(row.ratio.lower).toFixed(1)} ${y2}H${at(row.ratio.upper).toFixed(1)}" stroke="#1d2733" stroke-width="1.5"/>`,
    );
  }
  const { median } = row.figure;
  const figure = median.toFixed(median >= 100 ? 0 : median >= 10 ? 1 : 2);
  parts.push(text(Math.max(end, at(1), at(row.ratio?.upper ?? 0)) + 10, middle, `${ratio.toFixed(2)} ×`, own));
  parts.push(text(width - 14, middle, figure, 'text-anchor="end" class="soft"'));
  return parts;
}

function panel(scenario: ScenarioResult, top: number): { parts: string[]; height: number } {
  const rows = scenario.rows.filter((row) => row.ratio !== undefined);
  const first = top + panelHead;
  const height = panelHead + rows.length * (barHeight + barGap);
  const what = scenario.unit === "KiB/connection" ? "memory" : "CPU time";
  const parts = [
    text(14, top + 16, scenario.title, 'font-weight="600"'),
    text(width - 14, top + 16, `${what}, ${scenario.unit}`, 'text-anchor="end" class="soft"'),
  ];
  rows.forEach((row, index) => {
    parts.push(...bar(row, first + index * (barHeight + barGap)));
  });
  const x = at(1).toFixed(1);
  parts.push(`<path d="M${x} ${first - 5}V${top + height}" stroke="#1d2733" stroke-dasharray="3 3"/>`);
  return { parts, height };
}

/** The whole chart; scenarios without a ratio are left out. */
export function chart(report: Report): string {
  const { cpu, cores, kernel, node } = report.machine;
  const versions = Object.entries(report.versions).map(([server, version]) => `${server} ${version}`);
  const parts = [
    text(14, 30, "Cost beside nginx, one core each", 'font-size="19" font-weight="600"'),
    text(14, 52, `${reference} = 1.0 (dashed); shorter is cheaper; a thin line spans the rounds`, 'class="soft"'),
  ];
  let y = 76;
  for (const scenario of report.scenarios) {
    if (!scenario.rows.some((row) => row.ratio !== undefined)) continue;
    const { parts: drawn, height } = panel(scenario, y);
    parts.push(...drawn);
    y += height + panelGap;
  }
  parts.push(text(14, y + 4, versions.join(" · "), 'class="soft" font-size="11"'));
  parts.push(text(14, y + 20, `${cpu}, ${cores} cores, Linux ${kernel}, Node ${node}`, 'class="soft" font-size="11"'));
  const height = y + 34;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="Cost of a request beside nginx" font-family="system-ui, sans-serif" font-size="13" fill="#1d2733">
<style>.soft{fill:#5d6875}</style>
<rect width="${width}" height="${height}" fill="#ffffff"/>
${parts.join("\n")}
</svg>
`;
}
