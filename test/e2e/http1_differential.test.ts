import assert from "node:assert/strict";
import { test } from "node:test";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { RawConnection } from "../support/tcp.ts";

/** The same raw bytes to Holdfast and to a real nginx: what comes back, whether the connection stays, what is logged. */

const CRLF = "\r\n";

function config([port, backend]: readonly number[]): string {
  return `http {
  server_tokens off;
  keepalive_timeout 60s;
  lingering_timeout 60s;
  access_log logs/access.log;
  server {
    listen 127.0.0.1:${port};
    server_name first.example;
    error_page 413 = /too-large;
    location / { return 200 "$host|$request_uri|$uri|$args|$request_method\\n"; }
    location /too-large { return 200 "page of 413\\n"; }
    location /read { proxy_pass http://127.0.0.1:${backend}; client_max_body_size 64; }
    location /slow { proxy_pass http://127.0.0.1:${backend}; client_body_timeout 50ms; }
    location /stream { proxy_pass http://127.0.0.1:${backend}; proxy_request_buffering off; proxy_http_version 1.1; }
    location /kept { keepalive_timeout 20 15; return 200 kept; }
    location /once { keepalive_timeout 0; return 200 once; }
    location /twice { keepalive_requests 2; return 200 twice; }
    location /safari { keepalive_disable safari; return 200 safari; }
    location /none { keepalive_disable none; return 200 none; }
    location /close { return 444; }
    location /moved { return 301 /elsewhere; }
    location /missing { return 404; }
    location /error { return 500; }
    location /empty { return 204; }
  }
  server {
    listen 127.0.0.1:${port};
    server_name second.example;
    underscores_in_headers on;
    large_client_header_buffers 2 4k;
    client_max_body_size 10;
    error_page 400 =403 /bad;
    error_page 494 /long;
    location / { return 200 "second $http_under_score\\n"; }
    location /bad { return 200 "page of 400\\n"; }
    location /long { return 200 "page of 494\\n"; }
  }
  server {
    listen 127.0.0.1:${backend};
    location / { return 200 "read $content_length $http_transfer_encoding\\n"; }
  }
}
`;
}

function get(path: string, fields: readonly string[] = [], host = "first.example"): string {
  return [`GET ${path} HTTP/1.1`, `Host: ${host}`, ...fields, "", ""].join(CRLF);
}

function post(path: string, fields: readonly string[], body = "", host = "first.example"): string {
  return `${[`POST ${path} HTTP/1.1`, `Host: ${host}`, ...fields].join(CRLF)}${CRLF}${CRLF}${body}`;
}

const CHUNKED = "Transfer-Encoding: chunked";
const X = (length: number) => "x".repeat(length);

