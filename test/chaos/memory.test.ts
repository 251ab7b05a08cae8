/** What each process has after many reloads under load, beside what it had after 20. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { startLoad } from "../support/load.ts";
import { childrenOf, memoryOf, openBy, titleOf } from "../support/processes.ts";

/** 1000 is what docs/performance.md speaks of. */
const RELOADS = Number(process.env.HOLDFAST_CHAOS_RELOADS ?? 60);
const FIRST = 20;
/**
 * Of so many reloads the most is taken. What a process has depends on how full its young generation is; within so many
 * that of each has been full.
 */
const WINDOW = 20;
/** How much more a process may have at the end. */
const MORE = 1.2;
/** And in KiB, where there were too few reloads for V8 to have compiled all that it will. */
const SLACK_KIB = RELOADS < 200 ? 8 * 1024 : 0;
const REPORTED = [FIRST, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, RELOADS];

const locations = (count: number, round: number): string =>
  Array.from(
    { length: count },
    (_, i) =>
      `location ~ ^/part${i}/[a-z]+$ { proxy_pass http://shop; proxy_set_header X-Part ${i + round * 10_000}; }`,
  ).join("\n");

/** What a process has of its own, what is its part with pages that several have, and its descriptors. */
function sizeOf(pid: number): string {
  const title = titleOf(pid).replace(/^holdfast: (\w+).*/, "$1");
  return `${title} ${memoryOf(pid, "Anonymous")} KiB, PSS ${memoryOf(pid, "Pss")}, ${openBy(pid).length} fds`;
}

async function reload(holdfast: Running, most: Map<number, number>, config: string | undefined): Promise<void> {
  assert.equal(await holdfast.reload(config), true);
  for (const pid of most.keys()) most.set(pid, Math.max(most.get(pid) ?? 0, memoryOf(pid, "Anonymous")));
}

async function measure(t: TestContext, parts: number, changing: boolean): Promise<void> {
  const backend = await httpBackend(t, (_, response) => response.end("here"));
  const config = (round: number, [port]: readonly number[]) => `worker_processes 2;
    http {
      access_log off;
      upstream shop { zone shop 128k; server ${backend.address}; server 127.0.0.1:1 backup; keepalive ${8 + round}; }
      server {
        listen 127.0.0.1:${port}; add_header X-Round ${round}; keepalive_requests 100000;
        location / { proxy_pass http://shop; }
        ${locations(parts, round)}
      }
    }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(0, ports) });
  const processes = [holdfast.pid, ...childrenOf(holdfast.pid)];
  const load = startLoad(t, { target: holdfast.port, fresh: 6, path: (number) => `/part${number % parts}/x` });
  await load.more(100);

  let most = new Map<number, number>();
  const within = async (from: number, to: number): Promise<ReadonlyMap<number, number>> => {
    most = new Map(processes.map((pid) => [pid, 0]));
    for (let round = from + 1; round <= to; round++) {
      await reload(holdfast, most, changing ? config(round % 2, holdfast.ports) : undefined);
      if (REPORTED.includes(round)) t.diagnostic(`after ${round}: ${processes.map(sizeOf).join("; ")}`);
    }
    return most;
  };
  await within(0, FIRST);
  const before = await within(FIRST, FIRST + WINDOW);
  await within(FIRST + WINDOW, RELOADS - WINDOW);
  const after = await within(RELOADS - WINDOW, RELOADS);
  await load.stop();

  assert.deepEqual(load.failures, []);
  for (const [pid, kib] of after) {
    const first = before.get(pid) ?? 0;
    const text = `${titleOf(pid)}: ${first} KiB after ${FIRST}, ${kib} after ${RELOADS}`;
    t.diagnostic(text);
    assert.ok(kib <= first * MORE + SLACK_KIB, text);
  }
}

const SHORT = [["between two of 200 locations", 200, true]] as const;
/** The last one takes half an hour. */
const WHOLE = [
  ["of a small configuration", 10, false],
  ["between two small configurations", 10, true],
  ["between two of 1,000 locations", 1000, true],
] as const;

for (const [what, parts, changing] of process.env.HOLDFAST_CHAOS_RELOADS === undefined ? SHORT : WHOLE) {
  const timeout = Math.max(300_000, RELOADS * 4000);
  test(`${RELOADS} reloads ${what} under load leave each process within 20 %`, { timeout }, (t) =>
    measure(t, parts, changing),
  );
}
