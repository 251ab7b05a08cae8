/** Servers of HTTP/2 that attack at full rate, while a good one in the same upstream answers and memory stays level. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { h2Backend } from "../support/h2_backend.ts";
import { HOSTILE_SERVERS } from "../support/h2_hostile_server_main.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { LogTail } from "../support/log_tail.ts";
import { freePort } from "../support/ports.ts";
import { memoryOf, workersOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";
import { PATIENCE_MS, waitFor } from "../support/wait.ts";

const SECONDS = Number(process.env.HOLDFAST_CHAOS_SECONDS ?? 0.2);
const ONLY = process.env.HOLDFAST_CHAOS_ONLY;
const HOSTILE = join(import.meta.dirname, "../support/h2_hostile_server_main.ts");
/** KiB that a worker may have more during an attack, and after all of them: the young generation alone may keep 96 MiB. */
const MOST_DURING = 250_000;
const MOST_AFTER = 150_000;
/** Requests at a time that may meet the hostile server, every other with a body. */
const ASKERS = 6;
const BODY = "0123456789".repeat(20_000);

/** Starts a hostile server; returns what ends it and tells what it did. */
async function hostile(t: TestContext, port: number, name: string): Promise<() => Promise<string>> {
  const args = ["--disable-warning=ExperimentalWarning", HOSTILE, `${port}`, name];
  const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const lines: string[] = [];
  child.stdout.setEncoding("utf8").on("data", (text: string) => lines.push(text));
  await waitFor(() => lines.length > 0, "the hostile server");
  return async () => {
    if (child.exitCode === null) {
      child.stdin.end();
      await once(child, "exit");
    }
    return lines.slice(1).join("");
  };
}

/** What became of requests, by status. */
class Asked {
  readonly counts = new Map<string, number>();
  readonly times: number[] = [];

  /** Returns the end of the answer, which may be one of many megabytes. */
  async ask(port: number, text: string): Promise<string> {
    const start = performance.now();
    const socket = connect({ port, host: "127.0.0.1" });
    let head = "";
    let end = "";
    socket.setEncoding("latin1").on("data", (piece: string) => {
      if (head === "") head = piece.slice(0, 100);
      end = (end + piece.slice(-100)).slice(-100);
    });
    socket.on("error", () => {});
    socket.write(text);
    await once(socket, "close");
    this.times.push(performance.now() - start);
    const whole = /content-length/i.test(head) || end.endsWith("0\r\n\r\n");
    const said = whole ? head.slice(9, 12) : "broken off";
    this.counts.set(said, (this.counts.get(said) ?? 0) + 1);
    return end;
  }

  toString(): string {
    const times = this.times.toSorted((a, b) => a - b);
    const at = (share: number) => times[Math.floor(share * (times.length - 1))]?.toFixed(1);
    return `${JSON.stringify(Object.fromEntries(this.counts))}, p50 ${at(0.5)}, p99 ${at(0.99)}, worst ${at(1)} ms`;
  }
}

const GET = "GET /mixed HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const PUT = `PUT /mixed HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;
const attacks = HOSTILE_SERVERS.filter(([name]) => ONLY === undefined || new RegExp(ONLY).test(name));

// What asks the good server waits for it as long as it takes on a busy machine: only where a hostile one may be silent is time short.
test(`${attacks.length} attacks of servers over HTTP/2, ${SECONDS} s each`, async (t) => {
  const good = await h2Backend(t, (stream) => {
    stream.resume();
    stream.on("end", () => {
      // Its request may have been given up meanwhile.
      if (stream.destroyed) return;
      stream.respond({ ":status": 200 });
      stream.end("good");
    });
  });
  const hostilePort = await freePort();
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http { access_log off; client_max_body_size 0;
      proxy_http_version 2;
      upstream mixed { server 127.0.0.1:${hostilePort} max_fails=0; server ${good.address} max_fails=0; keepalive 8; }
      server { listen 127.0.0.1:${port};
        proxy_next_upstream error timeout invalid_header;
        location /mixed { proxy_pass http://mixed; proxy_read_timeout 400ms; proxy_send_timeout 400ms; }
        location /calm { proxy_pass http://mixed; }
        location /good { proxy_pass http://${good.address}; } } }`,
  });
  const { port } = holdfast;
  const [worker] = workersOf(holdfast.pid);
  const memory = (): number => memoryOf(worker, "Anonymous");
  for (let i = 0; i < 200; i++) assert.equal((await get(port, "/calm")).body, "good");
  const before = memory();
  for (const [name, said] of attacks) {
    await t.test(name, async (t) => {
      const log = new LogTail(join(holdfast.prefix, "logs/error.log"));
      const stop = await hostile(t, hostilePort, name);
      let over = false;
      let most = 0;
      let heard = said === undefined;
      /** What went wrong with the good one. */
      const spoilt: string[] = [];
      const read = (): void => {
        log.read((more) => {
          heard = heard || said?.test(more) === true;
          spoilt.push(...(more.match(/^.*"GET \/good .*$/gm) ?? []));
          return heard;
        });
      };
      const mixed = new Asked();
      const alone = new Asked();
      const askers = Array.from({ length: ASKERS }, async (_, i) => {
        while (!over) await mixed.ask(port, i % 2 === 0 ? GET : PUT);
      });
      askers.push(
        (async () => {
          while (!over) {
            const end = await alone.ask(port, GET.replace("/mixed", "/good"));
            if (!/good\r\n0\r\n\r\n$/.test(end)) spoilt.push(end);
            most = Math.max(most, memory());
            await sleep(2);
          }
        })(),
      );
      const done = Promise.all(askers);
      try {
        await sleep(SECONDS * 1000);
        await waitFor(() => {
          read();
          return heard;
        }, `${name}: ${said}`);
      } finally {
        over = true;
      }
      // Some of its answers would have no end.
      await Promise.race([done, sleep(1000)]);
      const sent = await stop();
      await done;
      read();
      t.diagnostic(`the hostile server: ${sent.trim()}`);
      t.diagnostic(`requests of both: ${mixed}`);
      t.diagnostic(`of the good one: ${alone}`);
      const sentences = [...log.sentences].toSorted((a, b) => b[1] - a[1]).slice(0, 3);
      for (const [sentence, count] of sentences) t.diagnostic(`${count} × ${sentence}`);
      t.diagnostic(`memory ${before}, at most ${most}, then ${memory()} KiB`);
      assert.equal(log.wrong, "");
      assert.deepEqual(spoilt, []);
      assert.ok(most - before < MOST_DURING, `${most - before} KiB more`);
      assert.ok(
        mixed.times.every((ms) => ms < PATIENCE_MS),
        "a request that does not end",
      );
      for (let i = 0; i < 4; i++) assert.equal((await get(port, "/calm")).body, "good");
    });
  }
  assert.ok(memory() - before < MOST_AFTER, `${memory() - before} KiB more`);
  assert.deepEqual(workersOf(holdfast.pid), [worker]);
});
