/** `gzip` and what is around it in the core, as nginx beside it answers. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { utimesSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { httpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, RawConnection, type RawResponse, request } from "../support/tcp.ts";

const TEXT = "A line of text that comes again and again, now and then.\n".repeat(200);
const LONG = Array.from({ length: 40_000 }, (_, i) => `${i * i} is the square of ${i}\n`).join("");

const FILES = {
  "html/text.html": TEXT,
  "html/long.html": LONG,
  "html/tiny.html": "0123456789012345678",
  "html/enough.html": "01234567890123456789",
  "html/text.css": TEXT,
  "html/missing.html": `not here ${TEXT}`,
};

const config =
  (backend: string) =>
  ([port]: readonly number[]): string =>
    `
  http {
    types { text/html html; text/css css; }
    default_type text/plain;
    gzip_vary on;
    proxy_http_version 1.1;
    server {
      listen 127.0.0.1:${port};
      gzip on;
      location / { }
      location /off/ { gzip off; alias html/; }
      location /css/ { gzip_types text/css; alias html/; }
      location /any/ { gzip_types *; alias html/; }
      location /least/ { gzip_min_length 100k; alias html/; }
      location /best/ { gzip_comp_level 9; gzip_window 1k; gzip_hash 512; gzip_buffers 2 1k; alias html/; }
      location /quiet/ { gzip_vary off; alias html/; }
      location /old/ { gzip_http_version 1.0; alias html/; }
      location /agent/ { gzip_disable "msie6" "Mozilla/4" bad; alias html/; }
      location /agent/within/ { gzip_disable other; alias html/; }
      location /return { return 200 "${"some text that is long enough"}"; default_type text/html; }
      location /status { return 500 "${"some text that is long enough"}"; default_type text/html; }
      location /forbidden { return 403; }
      location /gone { error_page 404 /missing.html; return 404; }
      location /added/ { add_header X-One one; add_header Cache-Control no-store; alias html/; }
      location /sub/ { sub_filter line LINE; sub_filter_once off; alias html/; }
      location /charset/ { charset utf-8; alias html/; }
      location /range/ { max_ranges 0; alias html/; }
      location /proxy/ { proxy_pass http://${backend}/; }
      location /unbuffered/ { proxy_buffering off; proxy_pass http://${backend}/; }
      location /http10/ { proxy_http_version 1.0; proxy_pass http://${backend}/; }
      location /via/off/ { gzip_proxied off; proxy_pass http://${backend}/; }
      location /via/any/ { gzip_proxied any; proxy_pass http://${backend}/; }
      location /via/auth/ { gzip_proxied auth; proxy_pass http://${backend}/; }
      location /via/expired/ { gzip_proxied expired no_etag; proxy_pass http://${backend}/; }
      location /via/cache/ { gzip_proxied no-cache no-store private; proxy_pass http://${backend}/; }
      location /via/modified/ { gzip_proxied no_last_modified no_etag; proxy_pass http://${backend}/; }
    }
  }`;

/** Both, with the same files of the same time, in front of the same backend. */
async function both(t: Parameters<typeof startNginx>[0]): Promise<readonly [Running, Running]> {
  const { address } = await httpBackend(t, ({ url }, response) => {
    const [path, query = ""] = (url ?? "").split("?");
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    for (const field of query.split("&")) {
      const [name, value] = field.split("=", 2);
      if (value !== undefined) response.setHeader(name, decodeURIComponent(value));
    }
    response.removeHeader("Date");
    response.sendDate = query.includes("Date") === false;
    if (path === "/long") response.end(LONG);
    else if (path === "/empty") response.end();
    else if (path === "/length") response.setHeader("Content-Length", TEXT.length).end(TEXT);
    else if (path === "/none") response.writeHead(204).end();
    else response.write(TEXT, () => response.end());
  });
  const options = { config: config(address), files: FILES };
  const pair = [await startHoldfast(t, options), await startNginx(t, options)] as const;
  for (const { prefix } of pair) {
    for (const path of Object.keys(FILES)) utimesSync(join(prefix, path), 1_700_000_000, 1_700_000_000);
  }
  return pair;
}

