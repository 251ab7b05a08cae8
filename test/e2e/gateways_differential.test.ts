import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { BackendConnection } from "../support/backend.ts";
import { type PacketProtocol, packetBackend } from "../support/gateways.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { assertSame } from "../support/side_by_side.ts";
import { get } from "../support/tcp.ts";

/** The same answers of uwsgi and SCGI applications to Holdfast and to a real nginx. */

const HEAD = "Content-Type: text/plain\r\n";
const KNOWN = `${HEAD}Content-Length: 4\r\n\r\n`;

/** Pieces, each of which is written by itself. The application closes behind the last one. */
const ANSWERS: Readonly<Record<string, readonly string[]>> = {
  "a status line": [`HTTP/1.1 200 OK\r\n${HEAD}\r\nbody`],
  "a status line with another text": [`HTTP/1.0 404 Not Here\r\n${HEAD}\r\nbody`],
  "a status line without a text": [`HTTP/1.1 404\r\n${HEAD}\r\nbody`],
  "a status line and Status": [`HTTP/1.1 201 Made\r\nStatus: 404\r\n${KNOWN}body`],
  "a CGI head": [`Status: 201 Made\r\n${HEAD}\r\nbody`],
  "a CGI head without Status": [`${HEAD}\r\nbody`],
  Location: ["Location: http://a/b\r\n\r\n"],
  "Location and Status": ["Location: /b\r\nStatus: 301 There\r\n\r\n"],
  "byte by byte": [...`HTTP/1.1 200 OK\r\n${KNOWN}body`],
  "a CGI head byte by byte": [...`HTTP-X: y\r\n${KNOWN}body`],
  "bare line feeds": ["Status: 200 OK\nX: y\n\nbody"],
  "a status line among the fields": [`X: y\r\nHTTP/1.1 404 No\r\n${KNOWN}body`],
  "an invalid version": [`HTTP/x 200 OK\r\n${KNOWN}body`],
  "a known length": [`${KNOWN}body`],
  "less than its length": [`${KNOWN}bo`],
  "more than its length": [`${KNOWN}body and more`],
  "no body": ["Content-Length: 0\r\n\r\n"],
  nothing: [],
  "a part of a status line": ["HTTP/1."],
  "a part of a head": ["Status: 200 OK\r\nX: y"],
  "a head alone": [`${HEAD}\r\n`],
  "an invalid Status": ["Status: abc\r\n\r\n"],
  "a short Status": ["Status: 20\r\n\r\n"],
  "an empty Status": ["Status:\r\n\r\n"],
  "an invalid field": ["X-\x01: y\r\n\r\nbody"],
  "no colon": ["what is this\r\n\r\nbody"],
  "a long head": [`X: ${"x".repeat(5000)}\r\n\r\nbody`],
  "a long status line": [`HTTP/1.1 200 ${"x".repeat(5000)}\r\n\r\nbody`],
  "chunks that are none": [`${HEAD}Transfer-Encoding: chunked\r\n\r\nbody`],
  "no content": ["Status: 204 No Content\r\n\r\n"],
  "not modified": ["Status: 304 Not Modified\r\nETag: x\r\n\r\n"],
  "fields of the server": [`${HEAD}Server: app\r\nDate: today\r\nX-Pad: x\r\nX-Powered-By: Python\r\n\r\nx`],
  "fields of one hop": [`${HEAD}Connection: close\r\nKeep-Alive: x\r\n\r\nbody`],
  "two cookies": ["Set-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\nx"],
  "X-Accel-Redirect": ["X-Accel-Redirect: /elsewhere?a=b\r\nSet-Cookie: a=b\r\n\r\nx"],
  "X-Accel-Redirect to a named location": ["X-Accel-Redirect: @named\r\n\r\nx"],
  "X-Accel-Buffering": [`X-Accel-Buffering: no\r\n${KNOWN}body`],
  "X-Accel-Expires": [`X-Accel-Expires: 10\r\n${KNOWN}body`],
  "a 500": ["Status: 500 Broken\r\n\r\nbroken"],
  "a 401": ['Status: 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\n\r\nwho'],
};

const LOCATIONS: Readonly<Record<string, string>> = {
  buffered: "",
  unbuffered: "GW_buffering off;",
  intercepted: "GW_intercept_errors on; error_page 404 500 401 /error;",
  shown: "GW_pass_header X-Accel-Expires; GW_hide_header X-Powered-By; GW_pass_header Status; GW_pass_header Date;",
  ignoring: "GW_ignore_headers X-Accel-Redirect X-Accel-Buffering;",
};

const config =
  (protocol: PacketProtocol, backend: string) =>
  ([port]: readonly number[]) =>
    `http { access_log off;
  server { listen 127.0.0.1:${port};
    location = /elsewhere { return 200 "elsewhere $args"; }
    location @named { return 200 named; }
    location = /error { internal; return 200 "error page"; }
    ${protocol}_param CONTENT_LENGTH $content_length; ${protocol}_param HTTP_HOST $http_host;
    ${Object.entries(LOCATIONS)
      .map(([name, options]) =>
        `location /${name} { GW_pass ${backend}; ${options} }`.replaceAll("GW_", `${protocol}_`),
      )
      .join("\n")} } }`;

