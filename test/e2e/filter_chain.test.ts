import assert from "node:assert/strict";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";

/** Body filters one behind the other, in responses made of several requests. All of it holds for nginx too. */

const FILES = {
  "html/page.html":
    '<!--#set var="x" value="koi \xe9" -->A <!--#echo var="x" --> <!--#include virtual="/part/inc.html" --> a',
  "html/inc.html": '[a <!--#include file="deep.html" --> A]',
  "html/deep.html": '(<!--#echo var="x" --> a)',
  "html/before.html": "before a ",
  "html/after.html": " after a",
  "html/text.html": "a text for slices, again and again. ".repeat(20),
};

const CONFIG = (port: string) => `http { proxy_http_version 1.1;
  charset_map koi8-r utf-8 { E9 D098; }
  server { listen 127.0.0.1:${port}; root html; default_type text/html; types {} gzip_min_length 0; gzip_proxied any;
    location /plain/ { alias html/; }
    location /gzip/ { gzip on; add_after_body /after.html; alias html/; }
    location /both/ { gzip on; add_before_body /before.html; add_after_body /after.html; alias html/; }
    location /ssi/ { gzip on; ssi on; add_before_body /before.html; add_after_body /after.html; alias html/; }
    location /part/ { ssi on; sub_filter "[a" "{a"; sub_filter "A]" "A}"; alias html/; }
    location /all/ { gzip on; ssi on; sub_filter "A " "B "; sub_filter_once off; charset utf-8; source_charset koi8-r; alias html/;
      add_after_body /after.html; }
    location /decoded/ { gunzip on; ssi on; sub_filter after AFTER; proxy_set_header Accept-Encoding gzip; proxy_pass http://127.0.0.1:${port}/both/; }
    location /sliced/ { gzip on; slice 50; proxy_set_header Range $slice_range; proxy_pass http://127.0.0.1:${port}/plain/; }
  } }`;

const koi = "koi \xe9";
const whole = `A ${koi} {a (${koi} a) A} a`;

const ANSWERS: readonly (readonly [path: string, body: string])[] = [
  ["/gzip/before.html", "before a  after a"],
  ["/both/text.html", `before a ${FILES["html/text.html"]} after a`],
  ["/ssi/page.html", `before a ${whole} after a`],
  ["/all/page.html", `${whole.replace("A ", "B ").replaceAll(koi, "koi \xd0\x98")} after a`],
  ["/sliced/text.html", FILES["html/text.html"]],
];

async function answers(running: Running): Promise<void> {
  for (const [path, body] of ANSWERS) {
    const compressed = await get(running.port, path, "Accept-Encoding: gzip");
    const coded = compressed.header("content-encoding") === "gzip";
    const text = coded ? gunzipSync(Buffer.from(compressed.body, "latin1")).toString("latin1") : compressed.body;
    assert.equal(text, body, `${path}, ${coded ? "compressed" : "as it is"}`);
    assert.ok(coded, `${path} is compressed`);
    assert.equal((await get(running.port, path)).body, body, path);
  }
  assert.equal((await get(running.port, "/decoded/before.html")).body, "before a before a  AFTER a");
}

test("filters in a chain answer as nginx's do (holdfast)", async (t) => {
  await answers(await startHoldfast(t, { config: ([port]) => CONFIG(String(port)), files: latin1(FILES) }));
});

test("filters in a chain answer as nginx's do (nginx)", { skip: have("nginx") }, async (t) => {
  await answers(await startNginx(t, { config: ([port]) => CONFIG(String(port)), files: latin1(FILES) }));
});

function latin1(files: Readonly<Record<string, string>>): Record<string, Uint8Array> {
  return Object.fromEntries(Object.entries(files).map(([path, text]) => [path, Buffer.from(text, "latin1")]));
}
