import { escapeHtml } from "../wire/escape.ts";
import { duration } from "./change.ts";

/** How the html page writes texts and times. */

/** `2026-11-26 08:30:15 UTC`; ms since 1970. */
export function moment(ms: number): string {
  const at = new Date(ms).toISOString();
  return `<time datetime="${at}">${at.slice(0, 10)} ${at.slice(11, 19)} UTC</time>`;
}

/** A reason, and when it was. */
export function failure(reason: string, failed: number, now: number): string {
  const at = new Date(failed).toISOString();
  return `${html(reason)} <small>${at.slice(11, 19)} UTC, <time datetime="${at}">${age(failed, now)} ago</time></small>`;
}

/** In whole seconds, so that the text does not change with every refresh. */
export function age(since: number, now: number): string {
  const ms = Math.max(0, now - since);
  return ms < 60_000 ? `${Math.floor(ms / 1000)}s` : duration(ms);
}

/** Within HTML; control characters become question marks, but for those above 127. */
export function html(text: string): string {
  return escapeHtml(text).replace(/\p{Cc}/gu, (unit) => (unit < " " ? "?" : unit));
}
