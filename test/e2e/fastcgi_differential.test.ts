import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { inspect, isDeepStrictEqual } from "node:util";
import { answer, END_REQUEST, err, fastcgiBackend, OVER, out } from "../support/fastcgi.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { type RawResponse, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";
import { record } from "../wire/fastcgi_record.ts";

/** The same answers of a FastCGI application to Holdfast and to a real nginx: what the client gets, and what is logged. */

const HEAD = "Content-Type: text/plain";
const KNOWN = `${HEAD}\r\nContent-Length: 4`;

/** An answer: pieces that are sent one by one; then the application closes. */
interface Answer {
  readonly pieces: readonly string[];
  readonly ending: "close" | "reset";
}

const closed = (...pieces: string[]): Answer => ({ pieces, ending: "close" });

const ANSWERS: Readonly<Record<string, Answer>> = {
  plain: closed(answer(HEAD, "body")),
  "with a length": closed(answer(KNOWN, "body")),
  "less than its length, END_REQUEST alone": closed(out(`${KNOWN}\r\n\r\nbo`) + END_REQUEST),
  "more than its length": closed(answer(KNOWN, "body and more")),
  "more than its length in another record": closed(out(`${KNOWN}\r\n\r\nbody`) + out(" and more") + OVER),
  "END_REQUEST alone": closed(out(`${HEAD}\r\n\r\nbody`) + END_REQUEST),
  "a padded answer": closed(record(6, `${HEAD}\r\n\r\nbody`, 200) + record(6, "", 3) + record(3, "\0".repeat(8), 5)),
  "data behind the end": closed(answer(KNOWN, "body") + out("late")),
  "a head in two records": closed(out("Content-Ty") + out(`pe: text/plain\r\n\r\nbody`) + OVER),
  "a head byte by byte": closed([...`${HEAD}\r\nX: y\r\n\r\nbody`].map(out).join("") + OVER),
  "records in pieces": closed(...[...answer(HEAD, "body")]),
  "bare line feeds": closed(out("Content-Type: text/plain\nX: y\n\nbody") + OVER),
  "an empty body": closed(answer(HEAD)),
  nothing: closed(),
  "a part of a record": closed("\x01\x06\0"),
  "a part of a head": closed(out("Content-Type: te")),
  "the end of stdout before the head": closed(OVER),
  "END_REQUEST before the head": closed(END_REQUEST),
  "the end within the head": closed(out("Content-Type: te") + OVER),
  "a reset": { pieces: [], ending: "reset" },
  "another protocol": closed("HTTP/1.1 200 OK\r\n\r\n"),
  "another version": closed(record(6, "x", 0, 1, 2)),
  "another type": closed(record(9, "x")),
  "another id": closed(record(6, "x", 0, 2)),
  "a high id": closed(record(6, "x", 0, 0x0200)),
  "another type within the body": closed(out(`${HEAD}\r\n\r\nbody`) + record(9, "x")),
  "another type within a known body": closed(out(`${KNOWN}\r\n\r\nbo`) + record(9, "x")),
  "Status with a text": closed(answer("Status: 404 Not here\r\nX: y", "gone")),
  "Status alone": closed(answer("Status: 201", "made")),
  "Status, long": closed(answer("Status: 2015 x", "made")),
  "an invalid Status": closed(answer("Status: abc", "made")),
  "a short Status": closed(answer("Status: 20", "made")),
  "an empty Status": closed(answer("Status:", "made")),
  "Status and Location": closed(answer("Status: 303 See\r\nLocation: /there", "")),
  Location: closed(answer("Location: http://elsewhere/there", "")),
  "Status twice": closed(answer("Status: 200\r\nStatus: 500", "x")),
  "an HTTP status line": closed(answer("HTTP/1.1 404 Not Found\r\nX: y", "x")),
  "no content": closed(answer("Status: 204", "")),
  "no content with a body": closed(answer("Status: 204", "body")),
  "not modified": closed(answer("Status: 304\r\nETag: x", "")),
  "fields of the server": closed(answer(`${HEAD}\r\nServer: app\r\nDate: today\r\nX-Pad: x\r\nX-Powered-By: PHP`, "x")),
  "fields of one hop": closed(answer(`${HEAD}\r\nConnection: close\r\nKeep-Alive: x`, "x")),
  "Content-Length twice": closed(answer(`${KNOWN}\r\nContent-Length: 4`, "body")),
  "an invalid Content-Length": closed(answer("Content-Length: x", "body")),
  "chunked already": closed(answer("Transfer-Encoding: chunked", "0\r\n\r\n")),
  "an unknown coding": closed(answer("Transfer-Encoding: gzip", "x")),
  "an invalid field": closed(answer("X-\x01: y", "body")),
  "no colon": closed(answer("what is this", "body")),
  "a long head": closed(answer(`X: ${"x".repeat(5000)}`, "body")),
  cookies: closed(answer("Set-Cookie: a=b\r\nSet-Cookie: c=d", "x")),
  "X-Accel-Redirect": closed(answer("X-Accel-Redirect: /elsewhere?a=b\r\nSet-Cookie: a=b", "x")),
  "X-Accel-Redirect to a named location": closed(answer("X-Accel-Redirect: @named", "x")),
  "X-Accel-Redirect and Status": closed(answer("Status: 404\r\nX-Accel-Redirect: /elsewhere", "x")),
  "X-Accel-Buffering: no": closed(answer(`${KNOWN}\r\nX-Accel-Buffering: no`, "body")),
  "X-Accel-Buffering: yes": closed(answer(`${KNOWN}\r\nX-Accel-Buffering: yes`, "body")),
  "X-Accel-Limit-Rate": closed(answer(`${KNOWN}\r\nX-Accel-Limit-Rate: 100`, "body")),
  "X-Accel-Expires": closed(answer(`${HEAD}\r\nX-Accel-Expires: 10`, "body")),
  "stderr before the head": closed(err("PHP message: a warning.\n") + answer(HEAD, "body")),
  "stderr in two records": closed(err("one\n") + err("two. \r\n") + answer(HEAD, "body")),
  "stderr within the head": closed(out("Content-Ty") + err("a warning") + out("pe: text/plain\r\n\r\nbody") + OVER),
  "stderr behind the head": closed(out(`${HEAD}\r\n\r\nbody`) + err("a warning") + OVER),
  "stderr behind stdout": closed(out(`${HEAD}\r\n\r\nbody`) + out("") + err("late") + END_REQUEST),
  "stderr alone": closed(err("fatal") + OVER),
  "stderr alone, closed": closed(err("fatal")),
  "stderr of two lines": closed(err("one\ntwo\n") + answer(HEAD, "body")),
  "an empty stderr": closed(err("") + answer(HEAD, "body")),
  "stderr of dots": closed(err(" .\n") + answer(HEAD, "body")),
  "a caught stderr": closed(err("PHP Fatal error: x") + answer(HEAD, "body")),
  "a caught stderr behind the head": closed(out(`${HEAD}\r\n\r\nbody`) + err("PHP Fatal error: x") + OVER),
  "an error": closed(answer("Status: 500", "broken")),
  "a 401": closed(answer('Status: 401\r\nWWW-Authenticate: Basic realm="x"', "who")),
  "a redirect that is intercepted": closed(answer("Status: 302\r\nLocation: /x", "")),
};

