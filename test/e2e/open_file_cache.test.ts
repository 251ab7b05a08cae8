import assert from "node:assert/strict";
import { readdirSync, readlinkSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { workersOf } from "../support/processes.ts";
import { describeSentences } from "../support/sentences.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Longer than is kept in memory. */
const OLD = "old ".repeat(20_000);
const NEW = "new ".repeat(20_000);

function start(t: TestContext, http: string): Promise<Running> {
  return startHoldfast(t, {
    files: { "html/large": OLD, "html/small": "old", "html/directory/index.html": "index" },
    config: ([port]) =>
      `worker_processes 1; http { ${http} server { listen 127.0.0.1:${port};
        location /tried/ { try_files /none $uri =404; alias html/; } location /anew/ { alias html/; open_file_cache off; } } }`,
  });
}

/** How often the worker has a file open. */
function opened({ pid }: Running, name: string): number {
  const [worker] = workersOf(pid);
  let count = 0;
  for (const fd of readdirSync(`/proc/${worker}/fd`)) {
    try {
      if (readlinkSync(`/proc/${worker}/fd/${fd}`).includes(name)) count++;
    } catch {
      // Closed meanwhile.
    }
  }
  return count;
}

test("files are held open, and served as they were while that is valid", async (t) => {
  const holdfast = await start(t, "open_file_cache max=10; open_file_cache_valid 1h;");
  const { port, prefix } = holdfast;
  for (let i = 0; i < 3; i++) assert.equal((await get(port, "/large")).body, OLD);
  await waitFor(() => opened(holdfast, "html/large") === 1, "one descriptor");
  writeFileSync(join(prefix, "html/other"), NEW);
  renameSync(join(prefix, "html/other"), join(prefix, "html/large"));
  assert.equal((await get(port, "/large")).body, OLD);
  assert.equal((await get(port, "/anew/large")).body, NEW);
  rmSync(join(prefix, "html/large"));
  assert.equal((await get(port, "/large")).body, OLD);
  assert.equal((await get(port, "/anew/large")).status, 404);

  assert.equal((await get(port, "/missing")).status, 404);
  writeFileSync(join(prefix, "html/missing"), "here");
  assert.equal((await get(port, "/missing")).body, "here", "errors are not kept");
});

test("a small file is not asked for while it is valid, and the system is asked otherwise", async (t) => {
  const holdfast = await start(t, "open_file_cache max=10; open_file_cache_valid 1h;");
  const { port, prefix } = holdfast;
  const path = join(prefix, "html/small");
  // Only what has not changed for a while is kept in memory.
  await waitFor(() => Date.now() - statSync(path).ctimeMs > 2500, "the file's age");
  for (let i = 0; i < 3; i++) assert.equal((await get(port, "/small")).body, "old");
  rmSync(path);
  assert.equal((await get(port, "/small")).body, "old");
  assert.equal((await get(port, "/anew/small")).status, 404);
});

test("errors are kept with open_file_cache_errors, and files only after open_file_cache_min_uses", async (t) => {
  const holdfast = await start(
    t,
    "open_file_cache max=10; open_file_cache_valid 1h; open_file_cache_errors on; open_file_cache_min_uses 3;",
  );
  const { port, prefix } = holdfast;
  assert.equal((await get(port, "/missing")).status, 404);
  writeFileSync(join(prefix, "html/missing"), "here");
  assert.equal((await get(port, "/missing")).status, 404);
  assert.equal((await get(port, "/anew/missing")).body, "here");
  await waitFor(() => holdfast.errorLog().match(/open\(\) "[^"]+\/missing" failed \(2: /g)?.length === 2, "both lines");

  for (let i = 0; i < 2; i++) assert.equal((await get(port, "/large")).body, OLD);
  await waitFor(() => opened(holdfast, "html/large") === 0, "no descriptor yet");
  assert.equal((await get(port, "/large")).body, OLD);
  await waitFor(() => opened(holdfast, "html/large") === 1, "the descriptor");
});

test("what is no longer valid is looked at again, and what nobody uses is closed", async (t) => {
  const holdfast = await start(t, "open_file_cache max=10 inactive=1s; open_file_cache_valid 1s;");
  const { port, prefix } = holdfast;
  assert.equal((await get(port, "/large")).body, OLD);
  assert.equal((await get(port, "/tried/directory/index.html")).body, "index");
  writeFileSync(join(prefix, "html/other"), NEW);
  renameSync(join(prefix, "html/other"), join(prefix, "html/large"));
  await waitFor(async () => (await get(port, "/large")).body === NEW, "the new file");
  await waitFor(() => opened(holdfast, "html/large") === 0, "the end of the descriptor");
});

test("no more than max are kept, and a reload lets go of all", async (t) => {
  const holdfast = await start(t, "open_file_cache max=2 inactive=1s; open_file_cache_valid 1h;");
  for (const name of ["a", "b", "c", "d"]) {
    writeFileSync(join(holdfast.prefix, `html/${name}.txt`), OLD);
    assert.equal((await get(holdfast.port, `/${name}.txt`)).body, OLD);
  }
  await waitFor(async () => {
    for (const name of ["c", "d"]) assert.equal((await get(holdfast.port, `/${name}.txt`)).body, OLD);
    return opened(holdfast, ".txt") === 2;
  }, "two descriptors");
  assert.ok(await holdfast.reload());
  await waitFor(() => opened(holdfast, ".txt") === 0, "none");
});

describeSentences("open_file_cache", [
  ["off", "open_file_cache off;"],
  ["all", "open_file_cache max=1000 inactive=20s; open_file_cache_valid 30s; open_file_cache_min_uses 2;"],
  ["without max", "open_file_cache inactive=20s;"],
  ["max of nothing", "open_file_cache max=0;"],
  ["a time that is none", "open_file_cache max=1 inactive=x;"],
  ["a word that is none", "open_file_cache max=1 on;"],
  ["valid that is no time", "open_file_cache_valid x;"],
  ["twice", "open_file_cache off; open_file_cache max=1;"],
]);
