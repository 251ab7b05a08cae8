import { cookieDateOf, now, wallAt } from "../../sys/clock.ts";
import { headText } from "../../wire/head_text.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import { SET_COOKIE } from "../../wire/http1/known_fields.ts";
import { lowercase } from "../../wire/latin1.ts";

/** The cookies of `session_sticky`: what a client's says, how it is hidden from servers, and what a response gets. */

export interface SessionStickySettings {
  readonly cookie: string;
  readonly mode: "insert" | "prefix" | "rewrite";
  /** Servers do not see the cookie. */
  readonly indirect: boolean;
  /** "" for none. */
  readonly domain: string;
  readonly path: string;
  /** Seconds; undefined: until the browser is closed. */
  readonly maxage: number | undefined;
  /** Seconds; undefined: neither is asked for. */
  readonly times: { readonly maxidle: number; readonly maxlife: number } | undefined;
  /** While the server cannot be had others serve the session. */
  readonly fallback: boolean;
  readonly plain: boolean;
}

/** What a request's cookie says. */
export interface SessionCookie {
  /** "": the client is new, or its session is over. */
  readonly sid: string;
  /** Seconds since 1970. */
  readonly firstSeen: number;
}

/** Clocks of several proxies may differ by so much, in seconds. */
const DAY = 86_400;

function nowInSeconds(): number {
  return Math.floor(wallAt(now()) / 1000);
}

/** Reads the cookie of that name out of a request's fields, and takes out of them what servers are not to see where `hide` says so. */
export function readSessionCookie(headers: HeaderList, settings: SessionStickySettings, hide: boolean): SessionCookie {
  const time = nowInSeconds();
  const anew = { sid: "", firstSeen: time };
  const field = headers.join("cookie");
  if (field === undefined) return anew;
  const pairs = field.split(";");
  const prefix = `${settings.cookie}=`;
  const place = pairs.findIndex((pair) => pair.trimStart().startsWith(prefix));
  if (place === -1) return anew;
  const value = pairs[place].trim().slice(prefix.length).trim();
  if (settings.mode === "prefix") {
    const tilde = value.indexOf("~");
    if (tilde === -1) return anew;
    if (hide) {
      pairs[place] = `${place === 0 ? "" : " "}${prefix}${value.slice(tilde + 1)}`;
      headers.set("Cookie", pairs.join(";"));
    }
    return { sid: value.slice(0, tilde), firstSeen: time };
  }
  if (hide && settings.indirect) {
    pairs.splice(place, 1);
    const left = pairs.join(";").trimStart();
    if (left === "") headers.remove("cookie");
    else headers.set("Cookie", left);
  }
  if (settings.mode === "rewrite" || settings.times === undefined) return { sid: value, firstSeen: time };
  const [, sid, last, first] = /^([^|]*)\|(\d{1,15})\|(\d{1,15})$/.exec(value) ?? [];
  if (sid === undefined) return anew;
  const { maxidle, maxlife } = settings.times;
  const inTime = (since: string, most: number) => time - Number(since) <= most && time - Number(since) >= -DAY;
  return inTime(last, maxidle) && inTime(first, maxlife) ? { sid, firstSeen: Number(first) } : anew;
}

/** The response is that of the server of that sid. `anew`: the client does not know yet that it is this one. */
export function writeSessionCookie(
  headers: HeaderList,
  settings: SessionStickySettings,
  { sid, firstSeen }: SessionCookie,
  anew: boolean,
): void {
  const { cookie, mode, indirect, times } = settings;
  if (mode === "insert") {
    if (!anew && times === undefined) return;
    const text = headText(insertedCookie(settings, sid, firstSeen));
    const own = indirect ? findCookie(headers, cookie) : -1;
    if (own === -1) headers.append("Set-Cookie", text);
    else headers.replace(own, text);
    return;
  }
  const at = findCookie(headers, cookie);
  if (at === -1) return;
  const text = headers.value(at);
  const equals = text.indexOf("=");
  const end = text.indexOf(";");
  if (mode === "rewrite") {
    headers.replace(at, headText(`${cookie}=${sid}${end === -1 ? "" : text.slice(end)}`));
    return;
  }
  const value = text.slice(equals + 1).trimStart();
  if (value !== "") headers.replace(at, headText(`${text.slice(0, equals + 1)}${sid}~${value}`));
}

function insertedCookie(
  { cookie, times, domain, path, maxage }: SessionStickySettings,
  sid: string,
  firstSeen: number,
) {
  const time = nowInSeconds();
  let text = `${cookie}=${sid}`;
  if (times !== undefined) text += `|${time}|${firstSeen}`;
  if (domain !== "") text += `; Domain=${domain}`;
  text += `; Path=${path}`;
  if (times === undefined && maxage !== undefined) {
    text += `; Max-Age=${maxage}; Expires=${cookieDateOf((time + maxage) * 1000)}`;
  }
  return text;
}

/** Where among a response's fields the server sets the cookie of that name; -1: nowhere. */
function findCookie(headers: HeaderList, name: string): number {
  const wanted = lowercase(name);
  for (let at = headers.find(SET_COOKIE); at >= 0; at = headers.find(SET_COOKIE, at + 1)) {
    const text = headers.value(at);
    const equals = text.indexOf("=");
    if (equals !== -1 && lowercase(text.slice(0, equals).trim()) === wanted) return at;
  }
  return -1;
}
