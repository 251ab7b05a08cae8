/** Many reloads, with requests going on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startHoldfast } from "../support/holdfast.ts";
import { startLoad } from "../support/load.ts";
import { childrenOf, statusOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Of the largest of its processes. */
function residentMiB(master: number): number {
  const pids = [master, ...childrenOf(master)];
  return Math.max(...pids.map((pid) => Number.parseInt(statusOf(pid, "VmRSS"), 10))) / 1024;
}

const config = (port: number, text: string): string => `error_log logs/error.log notice; worker_processes 2;
  http { access_log off; upstream a { server 127.0.0.1:1; keepalive 4; }
    server { listen 127.0.0.1:${port}; return 200 ${text};
      ${Array.from({ length: 50 }, (_, i) => `location /${i}/ { proxy_pass http://a; add_header X-A ${i}; }`).join("\n")} } }`;

test("of the trees that reloads leave behind none are kept, nor are they left lying about", async (t) => {
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, "here") });
  const load = startLoad(t, { target: holdfast.port, connections: 4, rate: 100 });
  for (let i = 0; i < 30; i++) await holdfast.reload();
  const early = residentMiB(holdfast.pid);
  for (let i = 0; i < 50; i++) await holdfast.reload();
  const late = residentMiB(holdfast.pid);
  assert.ok(late < early + 50, `${early.toFixed(0)} MiB after 30 reloads, ${late.toFixed(0)} after 80`);
  await load.stop();
  assert.deepEqual(load.failures, []);
});

test("of configurations in quick succession the last is the one in force", async (t) => {
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, "first") });
  for (let i = 1; i <= 20; i++) {
    holdfast.configure(config(holdfast.port, `number${i}`));
    holdfast.signal("SIGHUP");
  }
  await waitFor(async () => {
    const bodies = await Promise.all(Array.from({ length: 10 }, () => get(holdfast.port, "/")));
    return bodies.every(({ body }) => body === "number20");
  }, "the last configuration in both workers");
});
