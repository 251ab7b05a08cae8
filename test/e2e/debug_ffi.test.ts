/** HOLDFAST_DEBUG_FFI=1: all that the engine and the program call in C is called with the right arguments. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { promisify } from "node:util";
import { NODE_FLAGS, startHoldfast } from "../support/holdfast.ts";
import { childrenOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";

const FILES = [
  "test/net/contract/io_uring.test.ts",
  "test/net/uring/engine.test.ts",
  "test/sys/memory.test.ts",
  "test/sys/descriptor_passing.test.ts",
  "test/shm/lock.test.ts",
  "test/sys/openssl/ssl.test.ts",
  "test/net/tls/stream.test.ts",
  "test/e2e/engines.test.ts",
  "test/e2e/process_user.test.ts",
  "test/e2e/sendfile.test.ts",
  "test/e2e/tls.test.ts",
];

const run = promisify(execFile);
const ROOT = new URL("../..", import.meta.url);

for (const file of FILES) {
  test(`${file} passes with every argument checked`, async (t) => {
    const env: NodeJS.ProcessEnv = { ...process.env, HOLDFAST_DEBUG_FFI: "1" };
    // The test runner's own: it would report to the runner, and not to us.
    delete env.NODE_TEST_CONTEXT;
    // What has failed is in the error, as far as it was written.
    await run(process.execPath, [...NODE_FLAGS, file], { cwd: ROOT, env, signal: t.signal, maxBuffer: 16 << 20 });
  });
}

test("every process checks, and the names of C functions are in no log", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen 127.0.0.1:${port};
      location / { return 200 served; } location /p { proxy_pass http://127.0.0.1:${port}/; } } }`,
    env: { HOLDFAST_DEBUG_FFI: "1" },
  });
  assert.equal((await get(holdfast.port, "/p")).body, "served");
  assert.ok(await holdfast.reload());
  assert.equal((await get(holdfast.port, "/p")).body, "served");
  const processes = [holdfast.pid, ...childrenOf(holdfast.pid)];
  assert.equal(processes.length, 3);
  for (const pid of processes) {
    assert.match(readFileSync(`/proc/${pid}/environ`, "latin1"), /(^|\0)HOLDFAST_DEBUG_FFI=1\0/);
  }
  assert.equal(await holdfast.stop("SIGQUIT"), 0);
  assert.doesNotMatch(holdfast.errorLog(), /\[alert\]|argument \d/);
});
