import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { typeAndCharset } from "../../../../src/http/files/content_type.ts";
import { headText } from "../../../../src/wire/head_text.ts";
import { have } from "../../../support/have.ts";
import { type Running, runHoldfast, startHoldfast, startNginx } from "../../../support/holdfast.ts";
import { RawConnection } from "../../../support/tcp.ts";

/** Bytes written as such: the configuration file is UTF-8. */
const FILES = {
  "files/a.html": Buffer.from("caf\xe9 \xa4 X", "latin1"),
  "files/u.html": "café € X — 日",
  "files/long.html": Buffer.from(`${"X".repeat(1000)}\xe9`.repeat(100), "latin1"),
  "files/a.foo": "X",
  "files/a.xml": "X",
} as const;

const config = (ports: readonly number[]): string => `http {
  types { text/html html; text/foo foo; text/xml xml; }
  charset_map one utf-8 { A4 E282AC; E9 C3A9; }
  charset_map B A { 58 59; }
  map $arg_s $by_map { default one; u utf-8; }
  server {
    listen 127.0.0.1:${ports[0]};
    root files;
    location / { charset Utf-8; }
    location /types/ { alias files/; charset_types text/foo; charset utf-8; }
    location /any/ { alias files/; charset_types *; charset utf-8; }
    location /to-utf8/ { alias files/; source_charset one; charset utf-8; }
    location /from-utf8/ { alias files/; source_charset utf-8; charset one; }
    location /bytes/ { alias files/; source_charset B; charset A; }
    location /same/ { alias files/; source_charset UTF-8; charset utf-8; }
    location /variable/ { alias files/; charset $arg_c; source_charset $arg_s; }
    location /mapped/ { alias files/; charset utf-8; source_charset $by_map; }
    location /off/ { alias files/; charset off; }
    location /moved { charset utf-8; return 301 /; }
    location /error { charset utf-8; return 404; }
    location /if/ { alias files/; if ($arg_c) { charset one; source_charset utf-8; } }
    location /proxied/ { proxy_pass http://127.0.0.1:${ports[1]}/; charset utf-8; }
    location /override/ { proxy_pass http://127.0.0.1:${ports[1]}/; charset utf-8; override_charset on; }
    location /passed/ { proxy_pass http://127.0.0.1:${ports[1]}/; }
    location /ignored/ { proxy_pass http://127.0.0.1:${ports[1]}/; proxy_ignore_headers X-Accel-Charset; }
    location /internal/ { internal; alias files/; source_charset one; }
  }
  server {
    listen 127.0.0.1:${ports[1]};
    root files;
    charset off;
    location / { types { } default_type "text/html; charset=one"; }
    location /spaced/ { alias files/; types { } default_type 'text/html;a=b;  Charset="one"'; }
    location /strange/ { alias files/; types { } default_type "text/html; charset=strange"; }
    location /wanted/ { alias files/; source_charset B; add_header X-Accel-Charset utf-8; types { } default_type "text/html; charset=one"; }
    location /encoded/ { alias files/; add_header Content-Encoding br; types { } default_type "text/html; charset=one"; }
    location /unknown/ { alias files/; add_header X-Accel-Charset nothing; }
    location /redirect { add_header X-Accel-Charset utf-8; add_header X-Accel-Redirect /internal/a.html; return 204; }
  }
}`;

const PATHS = [
  "/a.html",
  "/a.foo",
  "/a.xml",
  "/types/a.foo",
  "/types/a.html",
  "/types/a.xml",
  "/any/a.foo",
  "/to-utf8/a.html",
  "/to-utf8/long.html",
  "/from-utf8/u.html",
  "/bytes/a.foo",
  "/bytes/long.html",
  "/same/u.html",
  "/variable/a.html?c=utf-8&s=one",
  "/variable/a.html?c=other&s=other",
  "/variable/a.html?c=other&s=one",
  "/mapped/a.html",
  "/mapped/u.html?s=u",
  "/off/a.html",
  "/moved",
  "/error",
  "/if/u.html?c=1",
  "/if/u.html",
  "/proxied/a.html",
  "/override/a.html",
  "/override/spaced/a.html",
  "/override/strange/a.html",
  "/override/encoded/a.html",
  "/proxied/spaced/a.html",
  "/passed/spaced/a.html",
  "/passed/wanted/a.html",
  "/passed/unknown/a.html",
  "/ignored/wanted/a.html",
  "/passed/redirect",
  "/variable/a.html?c=utf-8",
  "/variable/a.html",
];

