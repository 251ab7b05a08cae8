/** `proxy_bind … transparent`: connections to servers from addresses that are not this machine's. These need root. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { checkersOf, statusOf, workersOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";

const skip = process.getuid?.() === 0 ? false : "needs root";
const NONE = "0".repeat(16);
const CAP_NET_RAW = "0000000000002000";

for (const use of ["", "use io_uring;", "use node;"]) {
  test(`the local address may be any; workers keep that one right of root's (${use || "no use"})`, {
    skip,
  }, async (t) => {
    const { address } = await httpBackend(t, ({ socket }, response) => response.end(socket.remoteAddress));
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `events { ${use} }
        http {
          server {
            listen 127.0.0.1:${port};
            location /local { proxy_bind 127.0.0.2 transparent; proxy_pass http://${address}; }
            location /foreign { proxy_bind 192.0.2.7 transparent; proxy_connect_timeout 100ms; proxy_pass http://${address}; }
            location /refused { proxy_bind 192.0.2.7; proxy_pass http://${address}; }
          }
        }`,
    });
    assert.equal((await get(holdfast.port, "/local")).body, "127.0.0.2");
    // No answer finds its way back to an address of the documentation, but the system lets it be sent from.
    assert.equal((await get(holdfast.port, "/foreign")).status, 504);
    assert.equal((await get(holdfast.port, "/refused")).status, 502);
    await holdfast.waitForLog(/99: Cannot assign requested address/);
    for (const pid of workersOf(holdfast.pid)) assert.equal(statusOf(pid, "CapEff"), CAP_NET_RAW);
    for (const pid of checkersOf(holdfast.pid)) assert.equal(statusOf(pid, "CapEff"), NONE);
  });
}

test("a reload that needs it for the first time, or no more, starts other workers", { skip }, async (t) => {
  const config =
    (bind: string) =>
    ([port]: readonly number[]) =>
      `http { server { listen 127.0.0.1:${port}; ${bind} location / { proxy_pass http://127.0.0.1:1; } } }`;
  const holdfast = await startHoldfast(t, { config: config("") });
  const rights = () => new Set(workersOf(holdfast.pid).map((pid) => statusOf(pid, "CapEff")));
  assert.deepEqual(rights(), new Set([NONE]));
  assert.equal(await holdfast.reload(config("proxy_bind 127.0.0.1 transparent;")(holdfast.ports)), true);
  await holdfast.waitForLog(/worker process \d+ exited with code 0/);
  assert.deepEqual(rights(), new Set([CAP_NET_RAW]));
});
