import assert from "node:assert/strict";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { startLoad } from "../support/load.ts";
import { childrenOf, memoryOf, titleOf } from "../support/processes.ts";

const RELOADS = Number(process.env.HOLDFAST_TEST_RELOADS ?? 80);
const WARM = 20;
/** Of so many reloads the least is taken: a process may be about to collect its garbage. */
const ROUNDS = 10;
/** How much more a process may have at the end. */
const MORE = 1.2;
/** And in KiB: a worker's young generation grows under load up to 64 MiB (runtime/master/heap.ts). Trees that stayed would be more. */
const SLACK_KIB = 40 * 1024;

test(`${RELOADS} reloads under load leave no process much larger than it was after ${WARM}`, async (t) => {
  const backend = await httpBackend(t, (_, response) => response.end("here"));
  const servers = Array.from({ length: 50 }, (_, i) => `server 127.0.0.1:${1000 + i} backup;`).join(" ");
  const config = (round: number, [port]: readonly number[]) => `worker_processes 2;
    http {
      access_log off;
      upstream shop { zone shop 128k; server ${backend.address}; ${servers} }
      server {
        listen 127.0.0.1:${port};
        add_header X-Round ${round};
        ${Array.from({ length: 200 }, (_, i) => `location ~ ^/part${i}/[a-z]+$ { proxy_pass http://shop; }`).join(" ")}
        location / { proxy_pass http://shop; }
      }
    }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(0, ports) });
  const processes = [holdfast.pid, ...childrenOf(holdfast.pid)];
  const load = startLoad(t, { target: holdfast.ports[0], fresh: 6, path: (number) => `/part${number % 200}/x` });
  const least = async (from: number, to: number) => {
    const found = new Map<number, number>();
    for (let round = from; round < to; round++) {
      assert.equal(await holdfast.reload(config(round, holdfast.ports)), true);
      for (const pid of processes)
        found.set(pid, Math.min(found.get(pid) ?? Number.POSITIVE_INFINITY, memoryOf(pid, "Anonymous")));
    }
    return found;
  };
  await load.more(100);
  await least(0, WARM - ROUNDS);
  const before = await least(WARM - ROUNDS, WARM);
  await least(WARM, RELOADS - ROUNDS);
  const after = await least(RELOADS - ROUNDS, RELOADS);
  await load.stop();
  assert.deepEqual(load.failures, []);
  t.diagnostic(`KiB: ${[...before.values()]} after ${WARM}, ${[...after.values()]} after ${RELOADS}`);
  for (const [pid, kib] of after) {
    const most = (before.get(pid) ?? 0) * MORE + SLACK_KIB;
    assert.ok(kib <= most, `${titleOf(pid)}: ${before.get(pid)} KiB after ${WARM}, ${kib} after ${RELOADS}`);
  }
});