/** What the nginx of older distributions passes on. */
const SINCE_1_23: ReadonlySet<string> = new Set([
  "Status twice",
  "no content with a body",
  "Content-Length twice",
  "an invalid Content-Length",
  "chunked already",
  "an unknown coding",
]);

/** The minor version of the nginx that there is. */
function minorVersion(): number {
  const { stderr } = spawnSync("nginx", ["-v"], {
    encoding: "latin1",
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
  });
  return Number(/nginx\/1\.(\d+)/.exec(stderr)?.[1] ?? 0);
}

/** How the application is asked, and for which answers, by the location's name. */
const LOCATIONS: Readonly<Record<string, { readonly options: string; readonly answers?: RegExp }>> = {
  buffered: { options: "" },
  unbuffered: { options: "fastcgi_buffering off;" },
  kept: { options: "fastcgi_keep_conn on;" },
  "kept-unbuffered": {
    options: "fastcgi_keep_conn on; fastcgi_buffering off;",
    answers: /length|end|stderr|padded|content/,
  },
  caught: { options: 'fastcgi_catch_stderr "PHP Fatal"; fastcgi_catch_stderr other;', answers: /stderr/ },
  intercepted: {
    options: "fastcgi_intercept_errors on; error_page 404 500 401 302 502 /error;",
    answers: /Status|error|401|redirect|protocol/,
  },
};

