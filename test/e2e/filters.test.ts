import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { get as httpGet, type IncomingMessage } from "node:http";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { watchPeak, workersOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";

/**
 * Backpressure through a filter that makes ten thousand bytes of one: whatever makes the response waits for the client,
 * and of what the filter makes no more than a little is held at a time.
 */

/** A tenth of what comes in the place of each "#": an argument has at most 4096 characters. */
const PART = "0123456789".repeat(100);
const TEXT = PART.repeat(10);
const SUBSTITUTE = `default_type text/html; sub_filter_once off; sub_filter "#" "${"$part".repeat(10)}";`;
/** 38 MiB out of the first 4 KB, so that a single read is far too much, and then 10 KB for every 4 KiB. */
const DENSE = "#".repeat(4000);
const SPARSE = `#${"-".repeat(4095)}`;
const BIG = Buffer.from(DENSE + SPARSE.repeat(10 * 256), "latin1");
const SMALL = Buffer.from(DENSE, "latin1");

/** What the expansion of a body comes to, without ever making all of it. */
function expected(body: Buffer): string {
  const sum = createHash("sha1");
  for (let at = 0; at < body.length; ) {
    const found = body.indexOf("#", at);
    sum.update(body.subarray(at, found < 0 ? body.length : found));
    if (found < 0) break;
    sum.update(TEXT);
    at = found + 1;
  }
  return sum.digest("hex");
}

/** The response, of which nothing is read yet. */
function begun(port: number, path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    httpGet({ host: "127.0.0.1", port, path, agent: false }, resolve).on("error", reject);
  });
}

async function digest(response: IncomingMessage): Promise<string> {
  const sum = createHash("sha1");
  for await (const piece of response) {
    sum.update(piece);
    // Never faster than the program has its turn.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return sum.digest("hex");
}

const SOURCES: readonly (readonly [path: string, body: Uint8Array])[] = [
  ["/buffered", BIG],
  ["/unbuffered", BIG],
  ["/big.html", BIG],
  ["/small.html", SMALL],
  ["/text", SMALL],
  ["/missing", SMALL],
  ["/recoded/small.html", SMALL],
];

test("a filter that expands makes every source wait for the client, and nothing is lost", async (t) => {
  const { address } = await httpBackend(t, ({ url }, response) => {
    response.setHeader("Content-Type", "text/html");
    response.end(url?.endsWith("?little") ? "#" : BIG);
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1;
      http {
        ${SUBSTITUTE}
        charset_map one utf-8 { E9 C3A9; }
        server {
          listen 127.0.0.1:${port};
          set $part "${PART}";
          root files;
          location = /alive { return 200 alive; }
          location = /buffered { proxy_pass http://${address}; }
          location = /unbuffered { proxy_pass http://${address}; proxy_buffering off; }
          location = /text { return 200 "${DENSE}"; }
          location = /missing { error_page 404 /small.html; return 404; }
          location /recoded/ { alias files/; source_charset one; charset utf-8; }
        }
      }`,
    files: { "files/big.html": BIG, "files/small.html": SMALL, "files/little.html": "#" },
  });
  const digests = new Map([BIG, SMALL].map((body): [Uint8Array, string] => [body, expected(body)]));
  // The first use of everything costs memory of its own.
  for (const path of ["/buffered?little", "/unbuffered?little", "/little.html", "/recoded/little.html"]) {
    assert.equal((await get(holdfast.port, path)).body, TEXT);
  }
  const grown = watchPeak(workersOf(holdfast.pid)[0]);
  for (const [path, body] of SOURCES) {
    const response = await begun(holdfast.port, path);
    // Others are served while it waits.
    for (let i = 0; i < 10; i++) assert.equal((await get(holdfast.port, "/alive")).body, "alive");
    assert.equal(await digest(response), digests.get(body), path);
  }
  const most = grown() / 1024;
  // Without backpressure 80 and more; what the collector has not looked at yet is in it.
  assert.ok(most < 48, `${most} MiB more than at the start`);
  assert.doesNotMatch(holdfast.errorLog(), /\[(alert|crit|emerg)\]/);
});

test("what a filter still keeps when its client leaves is let go of", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1;
      http {
        log_format end "$uri $status"; access_log logs/access.log end;
        ${SUBSTITUTE}
        server { listen 127.0.0.1:${port}; set $part "${PART}"; location = /text { return 200 "${DENSE}"; } }
      }`,
  });
  const response = await begun(holdfast.port, "/text");
  response.on("error", () => {});
  response.destroy();
  await holdfast.waitForLog(/\/text 200/, "logs/access.log");
  assert.equal((await get(holdfast.port, "/none")).status, 404);
  assert.doesNotMatch(holdfast.errorLog(), /\[(alert|crit|emerg)\]/);
});