async function ask(server: Running, path: string, fields: string): Promise<string> {
  const connection = await RawConnection.open(server.port);
  try {
    connection.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${fields}\r\n`);
    if ((await connection.until((received) => received.length > 0)) === "") return "closed";
    const { status, body, header } = await connection.readResponse();
    const shown = ["content-type", "content-length", "transfer-encoding", "content-range"].map(header);
    return `${status} ${shown.join(" | ")} ${status === 404 ? "" : body.length > 200 ? digest(body) : body}`;
  } finally {
    connection.close();
  }
}

/** A long body in short. */
function digest(body: string): string {
  return `${body.length} bytes, ${createHash("sha256").update(body, "latin1").digest("hex")}`;
}

async function answers(server: Running): Promise<readonly string[]> {
  const found: string[] = [];
  for (const path of PATHS) {
    for (const fields of ["", "Range: bytes=0-4\r\n"]) found.push(`${path} ${await ask(server, path, fields)}`);
  }
  return found;
}

const complaints = (server: Running): readonly string[] =>
  server
    .errorLog()
    .match(/no "charset_map" between the charsets "[^"]*" and "[^"]*"|unknown charset "[^"]*" to override/g) ?? [];

test("responses have the charset and the bytes that nginx gives them", { skip: have("nginx") }, async (t) => {
  const ours = await startHoldfast(t, { config, files: FILES });
  const theirs = await startNginx(t, { config, files: FILES });
  const mine = (await answers(ours)).map(withoutLength);
  assert.deepEqual(mine, (await answers(theirs)).map(withoutLength));
  assert.deepEqual(complaints(ours), complaints(theirs));
  assert.ok(complaints(ours).length > 0);
});

/** The page of an error has another signature. */
function withoutLength(answer: string): string {
  return /^\S+ (404|30\d) /.test(answer) ? answer.replace(/ \d+ \|.*/s, "") : answer;
}

test("a conversion without a map is refused when the configuration is read", async (t) => {
  const refused = async (http: string, message: RegExp) => {
    const { code, stderr } = await runHoldfast(t, { config: `http { ${http} }`, args: ["-t"] });
    assert.equal(code, 1);
    assert.match(stderr, message);
  };
  const server = "server { listen 127.0.0.1:1; charset a; source_charset b; }";
  await refused(server, /\[emerg\] .*no "charset_map" between the charsets "b" and "a"/);
  await refused(`charset_map a b { 80 81; 82 } ${server}`, /unexpected "}"/);
  await refused("charset $nothing; server { listen 127.0.0.1:1; }", /unknown "nothing" variable/);
  await refused("charset a; charset b;", /"charset" directive is duplicate/);
});

test("the charset in an upstream's Content-Type is told apart as nginx does", () => {
  const cases: Readonly<Record<string, readonly [string, string]>> = {
    "text/html": ["text/html", ""],
    "text/html;": ["text/html;", ""],
    "text/html; a=b": ["text/html; a=b", ""],
    "text/html;charset=x": ["text/html", "x"],
    'text/html;   CHARSET="x y"': ["text/html", "x y"],
    "text/html; a=b; charset=x": ["text/html; a=b", "x"],
    "text/html; charset=": ["text/html", ""],
    'text/html; charset="': ["text/html", ""],
  };
  for (const [text, [type, charset]] of Object.entries(cases)) {
    const sent = headText(text);
    const response = { contentType: sent, upstreamType: sent, charset: undefined };
    assert.deepEqual(typeAndCharset(response), { type, charset }, text);
  }
});