/** What is the same of an answer by both: all but the names, the times, and how the body is compressed and cut. */
function comparable({ statusLine, status, headers, body }: RawResponse): unknown {
  const coded = headers.some(([name, value]) => name === "content-encoding" && value === "gzip");
  // The pages of errors have the program's name in them. Where Last-Modified of a backend stands is not the same.
  const fields = headers
    .filter(([name]) => name !== "server" && name !== "date" && (name !== "content-length" || status < 400))
    .sort();
  const plain = coded && body !== "" ? gunzipSync(Buffer.from(body, "latin1")).toString("latin1") : body;
  const text = plain.replace(/(holdfast|nginx)\/[\d.]+/, "NAME");
  return { statusLine, fields, body: text.length <= 1000 ? text : createHash("sha1").update(text).digest("hex") };
}

const GZIP = "Accept-Encoding: gzip";
const VIA = "Via: 1.1 proxy";
const PATHS: readonly string[] = [
  ...["/text.html", "/long.html", "/tiny.html", "/enough.html", "/text.css", "/nowhere.html"],
  ...["/off", "/css", "/any", "/least", "/best", "/quiet", "/added", "/sub", "/charset", "/range"].map(
    (place) => `${place}/text.html`,
  ),
  ...["/css/text.css", "/any/text.css", "/least/long.html", "/best/long.html", "/off/long.html"],
  ...["/return", "/status", "/forbidden", "/gone"],
  ...["/proxy/text", "/proxy/long", "/proxy/empty", "/proxy/length", "/proxy/none", "/unbuffered/long", "/http10/text"],
  ...["/proxy/length?ETag=%22abc%22", "/proxy/length?ETag=W/%22abc%22", "/proxy/length?ETag=abc"],
  ...["/proxy/length?Content-Encoding=br", "/proxy/length?Content-Encoding=", "/proxy/text?Content-Type=text/css"],
  ...["/proxy/length?Accept-Ranges=bytes", "/proxy/text?Vary=Accept-Encoding"],
];

const ACCEPTED: readonly string[] = [
  ...["gzip", "gzip, deflate, br", "deflate, gzip;q=1.0, *;q=0.5", "GZIP", "br,gzip", "br;q=1,gzip;q=0.001"],
  ...["gzip;q=0", "gzip;q=0.000", "gzip;q=0.0001", "gzip;q=1.1", "gzip;q=2", "gzip;q=", "gzip;q", "gzip;", "gzip;x=1"],
  ...["gzip ; q=1", "gzip; q=0.5, br", "gzip;q =1", "gzip;Q=0.1", "x-gzip", "gzipx", "xgzip, gzip", "xgzipgzip", "*"],
  ...["identity", "", "gzip\tq", "gzip;q=0.1;x", "gz, ip", "deflate,\tgzip", "deflate; gzip", "gzip,gzip;q=0", "gzi"],
];

