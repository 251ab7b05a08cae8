import type { TestContext } from "node:test";
import { record } from "../wire/fastcgi_record.ts";
import { type Backend, type BackendConnection, tcpBackend } from "./backend.ts";

/** A request as a FastCGI application got it. Byte strings. */
export interface FastcgiRequest {
  readonly params: ReadonlyMap<string, string>;
  readonly body: string;
  readonly keepConn: boolean;
}

const MAX_CONTENT = 65_535;

/** STDOUT, in as many records as needed; STDERR, END_REQUEST. */
export function out(content: string): string {
  let records = record(6, content.slice(0, MAX_CONTENT));
  for (let at = MAX_CONTENT; at < content.length; at += MAX_CONTENT)
    records += record(6, content.slice(at, at + MAX_CONTENT));
  return records;
}
export const err = (content: string): string => record(7, content);
export const END_REQUEST = record(3, "\0\0\0\0\0\0\0\0");
/** What ends a response. */
export const OVER = out("") + END_REQUEST;

/** A whole response. */
export function answer(head: string, body = ""): string {
  return out(`${head}\r\n\r\n${body}`) + OVER;
}

interface StreamRecord {
  readonly type: number;
  readonly content: string;
}

/** The whole records at the beginning of `bytes`, and what is behind them. */
function split(bytes: string): { readonly records: StreamRecord[]; readonly rest: string } {
  const records: StreamRecord[] = [];
  let at = 0;
  while (bytes.length - at >= 8) {
    const length = (bytes.charCodeAt(at + 4) << 8) | bytes.charCodeAt(at + 5);
    const end = at + 8 + length + bytes.charCodeAt(at + 6);
    if (end > bytes.length) break;
    records.push({ type: bytes.charCodeAt(at + 1), content: bytes.slice(at + 8, at + 8 + length) });
    at = end;
  }
  return { records, rest: bytes.slice(at) };
}

function readParams(pairs: string): Map<string, string> {
  const params = new Map<string, string>();
  let at = 0;
  const length = (): number => {
    const first = pairs.charCodeAt(at);
    if (first < 128) {
      at++;
      return first;
    }
    const long = Buffer.from(pairs.slice(at, at + 4), "latin1").readUInt32BE() & 0x7fffffff;
    at += 4;
    return long;
  };
  while (at < pairs.length) {
    const name = length();
    const value = length();
    params.set(pairs.slice(at, at + name), pairs.slice(at + name, at + name + value));
    at += name + value;
  }
  return params;
}

/** Reads one request to its end; undefined when the peer closed first. */
async function readFastcgi(connection: BackendConnection): Promise<FastcgiRequest | undefined> {
  const over = (bytes: string) => split(bytes).records.some(({ type, content }) => type === 5 && content === "");
  const all = await connection.read(over);
  if (all === undefined) return undefined;
  const { records, rest } = split(all);
  connection.received = rest + connection.received;
  const of = (wanted: number) =>
    records
      .filter(({ type }) => type === wanted)
      .map(({ content }) => content)
      .join("");
  return { params: readParams(of(4)), body: of(5), keepConn: (of(1).charCodeAt(2) & 1) === 1 };
}

/** A FastCGI application of the test's own. `respond` is called once a request, and closes where that is to be. */
export function fastcgiBackend(
  t: TestContext,
  respond: (request: FastcgiRequest, connection: BackendConnection) => void | Promise<void>,
  port?: number,
): Promise<Backend> {
  return tcpBackend(
    t,
    async (connection) => {
      for (;;) {
        const request = await readFastcgi(connection);
        if (request === undefined) return;
        await respond(request, connection);
      }
    },
    port,
  );
}
