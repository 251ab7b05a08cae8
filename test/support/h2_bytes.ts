import * as h2 from "../../src/wire/h2/frames.ts";
import { encodeField } from "../../src/wire/h2/hpack_encoder.ts";

/** Frames of HTTP/2 that a test says, as byte strings. */

/** Each is `name: value`. */
export type Fields = readonly string[];

const { END_STREAM, END_HEADERS } = h2.FLAG;
/** Of HEADERS: a head that is all of its message. */
export const WHOLE = END_STREAM | END_HEADERS;

export const frame = (type: number, flags: number, stream: number, payload = "") =>
  h2.frameHead(payload.length, type, flags, stream) + payload;

/** A header block. */
export const block = (fields: Fields) => fields.map((field) => encodeField(...splitField(field))).join("");

function splitField(field: string): [name: string, value: string] {
  const at = field.indexOf(": ", 1);
  return [field.slice(0, at), field.slice(at + 2)];
}

export const head = (stream: number, fields: Fields, flags: number = WHOLE) =>
  frame(h2.HEADERS, flags, stream, block(fields));
export const data = (stream: number, text: string, flags: number = END_STREAM) => frame(h2.DATA, flags, stream, text);

/** The head of a request to a.example. */
export function request(
  stream: number,
  method: string,
  path: string,
  fields: Fields = [],
  flags: number = WHOLE,
): string {
  return head(
    stream,
    [`:method: ${method}`, ":scheme: http", `:path: ${path}`, ":authority: a.example", ...fields],
    flags,
  );
}

export const get = (path: string, fields: Fields = [], stream = 1) => request(stream, "GET", path, fields);
export const post = (path: string, body: string, fields: Fields = [], stream = 1) =>
  request(stream, "POST", path, fields, END_HEADERS) + data(stream, body);
