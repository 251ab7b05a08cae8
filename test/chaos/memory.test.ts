/** What each process has after many reloads under load, beside what it had at first. */
import assert from "node:assert/strict";
import type { ClientHttp2Session } from "node:http2";
import { type TestContext, test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { h2Answer, h2Request, h2Session } from "../support/h2.ts";
import { h2Backend, unary } from "../support/h2_backend.ts";
import { type H2Kind, startH2Load } from "../support/h2_load.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { startLoad } from "../support/load.ts";
import { childrenOf, cpuTimeOf, memoryOf, openBy, titleOf } from "../support/processes.ts";

/** 1000 is what docs/performance.md speaks of. */
const RELOADS = Number(process.env.HOLDFAST_CHAOS_RELOADS ?? 60);
/** What they are compared with: after so many, V8 has compiled most of what a reload calls. */
const FIRST = RELOADS < 400 ? 20 : 200;
/**
 * Of so many reloads the most is taken. What a process has depends on how full its young generation is; within so many
 * that of each has been full.
 */
const WINDOW = 20;
/** How much more a process may have at the end. */
const MORE = 1.2;
/** And in KiB, where there were too few reloads for V8 to have compiled all that it will. */
const SLACK_KIB = RELOADS < 200 ? 8 * 1024 : 0;
const REPORTED = [20, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, RELOADS];

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

function cpuMsOf(pids: readonly number[]): number {
  return pids.reduce((all, pid) => all + cpuTimeOf(pid), 0);
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
  const load = startLoad(t, { target: holdfast.port, fresh: 6, path: (number) => `/part${number % parts}/x` });
  await load.more(100);
  const most = await reloaded(t, holdfast, (round) => (changing ? config(round % 2, holdfast.ports) : undefined));
  await load.stop();
  assert.deepEqual(load.failures, []);
  assertLevel(t, most);
}

/** What each process had at most, by its number. */
type Most = ReadonlyMap<number, number>;

/** Reloads `RELOADS` times. Returns what the processes had at the beginning and at the end. */
async function reloaded(
  t: TestContext,
  holdfast: Running,
  config: (round: number) => string | undefined,
): Promise<readonly [before: Most, after: Most]> {
  const processes = [holdfast.pid, ...childrenOf(holdfast.pid)];
  let most = new Map<number, number>();
  let since = { round: 0, cpuMs: cpuMsOf(processes) };
  const within = async (from: number, to: number): Promise<Most> => {
    most = new Map(processes.map((pid) => [pid, 0]));
    for (let round = from + 1; round <= to; round++) {
      await reload(holdfast, most, config(round));
      if (!REPORTED.includes(round)) continue;
      const cpuMs = cpuMsOf(processes);
      const each = (cpuMs - since.cpuMs) / (round - since.round);
      since = { round, cpuMs };
      t.diagnostic(
        `after ${round}: ${processes.map(sizeOf).join("; ")}; ${each.toFixed(0)} ms of CPU each, with the load`,
      );
    }
    return most;
  };
  await within(0, FIRST);
  const before = await within(FIRST, FIRST + WINDOW);
  await within(FIRST + WINDOW, RELOADS - WINDOW);
  return [before, await within(RELOADS - WINDOW, RELOADS)];
}

function assertLevel(t: TestContext, [before, after]: readonly [before: Most, after: Most]): void {
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

/** Idle connections of clients. */
const IDLE = 100;

const KINDS: Readonly<Record<string, H2Kind>> = {
  page: async (open) => {
    const { status, body } = await h2Answer(open({ ":path": "/page" }).end());
    return status === 200 && body === "here" ? "" : `status ${status}, ${body}`;
  },
  call: async (open) => {
    const fields = { ":path": "/call", ":method": "POST", "content-type": "application/grpc", te: "trailers" };
    const { status, body, trailers } = await h2Answer(open(fields).end("message"));
    return status === 200 && body === "message" && trailers["grpc-status"] === "0" ? "" : `status ${status}, ${body}`;
  },
};

test(`${RELOADS} reloads with connections of HTTP/2 leave each process within 20 %`, {
  timeout: Math.max(300_000, RELOADS * 4000),
}, async (t) => {
  const pages = await h2Backend(t, (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("here");
  });
  const calls = await h2Backend(t, (stream) => unary(stream, (message) => message));
  const config = (round: number, [port]: readonly number[]) => `worker_processes 2;
    http {
      access_log off; http2 on; keepalive_requests 100000; keepalive_timeout 600s; proxy_http_version 2;
      upstream pages { zone pages 128k; server ${pages.address}; keepalive ${8 + round}; keepalive_streams 1; }
      upstream calls { zone calls 128k; server ${calls.address}; keepalive ${8 + round}; }
      server {
        listen 127.0.0.1:${port}; add_header X-Round ${round};
        location / { proxy_pass http://pages; }
        location /call { grpc_pass calls; grpc_set_header X-Round ${round}; }
      }
    }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(0, ports) });
  const url = `http://127.0.0.1:${holdfast.port}`;
  const load = startH2Load(t, { urls: [url], clients: 4, kinds: KINDS });
  const idle = Array.from({ length: IDLE }, () => h2Session(t, url));
  const ask = async (session: ClientHttp2Session) => (await h2Request(session, { ":path": "/page" })).status;
  await Promise.all(idle.map(ask));
  await load.more(20);
  const most = await reloaded(t, holdfast, (round) => config(round % 2, holdfast.ports));
  await load.more(20);
  // The same connections, which no reload has closed, and those to the servers.
  assert.deepEqual(new Set(await Promise.all(idle.map(ask))), new Set([200]));
  const kept = pages.sessions.filter(({ destroyed }) => !destroyed).length;
  t.diagnostic(
    `${kept} of ${pages.sessions.length} connections to the server are open; ${JSON.stringify(load.answered)}`,
  );
  assert.ok(kept > 0);
  await load.stop();
  assert.deepEqual(load.failures, []);
  assertLevel(t, most);
});