/** What is sent, by a name; an array is sent piece by piece, each when the server has dealt with the one before. */
const CASES: Readonly<Record<string, string | readonly string[]>> = {
  plain: get("/"),
  "two in one piece": get("/a") + get("/b"),
  "three, the second closes": get("/a") + get("/b", ["Connection: close"]) + get("/c"),
  "HTTP/1.0": `GET / HTTP/1.0${CRLF}${CRLF}`,
  "HTTP/1.0 kept alive": `GET / HTTP/1.0${CRLF}Connection: keep-alive${CRLF}${CRLF}`,
  "HTTP/1.0 with Host": `GET / HTTP/1.0${CRLF}Host: second.example${CRLF}${CRLF}`,
  "HTTP/0.9": `GET /old${CRLF}`,
  "HTTP/0.9 POST": `POST /old${CRLF}`,
  "HTTP/2.0 version": `GET / HTTP/2.0${CRLF}Host: a${CRLF}${CRLF}`,
  "HTTP/1.9 version": `GET / HTTP/1.9${CRLF}Host: a${CRLF}${CRLF}`,
  HEAD: `HEAD / HTTP/1.1${CRLF}Host: a${CRLF}${CRLF}`,
  "HEAD of an error": `HEAD /missing HTTP/1.1${CRLF}Host: a${CRLF}${CRLF}`,
  "absolute URI": get("http://second.example/x?y"),
  "absolute URI without path": get("http://first.example?y"),
  "absolute URI with a bad host": get("http://fi{rst/"),
  "no Host": `GET / HTTP/1.1${CRLF}${CRLF}`,
  "two Hosts": get("/", ["Host: second.example"]),
  "bad Host": get("/", [], "a/b"),
  "Host with port and dot": get("/", [], "FIRST.example.:8080"),
  "percent and dots": get("/a/../b/%2e%2e/c%20d//e?f=%20"),
  "above the root": get("/../etc"),
  "bad percent": get("/%zz"),
  "zero byte": get("/a%00b"),
  "space in the path": get("/a b"),
  "lower-case method": `get / HTTP/1.1${CRLF}Host: a${CRLF}${CRLF}`,
  TRACE: `TRACE / HTTP/1.1${CRLF}Host: a${CRLF}${CRLF}`,
  "OPTIONS *": `OPTIONS * HTTP/1.1${CRLF}Host: a${CRLF}${CRLF}`,
  "blank lines before": `${CRLF}${CRLF}${get("/")}`,
  "bare LF": "GET / HTTP/1.1\nHost: a\n\n",
  "invalid field dropped": get("/", ["Bad Field: x"]),
  "underscore dropped": get("/", ["Under_score: x"]),
  "underscore of the second server": get("/", ["Under_score: x"], "second.example"),
  "space before colon": get("/", ["Content-Length : 5"]),
  "folded line": get("/", ["X: a", " b"]),
  "zero byte in a value": get("/", ["X: a\0b"]),
  "long request line": get(`/${X(9000)}`),
  "long field": get("/", [`X: ${X(9000)}`]),
  "many long fields": get(
    "/",
    [1, 2, 3, 4, 5].map((n) => `X${n}: ${X(7000)}`),
  ),
  "long field of the second server": get("/", [`X: ${X(5000)}`], "second.example"),
  "fields in pieces": ["GET / HT", `TP/1.1${CRLF}Ho`, `st: first.example${CRLF}`, CRLF],
  "Content-Length twice": post("/", ["Content-Length: 1", "Content-Length: 1"], "x"),
  "Content-Length not a number": post("/", ["Content-Length: 1x"], "x"),
  "negative Content-Length": post("/", ["Content-Length: -1"], "x"),
  "huge Content-Length": post("/", ["Content-Length: 99999999999999999999999"], "x"),
  "Content-Length and chunks": post("/", ["Content-Length: 1", CHUNKED], "0\r\n\r\n"),
  "unknown coding": post("/", ["Transfer-Encoding: gzip"]),
  "chunks in HTTP/1.0": `POST / HTTP/1.0${CRLF}${CHUNKED}${CRLF}${CRLF}0${CRLF}${CRLF}`,
  "body nobody reads": post("/", ["Content-Length: 5"], "12345") + get("/after"),
  "chunks nobody reads": post("/", [CHUNKED], "5\r\n12345\r\n0\r\n\r\n") + get("/after"),
  "body nobody reads, in pieces": [post("/", ["Content-Length: 5"], "12"), `345${get("/after")}`],
  "body read": post("/read", ["Content-Length: 5"], "12345") + get("/after"),
  "chunks read": post("/read", [CHUNKED], "5;ext=1\r\n12345\r\n0\r\nTrailer: x\r\n\r\n") + get("/after"),
  "body read, in pieces": [post("/read", ["Content-Length: 5"]), "12", "3", `45${get("/after")}`],
  "chunks read, in pieces": [post("/read", [CHUNKED]), "5", "\r\n123", "45\r", "\n0\r\n", "\r\n"],
  "body passed on": post("/stream", ["Content-Length: 5"], "12345") + get("/after"),
  "bad chunk size": post("/read", [CHUNKED], "g\r\n12345\r\n0\r\n\r\n"),
  "chunk that runs over": post("/read", [CHUNKED], "2\r\n12345\r\n0\r\n\r\n"),
  "bad chunk nobody reads": post("/", [CHUNKED], "g\r\n12345\r\n0\r\n\r\n"),
  "too large": post("/read", ["Content-Length: 65"], X(65)) + get("/after"),
  "too large, expecting": post("/read", ["Content-Length: 65", "Expect: 100-continue"]),
  "too large in chunks": post("/read", [CHUNKED], `41\r\n${X(65)}\r\n0\r\n\r\n`) + get("/after"),
  "just not too large": post("/read", ["Content-Length: 64"], X(64)) + get("/after"),
  "too large for the second server": post("/", ["Content-Length: 11"], X(11), "second.example"),
  "expecting, read": [post("/read", ["Content-Length: 2", "Expect: 100-continue"]), `ok${get("/after")}`],
  "expecting, not read": [post("/", ["Content-Length: 2", "Expect: 100-continue"]), `ok${get("/after")}`],
  "expecting, refused": post("/missing", ["Content-Length: 2", "Expect: 100-continue"]),
  "expecting in HTTP/1.0": `POST /read HTTP/1.0${CRLF}Expect: 100-continue${CRLF}Content-Length: 2${CRLF}${CRLF}ok`,
  "expecting something else": post("/read", ["Content-Length: 2", "Expect: coffee"], "ok"),
  "body that stops": post("/slow", ["Content-Length: 5"], "12"),
  "keep-alive with its time": get("/kept") + get("/kept", ["Connection: keep-alive"]),
  "no keep-alive": get("/once") + get("/after"),
  "keep-alive for two": get("/twice") + get("/twice") + get("/twice"),
  "Connection: close in a list": get("/", ["Connection: foo, close"]),
  Safari: get("/safari", ["User-Agent: Mozilla/5.0 (Mac OS X) Safari/1"]),
  "old MSIE posts": post("/", ["Content-Length: 1", "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows)"], "x"),
  "old MSIE gets": get("/", ["User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows)"]),
  "old MSIE allowed": post("/none", ["Content-Length: 1", "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; W)"], "x"),
  "closed without an answer": get("/close"),
  redirect: get("/moved"),
  "not found, kept": get("/missing") + get("/after"),
  "server error closes": get("/error") + get("/after"),
  "no content": get("/empty") + get("/after"),
  "error page of 400": get("/", ["Content-Length: x"], "second.example"),
  "error page of 494": get("/", [`X: ${X(9000)}`], "second.example"),
  garbage: "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
  "an HTTP/2 preface": `PRI * HTTP/2.0${CRLF}${CRLF}SM${CRLF}${CRLF}`,
};

