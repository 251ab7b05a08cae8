/** Request smuggling: whatever a client sends, a server behind gets each request once, with one framing of its own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { recorder, requestsOf } from "../support/recorder.ts";
import { get, RawConnection } from "../support/tcp.ts";

interface Case {
  readonly name: string;
  /** `@` in it is where the case's own path goes; `#` the smuggled request. */
  readonly raw: string;
  /** The first status answered. */
  readonly status: number;
  /** nginx 1.22's, where it differs; 0 where it passes on what the server behind here takes for no request. */
  readonly nginx?: number;
  /** What the server behind gets: `METHOD PATH BODY`. Default: nothing; for 200, one request with the body "hello". */
  readonly passed?: readonly string[];
}

const post = (fields: string, rest: string): string => `POST @ HTTP/1.1\r\nHost: a\r\n${fields}\r\n${rest}#`;
const chunked = (body: string): string => post("Transfer-Encoding: chunked\r\n", body);
const HELLO = "5\r\nhello\r\n0\r\n\r\n";
const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const TWO = ["POST @ hello", "GET /smuggled "];

const CASES: readonly Case[] = [
  // What is right is told apart by its framing alone.
  { name: "a length, then another request", raw: post("Content-Length: 5\r\n", "hello"), status: 200, passed: TWO },
  { name: "chunks, then another request", raw: chunked(HELLO), status: 200, passed: TWO },
  {
    name: "a body that looks like a request",
    raw: `POST @ HTTP/1.1\r\nHost: a\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n#`,
    status: 200,
    passed: [`POST @ ${SMUGGLED}`],
  },
  {
    name: "a GET with a body that looks like a request",
    raw: `GET @ HTTP/1.1\r\nHost: a\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n#`,
    status: 200,
    passed: [`GET @ ${SMUGGLED}`],
  },
  {
    name: "a length that Connection names",
    raw: post("Connection: Content-Length, keep-alive\r\nContent-Length: 5\r\n", "hello"),
    status: 200,
    passed: TWO,
  },
  {
    name: "chunks that Connection names",
    raw: post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", HELLO),
    status: 200,
    passed: TWO,
  },
  {
    name: "chunks with extensions and trailers",
    raw: chunked("5;a=b\r\nhello\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n"),
    status: 200,
    passed: TWO,
  },
  { name: "lines ended by LF", raw: "POST @ HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello#", status: 200, passed: TWO },
  {
    name: "fields with underscores, which do not count",
    raw: "GET @ HTTP/1.1\r\nHost: a\r\nContent_Length: 500\r\nTransfer_Encoding: chunked\r\n\r\n#",
    status: 200,
    passed: ["GET @ ", "GET /smuggled "],
  },
  { name: "leading zeros", raw: post("Content-Length: 0000005\r\n", "hello"), status: 200, passed: TWO },
  // Content-Length.
  { name: "two equal lengths", raw: post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), status: 400 },
  { name: "two lengths", raw: post("Content-Length: 5\r\nContent-Length: 0\r\n", "hello"), status: 400 },
  { name: "a list of lengths", raw: post("Content-Length: 5, 5\r\n", "hello"), status: 400 },
  { name: "a signed length", raw: post("Content-Length: +5\r\n", "hello"), status: 400 },
  { name: "a negative length", raw: post("Content-Length: -5\r\n", "hello"), status: 400 },
  { name: "a hexadecimal length", raw: post("Content-Length: 0x5\r\n", "hello"), status: 400 },
  { name: "a length with a space", raw: post("Content-Length: 5 5\r\n", "hello"), status: 400 },
  { name: "an empty length", raw: post("Content-Length:\r\n", "hello"), status: 400 },
  { name: "a length beyond all numbers", raw: post("Content-Length: 18446744073709551621\r\n", "hello"), status: 400 },
  // Both.
  {
    name: "a length, then chunks",
    raw: post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", HELLO),
    status: 400,
  },
  {
    name: "chunks, then a length",
    raw: post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", HELLO),
    status: 400,
  },
  {
    name: "chunks in HTTP/1.0",
    raw: `POST @ HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${HELLO}#`,
    status: 400,
  },
  // Transfer-Encoding.
  ...[
    "xchunked",
    "chunked, identity",
    "identity, chunked",
    "chunked;q=1",
    "\tchunked\t",
    '"chunked"',
    "chunked,",
    "gzip",
    "",
  ].map(
    (value): Case => ({
      name: `Transfer-Encoding: ${JSON.stringify(value)}`,
      raw: post(`Transfer-Encoding: ${value}\r\n`, HELLO),
      status: 501,
    }),
  ),
  {
    name: "a vertical tab before chunked",
    raw: post("Transfer-Encoding: \x0bchunked\r\n", HELLO),
    status: 501,
  },
  {
    name: "two encodings",
    raw: post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", HELLO),
    status: 400,
  },
  { name: "a space before the colon", raw: post("Transfer-Encoding : chunked\r\n", HELLO), status: 400 },
  {
    name: "a tab before the colon",
    raw: post("Content-Length: 5\r\nTransfer-Encoding\t: chunked\r\n", "hello"),
    status: 400,
  },
  { name: "a folded field", raw: post("Transfer-Encoding:\r\n chunked\r\n", HELLO), status: 400 },
  { name: "a folded first line", raw: "POST @ HTTP/1.1\r\n Host: a\r\nContent-Length: 5\r\n\r\nhello#", status: 400 },
  // CR, LF, NUL and their like.
  { name: "a bare CR within a value", raw: post("X: a\rTransfer-Encoding: chunked\r\n", HELLO), status: 400 },
  { name: "a bare CR before a name", raw: post("X: a\r\n\rTransfer-Encoding: chunked\r\n", HELLO), status: 400 },
  { name: "NUL in a value", raw: post("X: a\0Content-Length: 5\r\n", "hello"), status: 400 },
  { name: "NUL in a name", raw: post("Content-Length\0: 5\r\n", "hello"), status: 400 },
  {
    name: "a control byte in a value",
    raw: post("X: a\x01\r\nContent-Length: 5\r\n", "hello"),
    status: 200,
    passed: TWO,
  },
  { name: "two CR before the LF", raw: post("X: a\r\r\nContent-Length: 5\r\n", "hello"), status: 200, passed: TWO },
  { name: "a space in the path", raw: "GET @ x HTTP/1.1\r\nHost: a\r\n\r\n#", status: 400 },
  { name: "a bare CR in the request line", raw: "GET @\rX HTTP/1.1\r\nHost: a\r\n\r\n#", status: 400 },
  // Chunks.
  ...[
    "5x\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\rX\nhello\r\n0\r\n\r\n",
    "5\r\nhello\rX0\r\n\r\n",
    "5_0\r\nhello\r\n0\r\n\r\n",
  ].map((body): Case => ({ name: `chunks ${JSON.stringify(body)}`, raw: chunked(body), status: 400 })),
  { name: "a bare CR in a chunk extension", raw: chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"), status: 400 },
];

