import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { httpBackend } from "../support/backend.ts";
import { filesBelow } from "../support/files_below.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { workersOf } from "../support/processes.ts";
import { request } from "../support/tcp.ts";

/** A disk that cannot be used: requests are answered all the same, and the log says why, once. */

const notRoot = process.getuid?.() === 0 ? false : "only root may do that";
const BODY = "x".repeat(10_000);

async function site(
  t: TestContext,
  user: string,
  entry?: string,
): Promise<{ holdfast: Running; ask: (path: string) => Promise<string> }> {
  const { address } = await httpBackend(t, ({ url, headers }, response) => {
    if (url?.endsWith("?stale")) response.setHeader("X-Accel-Expires", "@1").setHeader("ETag", '"a"');
    if (headers["if-none-match"] === undefined) response.end(`${url} ${BODY}`);
    else response.writeHead(304).end();
  });
  const holdfast = await startHoldfast(t, {
    ...(entry === undefined ? {} : { entry }),
    config: ([port]) => `${user} worker_processes 1; http { proxy_cache_path cache levels=1:2 keys_zone=one:1m memory=0;
      server { listen 127.0.0.1:${port}; add_header X-Cache $upstream_cache_status;
        location / { proxy_pass http://${address}; proxy_cache one; proxy_cache_key $uri; proxy_cache_valid 1m; proxy_cache_revalidate on; } } }`,
  });
  const ask = async (path: string) => {
    const response = await request(holdfast.port, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    assert.equal(response.body, `${path} ${BODY}`);
    return response.header("x-cache") ?? "";
  };
  return { holdfast, ask };
}

/** What was logged of it, without what is before and behind. */
function complaints(holdfast: Running): string[] {
  return [...holdfast.errorLog().matchAll(/\[crit\] [^\n]*: \*\d+ ([^\n]*), client: /g)].map(([, text]) => text);
}

test("a full disk", { skip: notRoot }, async (t) => {
  const entry = fileURLToPath(new URL("../support/small_disk_main.ts", import.meta.url));
  const { holdfast, ask } = await site(t, "user root;", entry);
  for (let i = 0; i < 60; i++) assert.equal(await ask(`/${i}`), "MISS");
  assert.equal(await ask("/0"), "HIT");
  assert.equal(await ask("/59"), "MISS");
  const [first, ...others] = complaints(holdfast);
  assert.match(
    first,
    /^pwrite\(\) "[^"]*\/cache\/\.temp\/[\d-]+\/\d+" failed \(28: No space left on device\) while reading upstream; until that is repaired, responses pass cache "one" by: free some space, or lower max_size, or set min_free$/,
  );
  assert.deepEqual(others, []);
});

test("a directory that may not be written, and one that may not be read", { skip: notRoot }, async (t) => {
  const { holdfast, ask } = await site(t, "user nobody nogroup;");
  assert.equal(await ask("/a"), "MISS");
  const directory = join(holdfast.prefix, "cache");
  rmSync(join(directory, ".temp"), { recursive: true });
  chmodSync(directory, 0o500);
  for (const path of ["/b", "/b", "/c"]) assert.equal(await ask(path), "MISS");
  assert.equal(await ask("/a"), "HIT");
  chmodSync(directory, 0);
  assert.equal(await ask("/a"), "MISS");
  chmodSync(directory, 0o700);
  assert.equal(await ask("/a"), "HIT");
  assert.equal(complaints(holdfast).length, 1);
  assert.match(
    complaints(holdfast)[0],
    /\(13: Permission denied\)[^\n]* by: its directory must be writable for the workers' user$/,
  );
});

test("files that may not be altered", { skip: notRoot }, async (t) => {
  const { holdfast, ask } = await site(t, "user nobody nogroup;");
  for (const path of ["/a?stale", "/b?stale"]) assert.equal(await ask(path), "MISS");
  const { uid } = statSync(join(holdfast.prefix, "cache"));
  assert.notEqual(uid, 0);
  for (const path of filesBelow(join(holdfast.prefix, "cache"))) chmodSync(path, 0o400);
  for (const path of ["/a?stale", "/b?stale", "/a?stale"]) assert.equal(await ask(path), "REVALIDATED");
  const [first, ...others] = complaints(holdfast);
  assert.match(
    first,
    /^open\(\) "[^"]*" failed \(13: Permission denied\) while reading response header from upstream; until /,
  );
  assert.deepEqual(others, []);
});

test("a process that may not write so much into a file", { skip: have("prlimit") }, async (t) => {
  const { holdfast, ask } = await site(t, "user root;");
  const [worker] = workersOf(holdfast.pid);
  const limit = (what: string) => execFileSync("prlimit", ["--pid", String(worker), what]);
  limit("--fsize=4096:");
  assert.equal(await ask("/a"), "MISS");
  assert.equal(await ask("/a"), "MISS");
  assert.match(
    complaints(holdfast)[0],
    /failed \(27: File too large\)[^\n]*: the file is larger than the process may write \(ulimit -f\)$/,
  );
  assert.equal(complaints(holdfast).length, 1);
  limit("--fsize=unlimited:");
  assert.equal(await ask("/a"), "MISS");
  assert.equal(await ask("/a"), "HIT");
});

test("a directory that is missing is made anew; what is in its place is named", async (t) => {
  const { holdfast, ask } = await site(t, "user root;");
  assert.equal(await ask("/a"), "MISS");
  const directory = join(holdfast.prefix, "cache");
  rmSync(directory, { recursive: true });
  assert.equal(await ask("/a"), "MISS");
  assert.equal(await ask("/a"), "HIT");
  rmSync(directory, { recursive: true });
  writeFileSync(directory, "");
  for (let i = 0; i < 3; i++) assert.equal(await ask("/a"), "MISS");
  assert.match(complaints(holdfast)[0], /^open\(\) "[^"]*" failed \((20: Not a directory|17: File exists)\)/);
  assert.equal(complaints(holdfast).length, 1);
});
