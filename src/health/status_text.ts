import { html } from "../http/core/page.ts";
import { duration } from "./change.ts";

/** How the html page writes texts and times. */

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
