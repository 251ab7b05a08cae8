import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type CachedSite, type CachedSiteOptions, cachedSite } from "../support/cached_site.ts";
import { type RawResponse, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Responses that a worker holds in memory, or whose files it holds open. */

/** A site that answers with its count and `length` bytes; with Vary, if it is given. */
function site(
  t: TestContext,
  length: number,
  vary: string | undefined,
  options: CachedSiteOptions,
): Promise<CachedSite> {
  return cachedSite(
    t,
    (incoming, response, count) => {
      const language = incoming.headers["accept-language"] ?? "no";
      response.setHeader("Accept-Ranges", "bytes");
      response.setHeader("ETag", `"${count}"`);
      response.setHeader("Last-Modified", "Wed, 25 Nov 2026 20:00:00 GMT");
      if (vary !== undefined) response.setHeader("Vary", vary);
      response.end(`${count} ${language} ${".".repeat(length)}`);
    },
    { server: "add_header X-Worker $pid always; add_header X-Own $http_x_own always;", ...options },
  );
}

function get({ send }: CachedSite, fields = "", method = "GET"): Promise<RawResponse> {
  return send(method, "/a", fields);
}

const LOCATION = "proxy_cache_valid 200 1m; proxy_cache_key $uri; proxy_cache_bypass $http_x_new;";
const SIZES = [
  ["small", 500],
  ["large", 200_000],
] as const;

for (const [size, length] of SIZES) {
  test(`what replaces a ${size} response does so in all workers at once`, async (t) => {
    const at = await site(t, length, undefined, { location: LOCATION });
    const everywhere = async (expected: string) => {
      const workers = new Set<string | undefined>();
      for (let i = 0; i < 200 && (workers.size < 2 || i < 12); i++) {
        const response = await get(at);
        workers.add(response.header("x-worker"));
        assert.equal(response.header("x-cache"), "HIT");
        assert.equal(response.body.slice(0, 5), expected);
        assert.equal(response.body.length, length + 5);
      }
      assert.equal(workers.size, 2);
    };
    await get(at);
    for (let i = 1; i <= 3; i++) {
      await everywhere(`${i} no `);
      await get(at, "X-New: 1\r\n");
      assert.equal((await get(at)).body.slice(0, 5), `${i + 1} no `);
    }
    assert.equal(at.asked.length, 4);
  });

  for (const adding of ["", "add_header X-Own $http_x_own;"]) {
    test(`a ${size} response in memory is sent as each request wants it: ${adding || "nothing added"}`, async (t) => {
      const at = await site(t, length, undefined, { location: LOCATION, workers: 1, server: "", adding });
      await get(at);
      const whole = `1 no ${".".repeat(length)}`;
      for (let i = 0; i < 3; i++) {
        const full = await get(at, `X-Own: ${i}\r\n`);
        assert.deepEqual([full.status, full.body], [200, whole]);
        assert.equal(full.header("x-own"), adding === "" ? undefined : `${i}`);
        assert.deepEqual(
          ["etag", "accept-ranges", "last-modified", "content-length"].map((name) => full.header(name)),
          ['"1"', "bytes", "Wed, 25 Nov 2026 20:00:00 GMT", `${whole.length}`],
        );
        const part = await get(at, "Range: bytes=2-9\r\n");
        assert.deepEqual([part.status, part.body], [206, whole.slice(2, 10)]);
        assert.equal(part.header("content-range"), `bytes 2-9/${whole.length}`);
        const parts = await get(at, "Range: bytes=0-1,4-5\r\n");
        assert.equal(parts.status, 206);
        assert.match(parts.body, /bytes 0-1\/.*\r\n\r\n1 \r\n[\s\S]*bytes 4-5\/.*\r\n\r\n \.\r\n/);
        assert.equal((await get(at, "Range: bytes=999999-\r\n")).status, 416);
        assert.equal((await get(at, 'If-None-Match: "1"\r\n')).status, 304);
        assert.equal((await get(at, "If-Modified-Since: Wed, 25 Nov 2026 20:00:00 GMT\r\n")).status, 304);
        assert.equal((await get(at, 'If-Match: "2"\r\n')).status, 412);
        const head = await get(at, "", "HEAD");
        assert.deepEqual([head.header("content-length"), head.body], [`${whole.length}`, ""]);
        const old = await request(at.holdfast.port, "GET /a HTTP/1.0\r\n\r\n");
        assert.deepEqual([old.body, old.header("connection")], [whole, "close"]);
      }
      assert.equal(at.asked.length, 1);
    });
  }

  test(`each variant of a ${size} response goes to those who ask for it`, async (t) => {
    const at = await site(t, length, "Accept-Language", { location: LOCATION, workers: 1 });
    const fields = ["", "Accept-Language: de\r\n", "Accept-Language: fr, de\r\n"];
    const expected = ["1 no ", "2 de ", "3 fr, de "];
    for (let i = 0; i < 5; i++) {
      for (const [n, field] of fields.entries()) {
        const response = await get(at, field);
        assert.equal(response.header("x-cache"), i === 0 ? "MISS" : "HIT");
        assert.equal(response.body, expected[n] + ".".repeat(length));
        assert.equal(at.files().length, i === 0 ? n + 1 : 3);
      }
      const { body } = await get(at, "Accept-Language: fr,de\r\n");
      assert.equal(body, expected[2] + ".".repeat(length), "spaces in a list do not matter");
    }
    assert.equal(at.asked.length, 3);
  });
}

test("a small response in memory needs no file, variants neither", async (t) => {
  for (const vary of [undefined, "Accept-Language"]) {
    const at = await site(t, 10, vary, { location: LOCATION, workers: 1 });
    const fields = ["Accept-Language: en\r\n", "Accept-Language: de\r\n"];
    for (let i = 0; i < 3; i++) for (const field of fields) await get(at, field);
    rmSync(join(at.holdfast.prefix, "cache"), { recursive: true });
    for (const field of fields) assert.equal((await get(at, field)).header("x-cache"), "HIT");
  }
});

test("an expired response is sent from memory while it is updated", async (t) => {
  const at = await cachedSite(
    t,
    (_incoming, response, count) => {
      response.setHeader("Cache-Control", `max-age=${count === 1 ? 1 : 60}, stale-while-revalidate=60`);
      response.end(`answer ${count}`);
    },
    { location: "proxy_cache_background_update on;", workers: 1 },
  );
  assert.equal(await at.ask("/a"), "MISS answer 1");
  rmSync(join(at.holdfast.prefix, "cache"), { recursive: true });
  const said: string[] = [];
  await waitFor(async () => {
    said.push(await at.ask("/a"));
    return said.at(-1) === "HIT answer 2";
  });
  assert.ok(said.includes("STALE answer 1"), said.join());
  assert.equal(at.asked.length, 2);
});