const config =
  (backend: string) =>
  ([port]: readonly number[]) =>
    `http { access_log off;
  upstream app { server ${backend} max_fails=0; keepalive 2; }
  server { listen 127.0.0.1:${port};
    location = /elsewhere { return 200 "elsewhere $args"; }
    location @named { return 200 named; }
    location = /error { internal; return 200 "error page"; }
    fastcgi_param CASE $http_x_case;
    ${Object.entries(LOCATIONS)
      .map(([name, { options }]) => `location /${name} { fastcgi_pass app; ${options} }`)
      .join("\n")} } }`;

/** A response without what differs in each, its fields in the order of their names. */
function comparable({ statusLine, headers, body }: RawResponse): unknown {
  const ownPage = body.includes("<hr><center>");
  const fields = headers.map(([name, value]) => {
    if (name === "date" && value.endsWith("GMT")) return "date";
    if (name === "content-length" && statusLine.includes("502")) return "content-length";
    return `${name}: ${value.replace(/^(nginx|holdfast)\/[\d.]+.*/, "")}`;
  });
  return { fields: fields.sort(), body: ownPage ? "page" : body };
}

interface Told {
  readonly statusLine: string;
  readonly response: unknown;
  /** What has been logged since, up to what the request was at, which nginx does not always know. */
  log(): readonly string[];
}

async function ask(server: Running, method: string, path: string, name: string): Promise<Told> {
  const before = server.errorLog().length;
  const head = `${method} ${path} HTTP/1.1\r\nHost: a\r\nX-Case: ${name}\r\nConnection: close\r\n\r\n`;
  const response = await request(server.port, head).catch(() => undefined);
  const log = () =>
    [
      ...server
        .errorLog()
        .slice(before)
        .matchAll(/\[(warn|error|crit|alert)\] \d+#\d+: \*\d+ ([\s\S]*?), client: /g),
    ].map(
      // Holdfast writes no line feed within a line.
      ([, level, sentence]) => `${level} ${sentence.replaceAll("\\x0A", "\n").replace(/ while reading.*/, "")}`,
    );
  if (response === undefined) return { statusLine: "", response: "broken off", log };
  return { statusLine: response.statusLine, response: comparable(response), log };
}

async function compared(holdfast: Running, nginx: Running, method: string, path: string, name: string): Promise<void> {
  const [ours, theirs] = await Promise.all([holdfast, nginx].map((server) => ask(server, method, path, name)));
  const what = `${method} ${path}, ${name}`;
  // An older nginx has no text for a Status without one.
  assert.ok(ours.statusLine.startsWith(theirs.statusLine), `${what}: ${ours.statusLine}, not ${theirs.statusLine}`);
  assert.deepEqual(ours.response, theirs.response, what);
  const both = () => `${what}: ${inspect({ ours: ours.log(), theirs: theirs.log() })}`;
  await waitFor(() => isDeepStrictEqual(ours.log(), theirs.log()), both);
}

test("a FastCGI application's answers are passed on as by nginx, and logged in its words", {
  skip: have("nginx"),
}, async (t) => {
  const backend = await fastcgiBackend(t, async ({ params }, connection) => {
    const { pieces, ending } = ANSWERS[params.get("CASE") ?? ""];
    for (const piece of pieces) {
      await new Promise((resolve) => connection.socket.write(Buffer.from(piece, "latin1"), resolve));
    }
    if (ending === "reset") connection.reset();
    else connection.end();
  });
  const holdfast = await startHoldfast(t, { config: config(backend.address) });
  const nginx = await startNginx(t, { config: config(backend.address) });
  const older = minorVersion() < 23;
  const names = Object.keys(ANSWERS).filter((name) => !older || !SINCE_1_23.has(name));
  for (const [location, { answers }] of Object.entries(LOCATIONS)) {
    for (const name of names) {
      if (answers?.test(name) === false) continue;
      await compared(holdfast, nginx, "GET", `/${location}`, name);
      if (location === "buffered") await compared(holdfast, nginx, "HEAD", `/${location}`, name);
    }
  }
});
