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

/** `2026-11-26 08:30:15 UTC`; ms since 1970. */
export function moment(ms: number): string {
  const at = new Date(ms).toISOString();
  return `<time datetime="${at}">${at.slice(0, 10)} ${at.slice(11, 19)} UTC</time>`;
}

/** Within HTML; control characters become question marks, but for those above 127. */
export function html(text: string): string {
  return escapeHtml(text).replace(/\p{Cc}/gu, (unit) => (unit < " " ? "?" : unit));
}
