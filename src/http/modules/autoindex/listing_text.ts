import { httpDateOf } from "../../../sys/clock.ts";
import { ESCAPE_COMPONENT, escapeHtml, escapeJson, escapeUri } from "../../../wire/escape.ts";
import { decodeUtf8 } from "../../../wire/utf8.ts";
import type { Entry } from "./entries.ts";

/** The text of a listing, as ngx_http_autoindex_module writes it. All are byte strings. */
export interface ListingText {
  readonly head: string;
  line(entry: Entry, first: boolean): string;
  readonly tail: string;
}

/** How many characters of a name are shown. */
const NAME_LENGTH = 50;
/** December 31, 9999, 23:59:59: later times are shown as this (ngx_gmtime). */
const LAST_SECOND = 253_402_300_799;

/** `utf8`: names are counted by characters. `offset`: seconds by which times are shifted for the local time zone. */
export function htmlText(uri: string, utf8: boolean, exactSize: boolean, offset: number): ListingText {
  const shown = escapeHtml(uri);
  return {
    head:
      `<html>\r\n<head><title>Index of ${shown}</title></head>\r\n<body>\r\n<h1>Index of ${shown}</h1>` +
      '<hr><pre><a href="../">../</a>\r\n',
    line: ({ name, dir, mtime, size }) => {
      const slash = dir ? "/" : "";
      const shownSize = exactSize ? (dir ? "-" : String(size)).padStart(19) : dir ? "      -" : scaledSize(size);
      return (
        `<a href="${escapeUri(name, ESCAPE_COMPONENT)}${slash}">${shownName(name, utf8, slash)} ` +
        `${dateOf(mtime + offset)} ${shownSize}\r\n`
      );
    },
    tail: "</pre><hr></body>\r\n</html>\r\n",
  };
}

/** The name in 50 columns, with the end of its link. */
function shownName(name: string, utf8: boolean, slash: string): string {
  const length = utf8 ? utf8Length(name) : name.length;
  if (length > NAME_LENGTH) {
    const end = length === name.length ? NAME_LENGTH - 3 : utf8End(name, NAME_LENGTH - 3);
    return `${escapeHtml(name.slice(0, end))}..&gt;</a>`;
  }
  if (length === NAME_LENGTH) return `${escapeHtml(name)}</a>`;
  return `${escapeHtml(name)}${slash}</a>${" ".repeat(NAME_LENGTH - length - slash.length)}`;
}

/** The number of characters; of bytes, if the name is not valid UTF-8 (ngx_utf8_length). */
function utf8Length(name: string): number {
  if (!/[\x80-\xff]/.test(name)) return name.length;
  const bytes = Buffer.from(name, "latin1");
  let length = 0;
  for (let at = 0; at < bytes.length; length++) {
    at = characterEnd(bytes, at);
    if (at < 0) return bytes.length;
  }
  return length;
}

/** Where the first `count` characters of valid UTF-8 end. */
function utf8End(name: string, count: number): number {
  const bytes = Buffer.from(name, "latin1");
  let at = 0;
  for (let left = count; left > 0; left--) at = characterEnd(bytes, at);
  return at;
}

/** Where the character at `at` ends; -1 if it is none. */
function characterEnd(bytes: Buffer, at: number): number {
  if (bytes[at] < 0x80) return at + 1;
  const { code, end } = decodeUtf8(bytes, at, bytes.length);
  return code < 0 ? -1 : end;
}

/** The last date: the files of a directory are often of one minute. */
let minute = Number.NaN;
let minuteText = "";

/** `22-Nov-2026 13:06` */
function dateOf(seconds: number): string {
  const asked = Math.floor(seconds / 60);
  if (asked === minute) return minuteText;
  minute = asked;
  // `Sun, 22 Nov 2026 13:06:26 GMT`
  const date = httpDateOf(utcDate(seconds).getTime());
  minuteText = `${date.slice(5, 16).replaceAll(" ", "-")} ${date.slice(17, 22)}`;
  return minuteText;
}

function utcDate(seconds: number): Date {
  return new Date(Math.min(Math.max(seconds, 0), LAST_SECOND) * 1000);
}

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** With `autoindex_exact_size off`: seven columns, in a unit where it is long. */
function scaledSize(size: number): string {
  if (size >= GIB) return `${String(Math.round(size / GIB)).padStart(6)}G`;
  if (size >= MIB) return `${String(Math.round(size / MIB)).padStart(6)}M`;
  if (size > 9999) return `${String(Math.round(size / KIB)).padStart(6)}K`;
  return String(size).padStart(7);
}

/** `callback`: the function called in JSONP; "" for plain JSON. */
export function jsonText(callback: string): ListingText {
  const called = callback !== "";
  return {
    head: called ? `/* callback */\r\n${callback}([` : "[",
    line: ({ name, dir, file, mtime, size }, first) => {
      const type = dir ? "directory" : file ? "file" : "other";
      const shownSize = file ? `, "size":${size}` : "";
      const time = httpDateOf(utcDate(mtime).getTime());
      return `${first ? "" : ","}\r\n{ "name":"${escapeJson(name)}", "type":"${type}", "mtime":"${time}"${shownSize} }`;
    },
    tail: called ? "\r\n]);" : "\r\n]",
  };
}

export function xmlText(): ListingText {
  return {
    head: '<?xml version="1.0"?>\r\n<list>\r\n',
    line: ({ name, dir, file, mtime, size }) => {
      const type = dir ? "directory" : file ? "file" : "other";
      const time = utcDate(mtime).toISOString().replace(/\.\d+/, "");
      const shownSize = file ? ` size="${size}"` : "";
      return `<${type} mtime="${time}"${shownSize}>${escapeHtml(name)}</${type}>\r\n`;
    },
    tail: "</list>\r\n",
  };
}