test("gzip answers as nginx does", { skip: have("nginx") }, async (t) => {
  const [holdfast, nginx] = await both(t);
  const same = async (raw: string) => {
    const [mine, theirs] = await Promise.all([request(holdfast.port, raw), request(nginx.port, raw)]);
    assert.deepEqual(comparable(mine), comparable(theirs), raw);
    return mine;
  };
  const ask = (path: string, fields: readonly string[], method = "GET", version = "1.1") =>
    same([`${method} ${path} HTTP/${version}`, "Host: localhost", "Connection: close", ...fields, "", ""].join("\r\n"));

  for (const path of PATHS) {
    for (const fields of [[GZIP], []]) await ask(path, fields);
    await ask(path, [GZIP], "HEAD");
    await ask(path, [GZIP], "GET", "1.0");
  }
  for (const accepted of ACCEPTED) await ask("/enough.html", [`Accept-Encoding: ${accepted}`]);
  await ask("/old/text.html", [GZIP], "GET", "1.0");
  await ask("/text.html", [GZIP, "Range: bytes=0-9"]);
  await ask("/text.html", ["Range: bytes=0-9"]);
  await ask("/range/text.html", [GZIP, "Range: bytes=0-9"]);

  for (const agent of ["Mozilla/4.0 (compatible; MSIE 6.0; Windows)", "Mozilla/4.0 SV1", "BAD", "curl", "Other"]) {
    for (const place of ["/agent", "/agent/within"]) await ask(`${place}/text.html`, [GZIP, `User-Agent: ${agent}`]);
  }

  const queries = ["", "Cache-Control=no-cache", "Cache-Control=max-age%3D1,%20no-store", "Cache-Control=private%3Dx"];
  queries.push(
    "Cache-Control=xprivate",
    "Cache-Control=Private",
    "ETag=%22a%22",
    "Last-Modified=Thu,%2001%20Jan%201970%2000:00:01%20GMT",
  );
  queries.push("Expires=Thu,%2001%20Jan%201970%2000:00:01%20GMT", "Expires=Thu,%2001%20Jan%202099%2000:00:01%20GMT");
  queries.push("Expires=never", "Expires=Thu,%2001%20Jan%201970%2000:00:01%20GMT&Date=today");
  for (const place of ["off", "any", "auth", "expired", "cache", "modified"]) {
    for (const query of queries) await ask(`/via/${place}/length?${query}`, [GZIP, VIA]);
    await ask(`/via/${place}/length`, [GZIP, VIA, "Authorization: Basic eDp4"]);
  }
});

test("a compressed response is found unchanged by the tag that it has", async (t) => {
  const holdfast = await startHoldfast(t, { config: config("127.0.0.1:1"), files: FILES });
  const first = await get(holdfast.port, "/text.html", GZIP);
  const etag = first.header("etag") ?? "";
  assert.match(etag, /^W\/"/);
  const again = await get(holdfast.port, "/text.html", GZIP, `If-None-Match: ${etag}`);
  assert.equal(again.status, 304);
  assert.equal(again.header("content-encoding"), undefined);
});

test("what the backend sends without buffering is passed on at once", async (t) => {
  let goOn: (() => void) | undefined;
  const { address } = await httpBackend(t, (_request, response) => {
    response.setHeader("Content-Type", "text/html");
    response.write("the first part, ");
    goOn = () => response.end("the last part");
  });
  const holdfast = await startHoldfast(t, { config: config(address) });
  const connection = await RawConnection.open(holdfast.port);
  connection.write(`GET /unbuffered/ HTTP/1.1\r\nHost: x\r\n${GZIP}\r\nConnection: close\r\n\r\n`);
  // A flush ends with an empty stored block.
  await connection.until((received) => received.includes("\0\0\xff\xff"));
  goOn?.();
  const { body } = await connection.readResponse();
  assert.equal(gunzipSync(Buffer.from(body, "latin1")).toString(), "the first part, the last part");
  connection.close();
});

test("$gzip_ratio is in the log, also of a response that came in many pieces", { skip: have("nginx") }, async (t) => {
  const text = ([port]: readonly number[]) => `worker_processes 1; http {
    log_format ratio "$uri $gzip_ratio";
    access_log logs/ratio.log ratio;
    types { text/html html; }
    server { listen 127.0.0.1:${port}; gzip on; gzip_comp_level 9; }
  }`;
  const options = { config: text, files: { ...FILES, "html/zeros.html": "0".repeat(100_000) } };
  const logs: string[] = [];
  for (const program of [await startHoldfast(t, options), await startNginx(t, options)]) {
    for (const path of ["/zeros.html", "/text.html", "/tiny.html"]) await get(program.port, path, GZIP);
    await get(program.port, "/text.html");
    await get(program.port, "/long.html", GZIP);
    await program.waitForLog(/long\.html/, "logs/ratio.log");
    logs.push(program.read("logs/ratio.log"));
  }
  const [mine, theirs] = logs.map((log) => log.replaceAll(/\.html (\d+\.\d)\d/g, ".html $1"));
  assert.equal(mine, theirs);
});
