import type { CommandRequest } from "./protocol.ts";

/** How tools show the lines of an answer: byte strings, in which nothing but line feeds is to move a terminal. */

/** Those that JSON lets stand. */
const CONTROLS = /[\x7f-\x9f]/g;

/** A line as JSON. `space`: as JSON.stringify takes it. */
export function asJson(line: CommandRequest | object, space?: number): string {
  const text = JSON.stringify(line, undefined, space);
  return Buffer.from(text.replace(CONTROLS, (unit) => `\\u00${unit.charCodeAt(0).toString(16)}`)).latin1Slice();
}

/** Line feeds of a text shown as such: nobody is to take what follows for another line of the answer. */
export function oneLine(text: unknown): string {
  return String(text).replaceAll("\n", "\\x0a");
}

export function column(value: unknown, width: number): string {
  return String(value).padStart(width);
}

/** A moment in seconds since 1970. */
export function moment(seconds: unknown): string {
  const at = new Date(Number(seconds) * 1000);
  return Number.isNaN(at.getTime()) ? "?" : at.toISOString();
}
