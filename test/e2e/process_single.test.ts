/** `master_process off`: one process serves, checks and answers the signals. */
import assert from "node:assert/strict";
import { existsSync, renameSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { tcpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { childrenOf } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

test("it has no children, and serves, checks, reloads, reopens logs and leaves as a master with workers does", async (t) => {
  const backend = await tcpBackend(t, () => {});
  const config = (port: number, text: string) => `master_process off; worker_processes 4; http {
    log_format line $uri; access_log logs/access.log line;
    upstream u { server ${backend.address}; check interval=50 type=tcp; }
    server { listen 127.0.0.1:${port}; location / { return 200 "${text} $pid"; } location /u { proxy_pass http://u; } } }`;
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, "first") });
  const { port, pid } = holdfast;
  assert.deepEqual(childrenOf(pid), []);
  assert.equal((await get(port, "/one")).body, `first ${pid}`);
  await waitFor(() => backend.connections > 2, "checks");

  assert.equal(await holdfast.reload("nonsense on;"), false);
  assert.equal((await get(port, "/one")).body, `first ${pid}`);
  assert.equal(await holdfast.reload(config(port, "second")), true);
  assert.equal((await get(port, "/two")).body, `second ${pid}`);
  await holdfast.waitForLog(/^\/two$/m, "logs/access.log");

  const at = (name: string) => join(holdfast.prefix, "logs", name);
  renameSync(at("access.log"), at("access.old"));
  holdfast.signal("SIGUSR1");
  await waitFor(() => existsSync(at("access.log")), "the new log");
  await get(port, "/three");
  await holdfast.waitForLog(/^\/three$/m, "logs/access.log");

  const client = await RawConnection.open(port);
  client.write("GET / HTTP/1.1\r\nHost: a\r\n");
  // The next one is accepted after it.
  await get(port, "/");
  holdfast.signal("SIGQUIT");
  await holdfast.waitForLog(/signal 3 \(SIGQUIT\) received, shutting down$/m);
  client.write("\r\n");
  assert.equal((await client.readResponse()).body, `second ${pid}`);
  client.close();
  assert.equal(await holdfast.exited, 0);
  assert.equal(existsSync(at("holdfast.pid")), false);
  assert.doesNotMatch(holdfast.errorLog(), /\[alert\]/);
});

test("TERM ends it at once although a client is connected", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `master_process off; http { server { listen 127.0.0.1:${port}; return 200 here; } }`,
  });
  const client = await RawConnection.open(holdfast.port);
  client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await client.readResponse()).body, "here");
  assert.equal(await holdfast.stop("SIGTERM"), 0);
  await client.until(() => false);
});