async function write(connection: BackendConnection, pieces: readonly string[]): Promise<void> {
  for (const piece of pieces) {
    await new Promise((resolve) => connection.socket.write(Buffer.from(piece, "latin1"), resolve));
  }
  connection.end();
}

for (const protocol of ["uwsgi", "scgi"] as const) {
  test(`${protocol}: answers are passed on as by nginx, and in its words`, { skip: have("nginx") }, async (t) => {
    const backend = await packetBackend(t, protocol, ({ params }, connection) =>
      write(connection, ANSWERS[params.get("HTTP_X_CASE") ?? ""] ?? []),
    );
    const [holdfast, nginx] = await both(t, config(protocol, backend.address));
    for (const location of Object.keys(LOCATIONS)) {
      for (const name of Object.keys(ANSWERS)) {
        for (const method of location === "buffered" ? ["GET", "HEAD"] : ["GET"]) {
          const raw = `${method} /${location} HTTP/1.1\r\nHost: a\r\nX-Case: ${name}\r\nConnection: close\r\n\r\n`;
          await assertSame(`${method} ${location}: ${name}`, holdfast, nginx, raw);
        }
      }
    }
  });
}

test("uwsgi: an answer that ends at any byte is taken as by nginx", { skip: have("nginx") }, async (t) => {
  const answers = [`HTTP/1.1 200 OK\r\n${KNOWN}body`, "Status: 201 Made\r\nX: y\r\n\r\nbody"];
  const backend = await packetBackend(t, "uwsgi", ({ params }, connection) => {
    const [answer, length] = (params.get("HTTP_X_CASE") ?? "").split(" ").map(Number);
    return write(connection, [answers[answer].slice(0, length)]);
  });
  const [holdfast, nginx] = await both(t, config("uwsgi", backend.address));
  for (const [at, answer] of answers.entries()) {
    for (let length = 1; length < answer.length; length++) {
      const raw = `GET /buffered HTTP/1.1\r\nHost: a\r\nX-Case: ${at} ${length}\r\nConnection: close\r\n\r\n`;
      await assertSame(`${at}: ${length}`, holdfast, nginx, raw);
    }
  }
});

async function both(t: TestContext, config: (ports: readonly number[]) => string): Promise<Running[]> {
  return [await startHoldfast(t, { config }), await startNginx(t, { config })];
}

test("scgi: informational answers precede the final one", async (t) => {
  const backend = await packetBackend(t, "scgi", (_request, connection) =>
    write(connection, ["HTTP/1.1 100 Continue\r\n\r\n", `HTTP/1.1 201 Made\r\n${KNOWN}body`]),
  );
  const { port } = await startHoldfast(t, { config: config("scgi", backend.address) });
  const { statusLine, body } = await get(port, "/buffered");
  assert.deepEqual([statusLine, body], ["HTTP/1.1 201 Made", "body"]);
});

/** What nginx before 1.23 takes, by the status line, or by the sentence it is refused with. */
const STRICT: readonly [answer: string, expected: string][] = [
  ["Status: 404\r\n\r\nbody", "HTTP/1.1 404 Not Found"],
  ["Status: 499\r\n\r\nbody", "HTTP/1.1 499 "],
  ["Status: 204\r\n\r\n", "HTTP/1.1 204 No Content"],
  ["Status: 200 OK\r\nStatus: 500\r\n\r\nbody", "HTTP/1.1 200 OK"],
  [`Content-Length: 4\r\n${KNOWN}body`, "upstream sent duplicate header line"],
  ["Content-Length: x\r\n\r\nbody", 'upstream sent invalid "Content-Length" header: "Content-Length: x"'],
  ["Transfer-Encoding: gzip\r\n\r\nbody", 'upstream sent unknown "Transfer-Encoding": "gzip"'],
  [`Transfer-Encoding: chunked\r\n${KNOWN}body`, 'upstream sent "Content-Length" and "Transfer-Encoding" headers'],
];

test("uwsgi: what has two meanings is refused, as by nginx of today", async (t) => {
  const backend = await packetBackend(t, "uwsgi", ({ params }, connection) =>
    write(connection, [STRICT[Number(params.get("HTTP_X_CASE"))][0]]),
  );
  const holdfast = await startHoldfast(t, { config: config("uwsgi", backend.address) });
  for (const [at, [answer, expected]] of STRICT.entries()) {
    const { statusLine } = await get(holdfast.port, "/buffered", `X-Case: ${at}`);
    if (expected.startsWith("HTTP")) {
      assert.equal(statusLine, expected, answer);
      continue;
    }
    assert.equal(statusLine, "HTTP/1.1 502 Bad Gateway", answer);
    await holdfast.waitForLog(new RegExp(`\\[error\\] .*${expected}.* while reading response header from upstream`));
  }
});
