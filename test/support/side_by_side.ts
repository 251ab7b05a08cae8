import assert from "node:assert/strict";
import type { Running } from "./holdfast.ts";
import { send } from "./tcp.ts";
import { waitFor } from "./wait.ts";

/** The same request to Holdfast and to a real nginx. */

/** What a client got, without what differs in every answer. */
interface Said {
  readonly line: string;
  /** In the order of their names. */
  readonly fields: readonly string[];
  /** Without chunked framing. */
  readonly body: string;
  /** Its framing says that it is whole. */
  readonly whole: boolean;
}

/**
 * Sends a request (a byte string) on a connection of its own, which it must ask to be closed, and compares what comes back,
 * and what is logged from level warn up, until nginx has said everything.
 */
export async function assertSame(what: string, holdfast: Running, nginx: Running, raw: string): Promise<void> {
  const [ours, theirs] = [loggedFrom(holdfast), loggedFrom(nginx)];
  const [said, expected] = await Promise.all([send(holdfast.port, raw), send(nginx.port, raw)]);
  assert.deepEqual(parse(said), parse(expected), what);
  // nginx has written all of its log before it closes.
  const log = theirs();
  await waitFor(() => ours().length >= log.length, `${what}: ${log.join("\n")}`).catch(() => {});
  assert.deepEqual(ours(), log, what);
}

/** What nginx says, depending on when the bytes come, of an answer that it does not buffer. */
const UNBUFFERED =
  /^((?:upstream sent more data|upstream prematurely closed|memcached sent invalid trailer)(?: .*)? while )(?:sending to client|reading response header from upstream)$/;

/** What a log says from now on, up to the client's address. */
function loggedFrom(server: Running): () => string[] {
  const start = server.errorLog().length;
  return () =>
    [
      ...server
        .errorLog()
        .slice(start)
        .matchAll(/\[(warn|error|crit|alert)\] \d+#\d+: \*\d+ (.*), client: /g),
    ].map(([, level, sentence]) => `${level} ${sentence.replace(UNBUFFERED, "$1reading upstream")}`);
}

function parse(raw: string): Said {
  const end = raw.indexOf("\r\n\r\n");
  const [line, ...lines] = raw.slice(0, Math.max(end, 0)).split("\r\n");
  const text = end < 0 ? raw : raw.slice(end + 4);
  const [, announced] = /\r\nContent-Length: (\d+)/i.exec(raw.slice(0, end)) ?? [];
  const chunked = lines.includes("Transfer-Encoding: chunked");
  const { body, whole } = chunked ? dechunked(text) : { body: text, whole: Number(announced) === text.length };
  // Special responses name the server, so their lengths differ.
  const page = lines.includes("Content-Type: text/html");
  return {
    line,
    fields: lines
      .filter((field) => !page || !field.startsWith("Content-Length:"))
      .map((field) => field.replace(/^Date: \w{3}, .*/, "Date: …").replace(/(?:nginx|holdfast)\/[\d.]+/, "…"))
      .sort(),
    body: page ? body.replace(/(?:nginx|holdfast)\/[\d.]+/, "…") : body,
    whole,
  };
}

function dechunked(text: string): { readonly body: string; readonly whole: boolean } {
  let body = "";
  for (let at = 0; ; ) {
    const line = text.indexOf("\r\n", at);
    const size = Number.parseInt(text.slice(at, line), 16);
    if (line < 0 || Number.isNaN(size)) return { body, whole: false };
    if (size === 0) return { body, whole: true };
    body += text.slice(line + 2, line + 2 + size);
    at = line + 4 + size;
  }
}
