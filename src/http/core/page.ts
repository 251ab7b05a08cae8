import { escapeHtml } from "../../wire/escape.ts";

/** What the status pages have in common. */

/** Their colours and their head, for light and dark screens; on a wide one (a television on a wall) everything grows. */
export const PAGE_STYLE = `
  :root { color-scheme: light dark; --ink: #1b2328; --soft: #59666e; --line: #d9dee1; --paper: #f4f6f7; --card: #fff;
    --up: #17703f; --up-soft: #e3f3e9; --down: #b3161c; --down-soft: #fdeaea }
  @media (prefers-color-scheme: dark) { :root { --ink: #e8edf0; --soft: #9fadb5; --line: #333d44; --paper: #12171a;
    --card: #1b2226; --up: #6fd39b; --up-soft: #17382a; --down: #ff8f8f; --down-soft: #471d20 } }
  html { font-size: clamp(15px, .52vw + 9.5px, 30px) }
  body { margin: 0; padding: 1.6rem max(1rem, 2.5vw) 2.5rem; background: var(--paper); color: var(--ink);
    font: 1rem/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif }
  h1 { font-size: 1.25rem; line-height: 1.25; margin: 0 } h2, .made { font-size: .9rem; font-weight: 400; color: var(--soft); margin: .2rem 0 0 }`;

/** For a page of cards: a header with a name, bars, figures. */
export const CARD_STYLE = `
  section { margin: 1.1rem 0; padding: 1rem 1.2rem 1.1rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem }
  section header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem 1rem }
  section h2 { font-size: 1.15rem; font-weight: 600; color: var(--ink); margin: 0; overflow-wrap: anywhere }
  header code { color: var(--soft); overflow-wrap: anywhere } .flag { margin-left: auto; font-weight: 700; color: var(--down) }
  .main { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 .6rem; margin: .5rem 0 .4rem; color: var(--soft) }
  .main b { font-size: 2.2rem; line-height: 1.2; color: var(--up); font-variant-numeric: tabular-nums }
  .bar { display: flex; height: .7rem; border-radius: .35rem; overflow: hidden; background: var(--line) }
  .bar i { display: block; min-width: 1px }
  dl { display: grid; grid-template-columns: repeat(4, 1fr); gap: .7rem 1.2rem; margin: 1rem 0 0; padding-top: .9rem; border-top: 1px solid var(--line) }
  dt { font-size: .82rem; font-weight: 600; color: var(--soft) } dd { margin: 0; font-variant-numeric: tabular-nums } small { color: var(--soft) }
  @media (max-width: 760px) { dl { grid-template-columns: 1fr 1fr } }`;

/** How often a page asks for itself again, s. */
export const REFRESH = 5;

/** A whole page, which loads no other resource. All of it is HTML already. */
export function pageHtml(title: string, style: string, body: string): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta http-equiv="refresh" content="${REFRESH}">
  <title>${title}</title>
  <style>${style}</style>
</head>
<body>
${body}</body>
</html>
`;
}

/** Figures by name, both HTML, in a card. */
export function figuresHtml(figures: readonly (readonly [name: string, value: string])[]): string {
  return `<dl>\n${figures.map(([name, value]) => `  <div><dt>${name}</dt><dd>${value}</dd></div>\n`).join("")}</dl>\n`;
}

export function numberText(value: number): string {
  return value.toLocaleString("en-US");
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** `1.5 MiB` */
export function sizeText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < UNITS.length - 1; unit++) value /= 1024;
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** `2026-11-26 08:30:15 UTC`; ms since 1970. */
export function moment(ms: number): string {
  const at = new Date(ms).toISOString();
  return `<time datetime="${at}">${at.slice(0, 10)} ${at.slice(11, 19)} UTC</time>`;
}

/** Within HTML; control characters become question marks, but for those above 127. */
export function html(text: string): string {
  return escapeHtml(text).replace(/\p{Cc}/gu, (unit) => (unit < " " ? "?" : unit));
}
