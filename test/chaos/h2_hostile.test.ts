/** Clients of HTTP/2 that attack at full rate, while a good one is served and memory stays level. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ClientHttp2Session } from "node:http2";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { childBackends } from "../support/child_backend.ts";
import { h2Request, h2Session } from "../support/h2.ts";
import { ATTACKS_SAID } from "../support/h2_attacker_main.ts";
import { bundled, finish, type Running, startHoldfast } from "../support/holdfast.ts";
import { LogTail } from "../support/log_tail.ts";
import { memoryOf, workersOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";
import { PATIENCE_MS, waitFor } from "../support/wait.ts";

const SECONDS = Number(process.env.HOLDFAST_CHAOS_SECONDS ?? 0.4);
const ONLY = process.env.HOLDFAST_CHAOS_ONLY;
const ATTACKER = bundled(join(import.meta.dirname, "../support/h2_attacker_main.ts"));
const LARGE = Buffer.alloc(20_000_000, "0123456789abcdefghijklmnopqrstuvwxyz");
/** KiB that a worker may have more during an attack, and after all of them: the young generation alone may keep 96 MiB. */
const MOST_DURING = 300_000;
const MOST_AFTER = 200_000;

async function site(t: TestContext): Promise<Running> {
  const [backend] = await childBackends(t, 1);
  return startHoldfast(t, {
    files: { "html/large": LARGE, "html/small": "here" },
    config: ([port, status, good]) => `worker_processes 1;
      events { worker_connections 8000; }
      http { access_log off; root html; keepalive_requests 1000000000;
        client_header_timeout 500ms; client_body_timeout 500ms; send_timeout 500ms; lingering_timeout 200ms; lingering_time 500ms;
        server { listen 127.0.0.1:${port}; http2 on; location /p/ { proxy_pass http://${backend.address}; } }
        server { listen 127.0.0.1:${good}; http2 on; location /p/ { proxy_pass http://${backend.address}; }
          client_header_timeout 60s; client_body_timeout 60s; send_timeout 60s; }
        server { listen 127.0.0.1:${status}; keepalive_timeout 0; location / { stub_status; } } }`,
  });
}

interface Sent {
  readonly opened: number;
  readonly bytes: number;
  readonly frames: Readonly<Record<string, number>>;
}

/** For so long as it takes, and until `said` comes true. */
async function attack(port: number, name: string, said: () => boolean): Promise<Sent> {
  const args = ["--disable-warning=ExperimentalWarning", ATTACKER, `${port}`, name];
  const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "pipe"] });
  const ended = finish(child, "", SECONDS * 1000 + 4 * PATIENCE_MS);
  try {
    await sleep(SECONDS * 1000);
    await waitFor(said, `${name}: the end of it`, 2 * PATIENCE_MS);
  } finally {
    child.stdin.end();
  }
  const { stdout, stderr } = await ended;
  assert.match(stdout, /^\{/, stderr);
  return JSON.parse(stdout);
}

/** Asks for a file and for what a server has, in turn, until it is told to stop. Returns how long each took, ms, in order. */
async function askGood(session: ClientHttp2Session, over: () => boolean): Promise<number[]> {
  const times: number[] = [];
  while (!over()) {
    const path = times.length % 2 === 0 ? "/small" : "/p/";
    const start = performance.now();
    const { status, body } = await h2Request(session, { ":path": path });
    times.push(performance.now() - start);
    assert.deepEqual([status, body], [200, path === "/p/" ? "a" : "here"]);
    await sleep(2);
  }
  return times.toSorted((a, b) => a - b);
}

const attacks = ATTACKS_SAID.filter(([name]) => ONLY === undefined || new RegExp(ONLY).test(name));

test(`${attacks.length} attacks over HTTP/2, ${SECONDS} s each`, async (t) => {
  const holdfast = await site(t);
  const [port, status, good] = holdfast.ports;
  const [worker] = workersOf(holdfast.pid);
  const memory = (): number => memoryOf(worker, "Anonymous");
  // It may have to wait for the processor, and is not to be taken for a slow one.
  const session = h2Session(t, `http://127.0.0.1:${good}`);
  let stopped = performance.now() + 500;
  await askGood(session, () => performance.now() > stopped);
  const before = memory();
  for (const [name, said] of attacks) {
    await t.test(name, async (t) => {
      const log = new LogTail(join(holdfast.prefix, "logs/error.log"));
      stopped = Number.POSITIVE_INFINITY;
      let most = 0;
      const watch = setInterval(() => {
        most = Math.max(most, memory());
      }, 50);
      let heard = said === undefined;
      const enough = (): boolean => {
        heard = log.read((more) => said?.test(more)) || heard;
        return heard;
      };
      const [sent, times] = await Promise.all([
        attack(port, name, enough).finally(() => {
          stopped = 0;
        }),
        askGood(session, () => performance.now() > stopped),
      ]).finally(() => clearInterval(watch));
      const alone = async (): Promise<boolean> => /Active connections: 2 \n/.test((await get(status, "/")).body);
      await waitFor(alone, "the attacker's connections to be closed", 2 * PATIENCE_MS);
      log.read(() => false);
      tell(t, sent, times, log);
      t.diagnostic(`memory ${before}, at most ${most}, then ${memory()} KiB`);
      assert.ok(most - before < MOST_DURING, `${most - before} KiB more`);
      assert.equal(log.wrong, "");
      assert.ok(heard, `${said}`);
    });
  }
  assert.ok(memory() - before < MOST_AFTER, `${memory() - before} KiB more`);
  assert.deepEqual(workersOf(holdfast.pid), [worker]);
});

/** For who reads the report. */
function tell(t: TestContext, { opened, bytes, frames }: Sent, times: readonly number[], { sentences }: LogTail): void {
  const at = (share: number): string => times[Math.floor(share * (times.length - 1))].toFixed(1);
  t.diagnostic(`${opened} connections, ${(bytes / 1e6).toFixed(1)} MB; frames ${JSON.stringify(frames)}`);
  t.diagnostic(`${times.length} good answers: p50 ${at(0.5)}, p99 ${at(0.99)}, worst ${at(1)} ms`);
  const most = [...sentences].toSorted((a, b) => b[1] - a[1]).slice(0, 4);
  for (const [sentence, count] of most) t.diagnostic(`${count} × ${sentence}`);
}
