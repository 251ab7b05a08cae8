import { oneLine, shortened, withoutNames } from "./h2_transcript.ts";

/** All that a client of HTTP/1 got, as lines: heads, the body without chunks, trailers, and whether it is whole. */
export function answerLines(raw: string): string[] {
  const lines: string[] = [];
  let rest = raw;
  for (;;) {
    const end = rest.indexOf("\r\n\r\n");
    if (end < 0) return [...lines, rest === "" ? "(nothing)" : `no head: ${shortened(oneLine(rest))}`];
    const [status, ...fields] = rest.slice(0, end).split("\r\n");
    rest = rest.slice(end + 4);
    const page = /^content-type: text\/html$/im.test(fields.join("\n"));
    const lower = fields.map((field) => field.replace(/^[^:]*/, (name) => name.toLowerCase()));
    const shown = lower.filter((field) => !page || !/^content-length:/i.test(field)).sort();
    lines.push(status, ...shown.map((field) => shortened(oneLine(withoutNames(field)))));
    if (/^HTTP\/1\.1 1/.test(status)) continue;
    const chunked = fields.some((field) => /^transfer-encoding: chunked$/i.test(field));
    const length = fields
      .map((field) => /^content-length: (\d+)$/i.exec(field)?.[1])
      .find((value) => value !== undefined);
    if (chunked) lines.push(...chunks(rest));
    else {
      if (rest !== "") lines.push(bodyLine(rest));
      if (length !== undefined && Number(length) > rest.length) lines.push("(cut short, or to HEAD)");
    }
    return lines;
  }
}

function bodyLine(body: string): string {
  return `body ${shortened(oneLine(withoutNames(body)), 100)}`;
}

function chunks(text: string): string[] {
  let body = "";
  for (let at = 0; ; ) {
    const line = text.indexOf("\r\n", at);
    const size = Number.parseInt(text.slice(at, line), 16);
    const shown = () => (body === "" ? [] : [bodyLine(body)]);
    if (line < 0 || Number.isNaN(size)) return [...shown(), "(cut short)"];
    if (size === 0) {
      const trailers = text
        .slice(line + 2)
        .split("\r\n")
        .filter((field) => field !== "");
      return [...shown(), ...trailers.map((field) => `trailer ${field}`)];
    }
    body += text.slice(line + 2, line + 2 + size);
    at = line + 4 + size;
  }
}
