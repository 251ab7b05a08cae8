import * as h2 from "../../src/wire/h2/frames.ts";
import { HpackDecoder } from "../../src/wire/h2/hpack_decoder.ts";
import { SPAN } from "../../src/wire/http1/field_scan.ts";
import type { RawFrame } from "./h2.ts";

/** Frames of HTTP/2 as lines of text, to compare what two servers say. */

const LIMITS = { field: 1 << 20, all: 1 << 20 };
const TYPES = ["DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY"];
const CODES = new Map<number, string>(Object.entries(h2.ERROR).map(([name, code]) => [code, name]));
const codeOf = (payload: Buffer, at: number) => {
  const code = payload.readUInt32BE(at);
  return CODES.get(code) ?? String(code);
};

/** What is in a field's value, and in a body, of whoever sends it. */
export function withoutNames(text: string): string {
  return text
    .replace(/(?:nginx|holdfast)\/[\d.]+/g, "NAME")
    .replace(/\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT/g, "TIME")
    .replace(/"[0-9a-f]{8}-([0-9a-f]+)"/g, '"TIME-$1"')
    .replace(/_temp\/\d{10}/g, "_temp/NUMBER")
    .replace(/^(server: )(?:nginx|holdfast)$/, "$1NAME");
}

/** A text on one line. */
export function oneLine(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\xff]/g, (byte) =>
    byte === "\n" ? "\\n" : `\\x${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`,
  );
}

/** A long text by its beginning and its length. */
export function shortened(text: string, most = 200): string {
  return text.length <= most ? text : `${text.slice(0, 40)}… (${text.length} bytes)`;
}

/** The fields of a header block, in the order of their names. */
export function fieldsOf(decoder: HpackDecoder, block: Buffer): string[] {
  const error = decoder.decode(block, LIMITS);
  if (error !== undefined) return [`(${error.what})`];
  const { lines, spans, count } = decoder;
  const fields: string[] = [];
  for (let at = 0; at < count * SPAN; at += SPAN) {
    fields.push(lines.latin1Slice(spans[at], spans[at + 3]));
  }
  return fields.sort();
}

/**
 * What came on each stream: heads, the body with the lengths of its frames where `sizes`, and its end. That the rest of a request
 * is not wanted (RST_STREAM NO_ERROR) depends on when it comes, so is there only where `unread`.
 */
export function streamLines(frames: readonly RawFrame[], { sizes = false, unread = false } = {}): string[] {
  const decoder = new HpackDecoder();
  const streams = new Map<number, Heard>();
  const others: string[] = [];
  for (const { type, flags, stream, payload } of frames) {
    if (stream === 0) {
      if (type === h2.GOAWAY) others.push(`GOAWAY ${codeOf(payload, 4)} last ${payload.readUInt32BE(0)}`);
      continue;
    }
    const of = streams.get(stream) ?? { lines: [], body: "", sizes: [] };
    streams.set(stream, of);
    const { lines } = of;
    switch (type) {
      case h2.HEADERS: {
        const fields = fieldsOf(decoder, payload).map((field) => shortened(oneLine(withoutNames(field))));
        // An error page has the name of the server in it.
        const page = fields.includes("content-type: text/html");
        lines.push(...fields.filter((field) => !page || !field.startsWith("content-length:")));
        break;
      }
      case h2.DATA:
        of.body += payload.latin1Slice();
        of.sizes.push(payload.length);
        break;
      case h2.RST_STREAM:
        if (unread || payload.readUInt32BE(0) !== h2.ERROR.NO_ERROR) lines.push(`RST_STREAM ${codeOf(payload, 0)}`);
        break;
      case h2.WINDOW_UPDATE:
        break;
      default:
        lines.push(TYPES[type] ?? `frame of type ${type}`);
    }
    if ((type === h2.DATA || type === h2.HEADERS) && (flags & h2.FLAG.END_STREAM) !== 0) lines.push("END_STREAM");
  }
  const said = [...streams].flatMap(([number, { lines, body, sizes: lengths }]) => [
    ...lines.map((line) => `stream ${number}: ${line}`),
    ...(body === "" ? [] : [`stream ${number}: body ${shortened(oneLine(withoutNames(body)))}`]),
    ...(sizes ? [`stream ${number}: frames of ${lengths.join(" ")}`] : []),
  ]);
  return [...said, ...others];
}

interface Heard {
  readonly lines: string[];
  body: string;
  readonly sizes: number[];
}

/** SETTINGS and WINDOW_UPDATE as lines. */
export function greetingLines(frames: readonly RawFrame[]): string[] {
  return frames.flatMap(({ type, flags, stream, payload }) => {
    if (type === h2.SETTINGS) {
      const settings: string[] = [];
      for (let at = 0; at < payload.length; at += 6) {
        settings.push(`${payload.readUInt16BE(at)}=${payload.readUInt32BE(at + 2)}`);
      }
      return [`SETTINGS ${(flags & h2.FLAG.ACK) !== 0 ? "ACK" : settings.join(" ")}`];
    }
    return type === h2.WINDOW_UPDATE ? [`WINDOW_UPDATE ${stream} ${payload.readUInt32BE(0)}`] : [];
  });
}
