/** Requests of HTTP/2 that mean something else in HTTP/1: a server behind gets each once, with one framing, or not at all. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { HpackDecoder } from "../../src/wire/h2/hpack_decoder.ts";
import { RawH2 } from "../support/h2.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { recorder, requestsOf } from "../support/recorder.ts";
import { waitFor } from "../support/wait.ts";

type Fields = readonly (readonly [name: string, value: string])[];

interface Case {
  readonly name: string;
  /** Behind :method, :scheme, :path and :authority, or in place of those that it names. */
  readonly fields: Fields;
  /** The fields are all there is. */
  readonly alone?: boolean;
  /** Sent with END_STREAM; undefined: the head has it. */
  readonly body?: string;
  /** Behind the body, with END_STREAM in its place. */
  readonly trailers?: Fields;
  /** What comes of it: a status, or "reset" and the error's code. */
  readonly outcome: string;
  /** What the server behind gets: `METHOD PATH BODY`. Default: one request for 200, else none. */
  readonly passed?: readonly string[];
}

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: Fields = [[":method", "POST"]];
const bad = (name: string, ...fields: Fields): Case => ({ name, fields, outcome: "400" });
const good = (name: string, ...fields: Fields): Case => ({ name, fields, outcome: "200" });

const CASES: readonly Case[] = [
  // Names.
  bad("CR LF in a name", ["x: y\r\nz", "1"]),
  bad("LF in a name", ["x\nz", "1"]),
  bad("CR in a name", ["x\rz", "1"]),
  bad("NUL in a name", ["x\0z", "1"]),
  bad("a colon in a name", ["x:y", "1"]),
  bad("a colon at the end of a name", ["transfer-encoding:", "chunked"]),
  bad("a space in a name", ["x y", "1"]),
  bad("a space behind a name", ["transfer-encoding ", "chunked"]),
  bad("a space before a name", [" transfer-encoding", "chunked"]),
  bad("a tab in a name", ["transfer-encoding\t", "chunked"]),
  bad("upper case", ["X-Y", "1"]),
  bad("upper case of a field that frames", ["Transfer-Encoding", "chunked"]),
  bad("a request in a name", ["x: y\r\n\r\nGET /smuggled HTTP/1.1\r\nhost", "a"]),
  bad("DEL in a name", ["x\x7f", "1"]),
  good("a name of no token's characters, which is left out", ["x(y)", "1"]),
  good("a name beyond ASCII, which is left out", ["x\xe9", "1"]),
  good("underscores, which are left out", ["content_length", "500"], ["transfer_encoding", "chunked"]),
  // Values.
  bad("CR LF in a value", ["x", "y\r\nz: 1"]),
  bad("a request in a value", ["x", `y\r\n\r\n${SMUGGLED}`]),
  bad("LF in a value", ["x", "y\nz: 1"]),
  bad("CR in a value", ["x", "y\rz: 1"]),
  bad("NUL in a value", ["x", "y\0z"]),
  bad("LF at the end of a value", ["x", "y\n"]),
  bad("CR LF in a cookie", ["cookie", "a=1\r\nz: 1"], ["cookie", "b=2"]),
  bad("CR LF in a cookie's crumb", ["cookie", "a=1"], ["cookie", "b=2\r\nz: 1"]),
  good("a colon in a value", ["x", "y: z"]),
  good("spaces about a value", ["x", "  y  "]),
  good("an empty value", ["x", ""]),
  good("cookies in crumbs", ["cookie", "a=1"], ["cookie", "b=2"]),
  // :method
  bad("a space in :method", [":method", "GET /smuggled"]),
  bad("a request in :method", [":method", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET"]),
  bad("LF in :method", [":method", "GE\nT"]),
  bad("an empty :method", [":method", ""]),
  bad(":method in lower case", [":method", "get"]),
  { ...bad("CONNECT", [":method", "CONNECT"]), outcome: "405" },
  // :path
  bad("an empty :path", [":path", ""]),
  bad("a :path that is absolute", [":path", "http://b/"]),
  bad("a :path without /", [":path", "smuggled"]),
  bad("a space in :path", [":path", "/ HTTP/1.1"]),
  bad("a request in :path", [":path", "/ HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled"]),
  bad("LF in :path", [":path", "/\nx"]),
  bad("CR in :path", [":path", "/\rx"]),
  bad("NUL in :path", [":path", "/\0x"]),
  bad("a tab in :path", [":path", "/\tx"]),
  bad("* as :path of GET", [":path", "*"]),
  bad("a :path above the root", [":path", "/../../x"]),
  bad("an encoded NUL in :path", [":path", "/%00"]),
  good("an encoded line end in :path", [":path", "/%0d%0aHost:%20b"]),
  // :scheme
  bad("an empty :scheme", [":scheme", ""]),
  bad("a URI in :scheme", [":scheme", "http://b/?"]),
  bad("CR LF in :scheme", [":scheme", "http\r\nx: y"]),
  bad("a space in :scheme", [":scheme", "http x"]),
  // :authority and Host
  bad("CR LF in :authority", [":authority", "a\r\nx: y"]),
  bad("a space in :authority", [":authority", "a b"]),
  bad("a path in :authority", [":authority", "a/b"]),
  bad("an empty :authority", [":authority", ""]),
  bad("an empty :authority beside a Host", [":authority", ""], ["host", "a"]),
  bad("Host is not :authority", ["host", "b"]),
  bad("Host is :authority with a port", ["host", "a:80"]),
  bad("a Host with a space", ["host", " a"]),
  bad("two Hosts", ["host", "a"], ["host", "a"]),
  bad("two Hosts that differ", ["host", "a"], ["host", "b"]),
  good("Host is :authority", ["host", "a"]),
  { ...good("Host alone", [":method", "GET"], [":scheme", "http"], [":path", "@"], ["host", "a"]), alone: true },
  { ...bad("no host", [":method", "GET"], [":scheme", "http"], [":path", "@"]), alone: true },
  // Pseudo-header fields.
  { ...bad("no :method", [":scheme", "http"], [":path", "@"], [":authority", "a"]), alone: true },
  { ...bad("no :path", [":method", "GET"], [":scheme", "http"], [":authority", "a"]), alone: true },
  { ...bad("no :scheme", [":method", "GET"], [":path", "@"], [":authority", "a"]), alone: true },
  {
    ...bad(
      "two :method",
      [":method", "GET"],
      [":method", "POST"],
      [":scheme", "http"],
      [":path", "@"],
      [":authority", "a"],
    ),
    alone: true,
  },
  {
    ...bad(
      "two :path",
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "@"],
      [":path", "/smuggled"],
      [":authority", "a"],
    ),
    alone: true,
  },
  {
    ...bad(
      "two :scheme",
      [":method", "GET"],
      [":scheme", "http"],
      [":scheme", "https"],
      [":path", "@"],
      [":authority", "a"],
    ),
    alone: true,
  },
  {
    ...bad(
      "two :authority",
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "@"],
      [":authority", "a"],
      [":authority", "b"],
    ),
    alone: true,
  },
  {
    ...bad(
      "a pseudo-header behind the fields",
      [":method", "GET"],
      [":scheme", "http"],
      ["x", "y"],
      [":path", "@"],
      [":authority", "a"],
    ),
    alone: true,
  },
  bad(":status in a request", [":status", "200"]),
  bad("an unknown pseudo-header", [":x", "y"]),
  bad(":protocol that nobody has switched on", [":method", "CONNECT"], [":protocol", "websocket"]),
  bad("an empty pseudo-header", [":", "y"]),
  bad(":host", [":host", "b"]),
  // Fields about a connection.
  bad("Transfer-Encoding", ...POST, ["transfer-encoding", "chunked"]),
  bad("Transfer-Encoding: identity", ["transfer-encoding", "identity"]),
  bad("Connection: close", ["connection", "close"]),
  bad("Connection that names a field", ["connection", "x"], ["x", "y"]),
  bad("Keep-Alive", ["keep-alive", "timeout=5"]),
  bad("Upgrade", ["upgrade", "websocket"]),
  bad("HTTP2-Settings and Upgrade", ["http2-settings", "AAMAAABkAAQAAP__"], ["upgrade", "h2c"]),
  bad("Proxy-Connection", ["proxy-connection", "keep-alive"]),
  bad("TE: chunked", ["te", "chunked"]),
  bad("TE with more than trailers", ["te", "trailers, deflate"]),
  bad("two TE", ["te", "trailers"], ["te", "gzip"]),
  good("TE: trailers", ["te", "trailers"]),
  // Content-Length.
  { name: "a length", fields: [...POST, ["content-length", "5"]], body: "hello", outcome: "200" },
  { name: "no length", fields: POST, body: "hello", outcome: "200" },
  { name: "no length and nothing", fields: POST, body: "", outcome: "200" },
  { name: "leading zeros", fields: [...POST, ["content-length", "0000005"]], body: "hello", outcome: "200" },
  { name: "a length too small", fields: [...POST, ["content-length", "0"]], body: SMUGGLED, outcome: "400" },
  { name: "a length smaller by one", fields: [...POST, ["content-length", "4"]], body: "hello", outcome: "400" },
  { name: "a length greater by one", fields: [...POST, ["content-length", "6"]], body: "hello", outcome: "400" },
  { name: "a length and no body", fields: [...POST, ["content-length", "5"]], outcome: "400" },
  { name: "a length and an empty body", fields: [...POST, ["content-length", "5"]], body: "", outcome: "400" },
  {
    name: "two lengths",
    fields: [...POST, ["content-length", "5"], ["content-length", "0"]],
    body: "hello",
    outcome: "400",
  },
  {
    name: "a length twice",
    fields: [...POST, ["content-length", "5"], ["content-length", "5"]],
    body: "hello",
    outcome: "400",
  },
  { name: "a list of lengths", fields: [...POST, ["content-length", "5, 5"]], body: "hello", outcome: "400" },
  { name: "a signed length", fields: [...POST, ["content-length", "+5"]], body: "hello", outcome: "400" },
  { name: "a negative length", fields: [...POST, ["content-length", "-5"]], body: "hello", outcome: "400" },
  { name: "a hexadecimal length", fields: [...POST, ["content-length", "0x5"]], body: "hello", outcome: "400" },
  { name: "a length with a space", fields: [...POST, ["content-length", "5 "]], body: "hello", outcome: "400" },
  { name: "an empty length", fields: [...POST, ["content-length", ""]], body: "hello", outcome: "400" },
  {
    name: "a length beyond all numbers",
    fields: [...POST, ["content-length", "18446744073709551621"]],
    body: "hello",
    outcome: "400",
  },
  {
    name: "a GET with a body that looks like a request",
    fields: [["content-length", `${SMUGGLED.length}`]],
    body: SMUGGLED,
    outcome: "200",
  },
  { name: "a GET with a body without a length", fields: [], body: SMUGGLED, outcome: "200" },
  { name: "a body that looks like chunks", fields: POST, body: `0\r\n\r\n${SMUGGLED}`, outcome: "200" },
  // Expectations.
  { name: "Expect: 100-continue", fields: [...POST, ["expect", "100-continue"]], body: "hello", outcome: "200" },
  // Trailers.
  { name: "trailers", fields: POST, body: "hello", trailers: [["x", "y"]], outcome: "200" },
  { name: "a length in trailers", fields: POST, body: "hello", trailers: [["content-length", "0"]], outcome: "200" },
  {
    name: "CR LF in trailers",
    fields: POST,
    body: "hello",
    trailers: [["x", `y\r\n\r\n${SMUGGLED}`]],
    outcome: "reset 1",
  },
  {
    name: "pseudo-headers in trailers",
    fields: POST,
    body: "hello",
    trailers: [[":path", "/smuggled"]],
    outcome: "reset 1",
  },
];

