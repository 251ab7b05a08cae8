import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startHoldfast } from "../support/holdfast.ts";
import { get, request } from "../support/tcp.ts";

const config = ([port]: readonly number[]): string => `http { server { listen 127.0.0.1:${port};
  location / { root html; random_index on; } } }`;

test("any file of a directory is served, but no hidden one, directory or dangling link", async (t) => {
  const files = { "html/all/one": "1", "html/all/two": "2", "html/all/.hidden": "no", "html/all/directory/in": "no" };
  const holdfast = await startHoldfast(t, { config, files });
  const html = join(holdfast.prefix, "html");
  symlinkSync("../three", join(html, "all/link"));
  symlinkSync("none", join(html, "all/dangling"));
  symlinkSync("directory", join(html, "all/link to directory"));
  const seen = new Set<string>();
  for (let i = 0; i < 200 && seen.size < 3; i++) {
    seen.add((await get(holdfast.port, "/all/")).body);
    // Until now a link to nothing: where it leads to is looked at each time.
    if (i === 0) assert.equal(seen.has("3"), false);
    if (i === 0) writeFileSync(join(html, "three"), "3");
  }
  assert.deepEqual([...seen].sort(), ["1", "2", "3"]);
  const { status } = await request(holdfast.port, "PUT /all/ HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
  assert.equal(status, 405);
});

test("a directory without files goes on to index, and one that is not there is 404", async (t) => {
  const holdfast = await startHoldfast(t, { config, files: { "html/empty/.hidden": "" } });
  assert.equal((await get(holdfast.port, "/empty/")).status, 403);
  await holdfast.waitForLog(/directory index of "[^"]+\/html\/empty\/" is forbidden/);
  assert.equal((await get(holdfast.port, "/none/")).status, 404);
  await holdfast.waitForLog(
    /\[error\] [^\n]+ opendir\(\) "[^"]+\/html\/none" failed \(2: No such file or directory\), client/,
  );
  mkdirSync(join(holdfast.prefix, "html/loops"));
  symlinkSync("loop", join(holdfast.prefix, "html/loops/loop"));
  assert.equal((await get(holdfast.port, "/loops/")).status, 500);
  await holdfast.waitForLog(
    /\[crit\] [^\n]+ stat\(\) "[^"]+\/loops\/loop" failed \(40: Too many levels of symbolic links\)/,
  );
});
