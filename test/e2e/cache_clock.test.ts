import assert from "node:assert/strict";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { httpBackend } from "../support/backend.ts";
import { bundled, makePrefix, startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";

/** The time of day is set while a cache is in use. */

const HOUR = 3_600_000;

for (const memory of ["memory=1m", "memory=0"]) {
  test(`nothing is fresh for longer because the clock was set (${memory})`, async (t) => {
    let asked = 0;
    const { address } = await httpBackend(t, ({ url }, response) => {
      response.statusCode = url === "/down" ? 503 : 200;
      response.end(`answer ${++asked}`);
    });
    const prefix = makePrefix(t);
    const clock = join(prefix, "clock");
    const set = (ms: number) => {
      writeFileSync(`${clock}.new`, String(ms));
      renameSync(`${clock}.new`, clock);
    };
    set(0);
    const holdfast = await startHoldfast(t, {
      prefix,
      entry: bundled(fileURLToPath(new URL("../support/stepped_main.ts", import.meta.url))),
      config: ([
        port,
      ]) => `env STEPPED_CLOCK=${clock}; worker_processes 2; http { proxy_cache_path cache keys_zone=one:1m ${memory};
        server { listen 127.0.0.1:${port}; add_header X-Cache $upstream_cache_status always; error_page 503 /503;
          location / { proxy_pass http://${address}; proxy_cache one; proxy_cache_valid 200 503 1h; proxy_intercept_errors on; }
          location = /503 { return 503 sorry; } } }`,
    });
    const ask = async (path: string) => {
      const response = await get(holdfast.port, path);
      return `${response.header("x-cache")} ${response.body}`;
    };
    const asks = async (path: string) => {
      const before = asked;
      assert.equal((await get(holdfast.port, path)).status, 503);
      return asked - before;
    };
    assert.equal(await ask("/"), "MISS answer 1");
    assert.deepEqual([await asks("/down"), await asks("/down")], [1, 0]);
    for (let i = 0; i < 6; i++) assert.equal(await ask("/"), "HIT answer 1");
    // Back: nobody knows how old it is.
    set(-24 * HOUR);
    assert.equal(await ask("/"), "EXPIRED answer 3");
    for (let i = 0; i < 6; i++) assert.equal(await ask("/"), "HIT answer 3");
    // Forward again: it is a day old, as far as anybody knows.
    set(0);
    assert.equal(await ask("/"), "EXPIRED answer 4");
    for (let i = 0; i < 6; i++) assert.equal(await ask("/"), "HIT answer 4");
    // A status is kept by a clock that nobody sets.
    for (const ms of [-24 * HOUR, 24 * HOUR]) {
      set(ms);
      assert.equal(await asks("/down"), 0);
    }
  });
}