const SENTINEL = get("/sentinel", ["Connection: close"]);

/** Answers without any other end than a timeout of the server's. */
const TIMED = "body that stops";

/** Turns of the event loop that a proxied request takes at the most, backend and all, and as many again. */
const TURNS = 20;

/**
 * Waits until the server has done what it does at once with all that it was sent before. Its only worker serves the backend
 * too, and answers each of these requests in a later turn than the one before.
 */
async function settled(port: number): Promise<void> {
  const connection = await RawConnection.open(port);
  for (let turn = 0; turn < TURNS; turn++) {
    connection.write(get("/settled"));
    await connection.readResponse();
  }
  connection.close();
}

/** Sends the pieces, then a request that only a kept connection answers; all that came back. */
async function exchange(port: number, pieces: readonly string[], timed: boolean): Promise<string> {
  const connection = await RawConnection.open(port);
  for (const piece of pieces) {
    connection.write(piece);
    await settled(port);
  }
  if (!timed && !connection.ended) connection.write(SENTINEL);
  const all = await connection.readAll();
  connection.close();
  return all;
}

/** What may differ: times, names, ports. */
function comparable(text: string, { ports }: Running): string {
  return text
    .replace(/^Date: .*\r\n/gm, "")
    .replaceAll(/^Server: .*\r\n/gm, "")
    .replaceAll(/<center>(nginx|holdfast)[^<]*<\/center>/g, "<center>NAME</center>")
    .replaceAll(/^(HTTP\/1.1 [345][\s\S]*?\r\n)Content-Length: .*\r\n/gm, "$1")
    .replaceAll(`:${ports[0]}`, ":PORT")
    .replaceAll(`:${ports[1]}`, ":BACKEND");
}

/** The sentences of the error log that are about clients, without what differs from run to run. */
function sentences(running: Running): string[] {
  const found: string[] = [];
  for (const line of running.errorLog().split("\n")) {
    const match = /\[(\w+)\] \d+#\d+: \*\d+ (.*client.*)$/.exec(line);
    if (match === null) continue;
    const sentence = comparable(`${match[1]}: ${match[2]}`, running);
    // The connections to the backend, which an older nginx did not keep; and how much is shown of what is too long.
    if (/client \S+ closed keepalive/.test(sentence)) continue;
    found.push(sentence.replace(/x{100}[\s\S]*/, "x...").replace(/[\x00-\x1f]/g, printed));
  }
  return found.sort();
}

/** Older versions wrote control bytes as they came. */
function printed(byte: string): string {
  return `\\x${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}

test("the same bytes get the same answers as from nginx", { skip: have("nginx") }, async (t) => {
  const [holdfast, nginx] = await Promise.all([startHoldfast(t, { config }), startNginx(t, { config })]);
  const differing: string[] = [];
  await Promise.all(
    Object.entries(CASES).map(async ([name, sent]) => {
      const pieces = typeof sent === "string" ? [sent] : sent;
      const [ours, theirs] = await Promise.all([
        exchange(holdfast.port, pieces, name === TIMED),
        exchange(nginx.port, pieces, name === TIMED),
      ]);
      const [a, b] = [comparable(ours, holdfast), comparable(theirs, nginx)];
      if (a !== b) differing.push(`${name}:\n  ours:   ${JSON.stringify(a)}\n  nginx's: ${JSON.stringify(b)}`);
    }),
  );
  await Promise.all([holdfast.stop("SIGQUIT"), nginx.stop("SIGQUIT")]);
  assert.equal(differing.join("\n"), "");
  assert.deepEqual(sentences(holdfast), sentences(nginx));
});
