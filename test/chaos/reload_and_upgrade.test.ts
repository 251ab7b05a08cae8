/** Reloads and upgrades in one run, as a week of operation has them, while clients come on connections of all kinds. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { startDaemon } from "../support/daemon.ts";
import { startLoad } from "../support/load.ts";
import { freePort } from "../support/ports.ts";
import { workersOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const RELOADS = Number(process.env.HOLDFAST_CHAOS_RELOADS ?? 6);
const UPGRADES = 3;
const FILE = "x".repeat(20_000);

for (const engine of ["io_uring", "node"]) {
  test(`${RELOADS} reloads and ${UPGRADES} upgrades under load fail no request (${engine})`, async (t) => {
    const backend = await httpBackend(t, (_request, response) => response.end("here"));
    const [port, status] = [await freePort(), await freePort()];
    const config = (round: number, prefix: string) => `
      worker_processes ${1 + (round % 3)}; events { use ${engine}; }
      http {
        access_log off; keepalive_requests 100000;
        upstream u { zone u 64k; server ${backend.address} weight=${1 + (round % 2)}; keepalive ${4 + (round % 3)}; }
        server {
          listen 127.0.0.1:${port}; add_header X-Round ${round}; root ${prefix}/html;
          location / { proxy_pass http://u; }
          location /static/ { }
          ${Array.from({ length: 20 }, (_, i) => `location ~ ^/${round}/${i}/ { return 200; }`).join(" ")}
        }
        server { listen 127.0.0.1:${status}; keepalive_timeout 0; location / { stub_status; } }
      }`;
    const daemon = await startDaemon(t, (prefix) => config(0, prefix));
    mkdirSync(join(daemon.prefix, "html/static"), { recursive: true });
    writeFileSync(join(daemon.prefix, "html/static/file"), FILE);

    // Half of the connections are opened anew for each request, half of the requests are for the file.
    const path = (number: number) => (number % 2 === 0 ? "/" : "/static/file");
    const load = startLoad(t, { target: port, rate: 200, connections: 16, fresh: 8, retry: true, path });
    await load.more(50);
    let round = 0;
    const reload = async (): Promise<void> => {
      daemon.configure(config(++round, daemon.prefix));
      const done = daemon.errorLog().split(": reconfigured").length;
      await daemon.signal("SIGHUP", "the reload", () => daemon.errorLog().split(": reconfigured").length > done);
      assert.equal((await get(port, "/")).header("x-round"), `${round}`);
    };
    for (let upgrade = 1; upgrade <= UPGRADES; upgrade++) {
      while (round < (RELOADS * upgrade) / UPGRADES) {
        await reload();
        await load.more(10);
      }
      const old = await daemon.startNewBinary();
      await load.more(20);
      await daemon.retire(old);
      await load.more(20);
    }
    await load.stop();

    t.diagnostic(`${load.answered} answers, ${load.retried} asked again after a clean close`);
    assert.deepEqual(load.failures, []);
    assert.deepEqual([...load.bodies.keys()].toSorted(), ["here", FILE]);
    assert.equal(workersOf(daemon.pid).length, 1 + (round % 3));
    await waitFor(
      async () => /^Active connections: 1 \n.*Reading: 0 Writing: 1 Waiting: 0/s.test((await get(status, "/")).body),
      "counters that are right",
    );
    assert.doesNotMatch(daemon.errorLog(), /\[(alert|crit|emerg)\]/);
  });
}
