import assert from "node:assert/strict";
import { utimesSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { RawConnection } from "../support/tcp.ts";

/** Which fields a response has, by its status and by what made it: everything compared with a real nginx. */

const STATUSES = [
  200, 201, 202, 203, 204, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 410, 412,
].concat([416, 418, 422, 429, 451, 500, 501, 502, 503, 504, 507, 599]);
const ERRORS = STATUSES.filter((status) => status >= 400);

const DATE = "Sun, 13 Sep 2020 12:26:40 GMT";

const FIELDS = "add_header X-Good g; add_header X-Always a always; expires 1h; charset utf-8;";

function config(backend: string) {
  return ([port]: readonly number[]): string =>
    `http {
    access_log off; server_tokens off; keepalive_timeout 0; default_type text/plain;
    server {
      listen 127.0.0.1:${port}; root html; ${FIELDS}
      location /bare/ { add_header_none; alias html/; expires off; charset off; }
      location /modified/ { alias html/; expires modified 1d; }
      ${STATUSES.map((status) => `location = /return/${status} { return ${status}; } location = /text/${status} { return ${status} text; }`).join("\n")}
      ${ERRORS.map(
        (status) => `
      location = /page/${status} { error_page ${status} /page.html; return ${status}; }
      location = /as200/${status} { error_page ${status} =200 /page.html; return ${status}; }
      location = /as410/${status} { error_page ${status} =410 /page.html; return ${status}; }
      location = /own/${status} { error_page ${status} = /page.html; return ${status}; }
      location = /named/${status} { error_page ${status} @named; return ${status}; }
      location = /url/${status} { error_page ${status} =301 http://other.example/; return ${status}; }
      location = /proxied-page/${status} { error_page ${status} /answer/200; return ${status}; }
      location = /intercepted/${status} { rewrite ^ /answer/${status} break; proxy_pass http://${backend};
        proxy_intercept_errors on; error_page ${status} /page.html; }`,
      ).join("\n")}
      location @named { add_header X-Named n always; return 404 named; }
      location /answer/ { proxy_pass http://${backend}; }
      location /forced/ { proxy_pass http://${backend}/answer/200/; proxy_force_ranges on; }
      location /accel { proxy_pass http://${backend}; }
      location /paged/ { alias html/; etag off; error_page 412 416 /page.html; }
      location /paged-as-200/ { alias html/; error_page 412 =200 /page.html; }
      location /private/ { alias html/; auth_basic x; auth_basic_user_file users; error_page 401 /page.html; }
      location /forbidden/ { deny all; }
      location /deep/ { location = /deep/page { error_page 404 = @deeper; return 404; } }
      location @deeper { proxy_pass http://${backend}; rewrite ^ /answer/503 break; }
    } }`.replace("add_header_none;", "add_header X-Bare b;");
}

const FILES = {
  "html/file.txt": "x".repeat(2000),
  "html/page.html": "<p>page</p>\n",
  "html/dir/index.html": "i",
  users: "",
};

/** Paths, with fields of the request where there are some. */
const REQUESTS: readonly (readonly [path: string, ...fields: string[]])[] = [
  ...STATUSES.flatMap((status): [string][] => [[`/return/${status}`], [`/text/${status}`], [`/answer/${status}`]]),
  ...ERRORS.flatMap((status): [string][] =>
    ["page", "as200", "as410", "own", "named", "url", "proxied-page", "intercepted"].map((kind) => [
      `/${kind}/${status}`,
    ]),
  ),
  ...["/file.txt", "/bare/file.txt", "/modified/file.txt", "/paged/file.txt", "/forced/"].flatMap(
    (path): [string, ...string[]][] => [
      [path],
      [path, "Range: bytes=0-9"],
      [path, "Range: bytes=-5"],
      [path, "Range: bytes=5000-"],
      [path, "Range: bytes=5000-", `If-Range: ${DATE}`],
      [path, "Range: bytes=0-1", 'If-Range: "other"'],
      [path, "Range: nonsense"],
      [path, `If-Modified-Since: ${DATE}`],
      [path, "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT"],
      [path, 'If-Match: "other"'],
      [path, "If-None-Match: *"],
    ],
  ),
  ["/paged-as-200/file.txt", 'If-Match: "other"'],
  ["/dir"],
  ["/dir/"],
  ["/missing"],
  ["/missing.html"],
  ["/accel"],
  ["/accel-untyped"],
  ["/accel", "Range: bytes=0-9"],
  ["/accel", "Range: bytes=5000-"],
  ["/private/file.txt"],
  ["/forbidden/"],
  ["/deep/page"],
];

/** Answers `/answer/STATUS` with fields that a proxy may keep, drop or change. */
async function origin(t: TestContext): Promise<string> {
  const backend = await httpBackend(t, (request, response) => {
    if (request.url?.startsWith("/accel")) {
      const type = request.url === "/accel" ? "text/x-accel" : "";
      const kept = { "Set-Cookie": "a=b", "Content-Type": type, "Cache-Control": "private", "X-Lost": "1" };
      response.writeHead(200, { ...kept, "X-Accel-Redirect": "/file.txt", "Last-Modified": DATE, ETag: '"accel"' });
      response.end();
      return;
    }
    const status = Number(/^\/answer\/(\d+)/.exec(request.url ?? "")?.[1]);
    const bodiless = status === 204 || status === 304;
    response.writeHead(status, {
      "Content-Type": "text/html",
      "Last-Modified": DATE,
      ETag: '"answer"',
      "Accept-Ranges": "bytes",
      "Content-Location": "/elsewhere",
      "Content-Language": "de",
      "Cache-Control": "max-age=9",
      ...(bodiless ? {} : { "Content-Length": 2000 }),
      ...(status === 206 ? { "Content-Range": "bytes 0-1999/9999" } : {}),
      ...(status === 401 ? { "WWW-Authenticate": "Basic realm=answer" } : {}),
      ...(status >= 300 && status < 400 ? { Location: "/there" } : {}),
    });
    response.end(bodiless ? "" : "y".repeat(2000));
  });
  return backend.address;
}

async function exchange(port: number, path: string, fields: readonly string[]): Promise<string> {
  const connection = await RawConnection.open(port);
  connection.write([`GET ${path} HTTP/1.1`, "Host: a", ...fields, "", ""].join("\r\n"));
  try {
    return await connection.readAll();
  } finally {
    connection.close();
  }
}

/** What may differ: times, names, and with them the length of the built-in pages. */
function comparable(text: string, { ports }: Running): string {
  const end = text.indexOf("\r\n\r\n");
  const body = text.slice(end + 4);
  const builtIn = /<hr><center>/.test(body);
  return text
    .slice(0, end)
    .split("\r\n")
    .filter((line) => !/^(Date|Server):/.test(line) && !(builtIn && line.startsWith("Content-Length:")))
    .map((line) => line.replace(/^Expires: .*/, "Expires: …").replace(`:${ports[0]}`, ":PORT"))
    .map((line) => line.replace(/boundary=\d+/, "boundary=…"))
    .toSorted()
    .join("\n")
    .concat(builtIn ? "" : `\n${body.slice(0, 40)}`);
}

test("a response has the fields that nginx gives it, by its status and what made it", {
  skip: have("nginx"),
}, async (t) => {
  const address = await origin(t);
  const options = { config: config(address), files: FILES };
  const [holdfast, nginx] = await Promise.all([startHoldfast(t, options), startNginx(t, options)]);
  const time = new Date(DATE);
  for (const { prefix } of [holdfast, nginx])
    for (const name of ["file.txt", "page.html"]) utimesSync(join(prefix, "html", name), time, time);
  const differing: string[] = [];
  for (const [path, ...fields] of REQUESTS) {
    const [ours, theirs] = await Promise.all([
      exchange(holdfast.port, path, fields).then((text) => comparable(text, holdfast)),
      exchange(nginx.port, path, fields).then((text) => comparable(text, nginx)),
    ]);
    if (ours !== theirs) differing.push(`${path} ${fields.join(", ")}\n--- ours\n${ours}\n--- nginx's\n${theirs}`);
  }
  assert.equal(differing.join("\n\n"), "");
});
