import assert from "node:assert/strict";
import { test } from "node:test";
import type { BackendConnection } from "../support/backend.ts";
import { type PacketProtocol, packetBackend } from "../support/gateways.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { assertSame } from "../support/side_by_side.ts";

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
  "a code without a text": [`Status: 404\r\n${HEAD}\r\nbody`],
  "an unknown code without a text": [`Status: 499\r\n${HEAD}\r\nbody`],
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
  "more than its length, later": [KNOWN, "body", " and more"],
  "no body": ["Content-Length: 0\r\n\r\n"],
  nothing: [],
  "a part of a status line": ["HTTP/1."],
  "a part of a head": ["Status: 200 OK\r\nX: y"],
  "a head alone": [`${HEAD}\r\n`],
  "an invalid Status": ["Status: abc\r\n\r\n"],
  "a short Status": ["Status: 20\r\n\r\n"],
  "an empty Status": ["Status:\r\n\r\n"],
  "Status twice": ["Status: 200\r\nStatus: 500\r\n\r\nx"],
  "an invalid field": ["X-\x01: y\r\n\r\nbody"],
  "no colon": ["what is this\r\n\r\nbody"],
  "a long head": [`X: ${"x".repeat(5000)}\r\n\r\nbody`],
  "a long status line": [`HTTP/1.1 200 ${"x".repeat(5000)}\r\n\r\nbody`],
  "Content-Length twice": ["Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody"],
  "an invalid Content-Length": ["Content-Length: x\r\n\r\nbody"],
  "chunks that are none": [`${HEAD}Transfer-Encoding: chunked\r\n\r\nbody`],
  "an unknown coding": ["Transfer-Encoding: gzip\r\n\r\nbody"],
  "two framings": ["Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nbody"],
  "no content": ["Status: 204\r\n\r\n"],
  "no content with a body": ["Status: 204\r\n\r\nbody"],
  "not modified": ["Status: 304\r\nETag: x\r\n\r\n"],
  "fields of the server": [`${HEAD}Server: app\r\nDate: today\r\nX-Pad: x\r\nX-Powered-By: Python\r\n\r\nx`],
  "fields of one hop": [`${HEAD}Connection: close\r\nKeep-Alive: x\r\n\r\nbody`],
  "two cookies": ["Set-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\nx"],
  "X-Accel-Redirect": ["X-Accel-Redirect: /elsewhere?a=b\r\nSet-Cookie: a=b\r\n\r\nx"],
  "X-Accel-Redirect to a named location": ["X-Accel-Redirect: @named\r\n\r\nx"],
  "X-Accel-Buffering": [`X-Accel-Buffering: no\r\n${KNOWN}body`],
  "X-Accel-Expires": [`X-Accel-Expires: 10\r\n${KNOWN}body`],
  "a 500": ["Status: 500 Broken\r\n\r\nbroken"],
  "a 401": ['Status: 401\r\nWWW-Authenticate: Basic realm="x"\r\n\r\nwho'],
};

const LOCATIONS: Readonly<Record<string, string>> = {
  buffered: "",
  unbuffered: "P_buffering off;",
  intercepted: "P_intercept_errors on; error_page 404 500 401 /error;",
  shown: "P_pass_header X-Accel-Expires; P_hide_header X-Powered-By; P_pass_header Status; P_pass_header Date;",
  ignoring: "P_ignore_headers X-Accel-Redirect X-Accel-Buffering;",
};

const config =
  (protocol: PacketProtocol, backend: string) =>
  ([port]: readonly number[]) => `http { access_log off;
  server { listen 127.0.0.1:${port};
    location = /elsewhere { return 200 "elsewhere $args"; }
    location @named { return 200 named; }
    location = /error { internal; return 200 "error page"; }
    ${protocol}_param CONTENT_LENGTH $content_length; ${protocol}_param HTTP_HOST $http_host;
    ${Object.entries(LOCATIONS)
      .map(([name, options]) => `location /${name} { P_pass ${backend}; ${options} }`.replaceAll("P_", `${protocol}_`))
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
          await assertSame(`${method} ${location}: ${name}`, holdfast, nginx, raw).catch((e) => console.log('XX', String(e.message).split('\n')[0], '\n  OURS  ', JSON.stringify(e.actual), '\n  THEIRS', JSON.stringify(e.expected)));
        }
      }
    }
  });
}

async function both(t: Parameters<typeof startNginx>[0], config: (ports: readonly number[]) => string): Promise<Running[]> {
  return [await startHoldfast(t, { config }), await startNginx(t, { config })];
}

void assert;
