/** Files that stand for others, compressed: `gzip_static` as nginx beside it answers. */
import assert from "node:assert/strict";
import { utimesSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, type RawResponse, request } from "../support/tcp.ts";

const LONG = Array.from({ length: 10_000 }, (_, i) => `${i * i} is the square of ${i}\n`).join("");

const FILES = {
  "html/both.html": "as it is",
  "html/both.html.gz": gzipSync("compressed"),
  "html/only.html.gz": gzipSync("compressed only"),
  "html/plain.html": "plain",
  "html/long.html.gz": gzipSync(LONG, { level: 0 }),
  "html/empty.html.gz": "",
  "html/folder.gz/x": "",
  "html/folder": "a file beside a folder",
  "html/index.html": "index",
  "html/index.html.gz": gzipSync("index compressed"),
  "html/error.html.gz": gzipSync("an error"),
};

const config = ([port]: readonly number[]): string => `
  http {
    types { text/html html; }
    server {
      listen 127.0.0.1:${port};
      gzip_static on;
      location / { }
      location /vary/ { gzip_vary on; alias html/; }
      location /off/ { gzip_static off; alias html/; }
      location /always/ { gzip_static always; gzip_vary on; alias html/; }
      location /gzip/ { gzip on; gzip_vary on; alias html/; }
      location /gunzip/ { gunzip on; gzip_static always; gzip_vary on; alias html/; }
      location /links/ { disable_symlinks on; alias html/; }
      location /etag/ { etag off; alias html/; }
      location /failed/ { error_page 404 /error.html; }
      location /1.0/ { gzip_http_version 1.0; alias html/; }
    }
  }`;

async function started(start: (options: { config: typeof config; files: typeof FILES }) => Promise<Running>) {
  const running = await start({ config, files: FILES });
  for (const path of Object.keys(FILES)) utimesSync(join(running.prefix, path), 1_700_000_000, 1_700_000_000);
  return running;
}

function comparable({ statusLine, status, headers, body }: RawResponse): unknown {
  // nginx has ranges of these files since 1.29.
  const fields = headers.filter(([name]) => !["server", "date", "accept-ranges"].includes(name));
  // The pages of errors have the program's name in them.
  const page = body.startsWith("<html>") || (status === 404 && headers.some(([name]) => name === "content-encoding"));
  return {
    statusLine,
    fields: page ? fields.filter(([name]) => name !== "content-length") : fields,
    body: page || body,
  };
}

const GZIP = "Accept-Encoding: gzip";

test("gzip_static answers as nginx does", { skip: have("nginx") }, async (t) => {
  const holdfast = await started((options) => startHoldfast(t, options));
  const nginx = await started((options) => startNginx(t, options));
  const same = async (line: string, ...fields: string[]) => {
    const raw = [line, "Host: localhost", "Connection: close", ...fields, "", ""].join("\r\n");
    const answers = await Promise.all([request(holdfast.port, raw), request(nginx.port, raw)]);
    assert.deepEqual(comparable(answers[0]), comparable(answers[1]), `${line} ${fields}`);
  };
  const names = ["both.html", "only.html", "plain.html", "long.html", "empty.html", "none.html", "folder", ""];
  // The second time small files are in memory.
  for (let round = 0; round < 2; round++) {
    for (const place of ["", "vary/", "off/", "always/", "gzip/", "gunzip/", "links/", "etag/", "failed/", "1.0/"]) {
      for (const name of names) {
        if (place === "gunzip/" && name === "empty.html") continue;
        await same(`GET /${place}${name} HTTP/1.1`, GZIP);
        await same(`GET /${place}${name} HTTP/1.1`);
      }
      await same(`HEAD /${place}both.html HTTP/1.1`, GZIP);
      await same(`POST /${place}both.html HTTP/1.1`, GZIP, "Content-Length: 0");
      await same(`GET /${place}both.html HTTP/1.0`, GZIP);
    }
  }
  await same("GET /both.html HTTP/1.1", GZIP, "Via: 1.1 proxy");
  await same("GET /both.html HTTP/1.1", GZIP, "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT");
  const etag = (await get(holdfast.port, "/both.html", GZIP)).header("etag");
  await same("GET /both.html HTTP/1.1", GZIP, `If-None-Match: ${etag}`);
  await same("GET /both.html HTTP/1.1", `If-None-Match: ${etag}`);
});

test("ranges are those of the compressed file", async (t) => {
  const holdfast = await started((options) => startHoldfast(t, options));
  const { status, body } = await get(holdfast.port, "/both.html", GZIP, "Range: bytes=2-5");
  assert.equal(status, 206);
  assert.equal(body, FILES["html/both.html.gz"].subarray(2, 6).toString("latin1"));
});