const USUAL: Fields = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "@"],
  [":authority", "a"],
];

/** Pseudo-header fields of the case take the place of the usual ones, or follow them. */
function headOf({ fields, alone = false }: Case, path: string): Fields {
  const own = new Map(fields);
  const usual = alone ? [] : USUAL.map(([name, value]): [string, string] => [name, own.get(name) ?? value]);
  const rest = alone ? fields : fields.filter(([name]) => !USUAL.some(([known]) => known === name));
  return [...usual, ...rest].map(([name, value]) => [name, value.replace("@", path)]);
}

function requestOf(connection: RawH2, one: Case, path: string): string {
  const { body, trailers } = one;
  const head = connection.head(1, headOf(one, path), body === undefined ? h2.FLAG.END_STREAM : 0);
  if (body === undefined) return head;
  const data = h2.frameHead(body.length, h2.DATA, trailers === undefined ? h2.FLAG.END_STREAM : 0, 1) + body;
  return head + data + (trailers === undefined ? "" : connection.head(1, trailers));
}

/** The answer's status, or which error has ended the stream or the connection. */
async function outcomeOf(connection: RawH2, name: string): Promise<string> {
  const { frames } = connection;
  const found = await waitFor(
    () =>
      frames.find(({ type, stream }) => stream === 1 && (type === h2.HEADERS || type === h2.RST_STREAM)) ??
      frames.find(({ type }) => type === h2.GOAWAY) ??
      connection.ended,
    `an answer to ${name}`,
  );
  if (found === true) return "closed";
  if (found.type === h2.RST_STREAM) return `reset ${found.payload.readUInt32BE(0)}`;
  if (found.type === h2.GOAWAY) return `goaway ${found.payload.readUInt32BE(4)}`;
  const decoder = new HpackDecoder();
  decoder.decode(found.payload, { field: 4096, all: 16_384 });
  return decoder.lines.latin1Slice(":status: ".length, ":status: ".length + 3);
}

