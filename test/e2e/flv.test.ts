import assert from "node:assert/strict";
import { utimesSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { essenceOf } from "../support/essence.ts";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, request } from "../support/tcp.ts";

const HEADER = "FLV\x01\x05\0\0\0\x09\0\0\0\0";
const VIDEO = Array.from({ length: 100 }, (_, i) => `X${String(i).padStart(3, "0")}XXXXXX`).join("");
const BIG = Buffer.alloc(2_000_000, "The quick brown fox jumps over the lazy dog. ").toString("latin1");
const FILES = { "html/v.flv": VIDEO, "html/empty.flv": "", "html/big.flv": BIG, "html/directory/x": "" };

const config = ([port]: readonly number[]): string =>
  `http { access_log off; types { video/x-flv flv; } server { listen 127.0.0.1:${port}; location / { root html; flv; } } }`;

const PATHS = [
  "/v.flv",
  ...["0", "1", "13", "500", "999", "1000", "99999999999999999999", "-1", "1.5", "x", ""].map(
    (n) => `/v.flv?start=${n}`,
  ),
  "/v.flv?start=5&start=7",
  "/v.flv?end=7",
  "/empty.flv",
  "/empty.flv?start=0",
  "/big.flv?start=1000000",
  "/none.flv?start=1",
  "/directory?start=1",
  "/directory/?start=1",
];
const HEADERS = [
  [],
  ["Range: bytes=0-9"],
  ["Range: bytes=5-20"],
  ["Range: bytes=13-13"],
  ["Range: bytes=100-"],
  ["Range: bytes=-10"],
  ["Range: bytes=5000000-"],
  ["If-Modified-Since: Sun, 13 Sep 2020 12:26:40 GMT"],
];

test("videos from a position, and ranges of them, are nginx's", { skip: have("nginx") }, async (t) => {
  const holdfast = await startHoldfast(t, { config, files: FILES });
  const nginx = await startNginx(t, { config, files: FILES });
  for (const { prefix } of [holdfast, nginx]) {
    for (const file of Object.keys(FILES)) utimesSync(join(prefix, file), 1_600_000_000, 1_600_000_000);
  }
  for (const path of PATHS) {
    for (const headers of HEADERS) {
      const [ours, theirs] = await Promise.all([
        get(holdfast.port, path, ...headers),
        get(nginx.port, path, ...headers),
      ]);
      assert.deepEqual(essenceOf(ours), essenceOf(theirs), `${path} ${headers}`);
    }
    const head = `HEAD ${path} HTTP/1.0\r\n\r\n`;
    assert.deepEqual(essenceOf(await request(holdfast.port, head)), essenceOf(await request(nginx.port, head)), path);
  }
  const post = "POST /v.flv HTTP/1.0\r\nContent-Length: 0\r\n\r\n";
  assert.equal((await request(holdfast.port, post)).status, 405);
});

test("several ranges of such a video are sent, wherever they lie", async (t) => {
  const holdfast = await startHoldfast(t, { config, files: FILES });
  const { status, body } = await get(holdfast.port, "/v.flv?start=500", "Range: bytes=0-3,10-22,100-104");
  assert.equal(status, 206);
  const whole = HEADER + VIDEO.slice(500);
  const parts = body.split(/\r\n--\d{20}(?:--)?\r\n/).slice(1, -1);
  assert.deepEqual(
    parts.map((part) => part.slice(part.indexOf("\r\n\r\n") + 4)),
    [whole.slice(0, 4), whole.slice(10, 23), whole.slice(100, 105)],
  );
});