const config = (port: number, backend: string, buffering: string) => `http {
  upstream behind { server ${backend}; keepalive 4; }
  server {
    listen 127.0.0.1:${port};
    lingering_close off;
    location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering ${buffering}; }
  }
}`;

/** Sends it in one piece, and answers the statuses of so many answers, or of all that came until the close. */
async function statuses(port: number, raw: string, answers: number): Promise<number[]> {
  const connection = await RawConnection.open(port);
  connection.write(raw);
  const found = (all: string) => [...all.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
  const all = await connection.until((received) => answers > 0 && found(received).length >= answers);
  connection.close();
  return found(all);
}

const ready = (raw: string, path: string): string => raw.replaceAll("#", SMUGGLED).replaceAll("@", path);

for (const buffering of ["on", "off"]) {
  test(`no request is passed on as two, proxy_request_buffering ${buffering}`, async (t) => {
    const { backend, streams } = await recorder(t);
    const holdfast = await startHoldfast(t, { config: ([port]) => config(port, backend.address, buffering) });
    for (const [number, { name, raw, status, passed = [] }] of CASES.entries()) {
      const from = streams.length;
      const before = streams.map((stream) => stream.length);
      const path = `/case-${number}`;
      const got = await statuses(holdfast.port, ready(raw, path), passed.length);
      const came = streams.map((stream, index) => stream.slice(index < from ? before[index] : 0)).join("");
      if (buffering === "off" && status === 400 && came !== "") {
        // The head was on its way when the body turned out wrong: no whole request may have come.
        assert.throws(() => requestsOf(came), Error, `${name}: ${JSON.stringify(came)}`);
        assert.doesNotMatch(came, /smuggled/, name);
        assert.equal(got[0], status, name);
        continue;
      }
      assert.equal(got[0], status, `${name}: ${JSON.stringify(got)}`);
      const expected = passed.map((request) => request.replace("@", path));
      assert.deepEqual(requestsOf(came), expected, name);
    }
    assert.doesNotMatch(holdfast.errorLog(), /\[(alert|emerg|crit)\]/);
  });
}

test("a real nginx answers the same", { skip: have("nginx") }, async (t) => {
  const { backend } = await recorder(t);
  const nginx = await startNginx(t, { config: ([port]) => config(port, backend.address, "on") });
  const differing: string[] = [];
  for (const [number, { name, raw, status, nginx: own = status, passed = [] }] of CASES.entries()) {
    if (own === 0) continue;
    const [got] = await statuses(nginx.port, ready(raw, `/case-${number}`), passed.length);
    if (got !== own) differing.push(`${name}: ${got}, not ${own}`);
  }
  assert.deepEqual(differing, []);
});

test("what variables bring into a request or an answer cannot end its lines", async (t) => {
  const { backend, streams } = await recorder(t);
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http {
      upstream behind { server ${backend.address}; keepalive 4; }
      server {
        listen 127.0.0.1:${port};
        location /line/ { proxy_pass http://behind$uri; }
        location ~ ^/capture/(?<rest>(.|\\s)*)$ { proxy_pass http://behind/$rest; }
        location /field/ { proxy_pass http://behind; proxy_set_header X-Uri $uri; proxy_set_header Host $uri; }
        location /method/ { proxy_pass http://behind; proxy_method $uri; }
        location /redirect/ { return 302 http://a$uri; }
        location /added/ { add_header X-Uri $uri; return 200 added; }
      }
    }`,
  });
  const evil = "a%20HTTP/1.1%0d%0aHost:%20a%0d%0a%0d%0aGET%20/smuggled%20HTTP/1.1%0d%0aX-Evil:%201";
  for (const place of ["line", "capture", "field", "method"]) {
    const count = streams.length;
    assert.equal((await get(holdfast.port, `/${place}/${evil}`)).status, 200, place);
    const came = streams.slice(Math.min(count, streams.length - 1)).join("");
    for (const line of requestsOf(came)) assert.doesNotMatch(line, /^GET \/smuggled /, place);
    assert.doesNotMatch(came, /\nX-Evil/, place);
  }
  assert.equal(streams.flatMap(requestsOf).length, 4);
  for (const place of ["redirect", "added"]) {
    const { raw } = await get(holdfast.port, `/${place}/${evil}`);
    assert.doesNotMatch(raw, /[\0]|\nX-Evil|\nHost/, place);
  }
});