function expected({ fields, body = "", outcome, passed }: Case, path: string): readonly string[] {
  if (passed !== undefined || outcome !== "200") return passed ?? [];
  const own = new Map(fields);
  return [`${own.get(":method") ?? "GET"} ${(own.get(":path") ?? path).replace("@", path)} ${body}`];
}

for (const buffering of ["on", "off"]) {
  test(`${CASES.length} requests of HTTP/2 towards HTTP/1, proxy_request_buffering ${buffering}`, async (t) => {
    const { backend, streams } = await recorder(t);
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `http {
        upstream behind { server ${backend.address}; keepalive 4; }
        server { listen 127.0.0.1:${port}; http2 on; lingering_close off;
          location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_request_buffering ${buffering}; } } }`,
    });
    const differing: string[] = [];
    for (const [number, one] of CASES.entries()) {
      const from = streams.length;
      const before = streams.map((stream) => stream.length);
      const path = `/case-${number}`;
      const connection = await RawH2.open(t, holdfast.port);
      connection.write(h2.SETTINGS_ACK, requestOf(connection, one, path));
      const outcome = await outcomeOf(connection, one.name);
      connection.socket.destroy();
      const came = streams.map((stream, index) => stream.slice(index < from ? before[index] : 0)).join("");
      const { name } = one;
      if (outcome !== one.outcome) differing.push(`${name}: ${outcome}, not ${one.outcome}`);
      if (buffering === "off" && outcome !== "200" && came !== "") {
        // The head was on its way when the body turned out wrong: no whole request may have come.
        assert.throws(() => requestsOf(came), Error, `${name}: ${JSON.stringify(came)}`);
        continue;
      }
      assert.deepEqual(requestsOf(came), expected(one, path), name);
      const heads = one.body === undefined ? came : came.replace(one.body, "");
      assert.equal(heads.match(/^host: /gim)?.length ?? 0, came === "" ? 0 : 1, name);
    }
    assert.deepEqual(differing, []);
    assert.doesNotMatch(holdfast.errorLog(), /\[(alert|emerg|crit)\]/);
  });
}
