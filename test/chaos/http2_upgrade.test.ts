/** Reloads, upgrades and workers that leave, while clients of HTTP/2 ask all the time: what they have sent is answered. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import type { ClientHttp2Stream } from "node:http2";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { httpBackend } from "../support/backend.ts";
import { selfSigned } from "../support/certificates.ts";
import { startDaemon } from "../support/daemon.ts";
import { h2Answer } from "../support/h2.ts";
import { h2Backend } from "../support/h2_backend.ts";
import { type H2Kind, startH2Load } from "../support/h2_load.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { isRunning, workersOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const RELOADS = Number(process.env.HOLDFAST_CHAOS_RELOADS ?? 6);
const UPGRADES = 3;
const FILE = Buffer.alloc(1_000_000, "0123456789abcdefghijklmnopqrstuvwxyz");
const digest = (bytes: string | Buffer): string => createHash("sha256").update(bytes).digest("hex");
const FILE_DIGEST = digest(FILE);
const ROUNDS = 10;

/** What is wrong with an answer. */
async function judge(stream: ClientHttp2Stream, wanted: string): Promise<string> {
  const { status, body } = await h2Answer(stream);
  return status === 200 && digest(body) === wanted ? "" : `status ${status}, ${body.length} bytes`;
}

let number = 0;
const KINDS: Readonly<Record<string, H2Kind>> = {
  get: (open) => judge(open({ ":path": "/small" }).end(), digest("small")),
  post: (open) => {
    const body = `${number++}`.padEnd(100_000, "post");
    return judge(open({ ":path": "/echo", ":method": "POST" }).end(body), digest(body));
  },
  download: (open) => judge(open({ ":path": "/file" }).end(), FILE_DIGEST),
  upload: async (open) => {
    const stream = open({ ":path": "/upload", ":method": "POST" });
    const answer = judge(stream, digest("piece".repeat(10_000)));
    answer.catch(() => {});
    for (let i = 0; i < 10; i++) {
      stream.write("piece".repeat(1000));
      await pause(20);
    }
    stream.end();
    return answer;
  },
  call: async (open) => {
    const stream = open({ ":path": "/call", ":method": "POST", "content-type": "application/grpc", te: "trailers" });
    const answer = h2Answer(stream);
    answer.catch(() => {});
    let said = "";
    let hear = () => {};
    stream.on("data", () => hear()).on("close", () => hear());
    for (let i = 0; i < ROUNDS && !stream.closed; i++) {
      const heard = new Promise<void>((resolve) => {
        hear = resolve;
      });
      stream.write(`${i};`);
      said += `${i};`;
      await heard;
      await pause(10);
    }
    stream.end();
    const { status, body, trailers } = await answer;
    if (status === 200 && body === said && trailers["grpc-status"] === "0") return "";
    return `status ${status}, ${body}, grpc-status ${trailers["grpc-status"]}`;
  },
};

for (const engine of ["io_uring", "node"]) {
  test(`${RELOADS} reloads and ${UPGRADES} upgrades under load fail no request of HTTP/2 (${engine})`, async (t) => {
    const backend = await httpBackend(t, (request, response) => request.pipe(response));
    const calls = await h2Backend(t, (stream) => {
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.pipe(stream);
    });
    const [port, secure, status] = [await freePort(), await freePort(), await freePort()];
    const { certificate, key } = selfSigned("localhost");
    const config = (round: number, prefix: string) => `
      worker_processes ${1 + (round % 3)}; events { use ${engine}; }
      http {
        access_log off; keepalive_requests 1000000; http2 on; client_max_body_size 0;
        upstream u { zone u 64k; server ${backend.address}; keepalive ${16 + (round % 3)}; }
        upstream calls { zone calls 64k; server ${calls.address}; keepalive 4; }
        server {
          listen 127.0.0.1:${port}; listen 127.0.0.1:${secure} ssl; ssl_certificate c.pem; ssl_certificate_key k.pem;
          add_header X-Round ${round}; root ${prefix}/html;
          location = /file { limit_rate 3m; }
          location = /small { return 200 small; }
          location = /echo { proxy_pass http://u; }
          location = /upload { proxy_pass http://u; proxy_request_buffering off; }
          location = /call { grpc_pass grpc://calls; }
        }
        server { listen 127.0.0.1:${status}; keepalive_timeout 0; location / { stub_status; } }
      }`;
    const files = { "conf/c.pem": certificate, "conf/k.pem": key };
    const daemon = await startDaemon(t, (prefix) => config(0, prefix), { files });
    mkdirSync(join(daemon.prefix, "html"), { recursive: true });
    writeFileSync(join(daemon.prefix, "html/file"), FILE);

    // A proxy in between is a client as well.
    const front = await startHoldfast(t, {
      config: ([own]) => `http {
        access_log off; keepalive_requests 1000000; http2 on; client_max_body_size 0;
        upstream site { server 127.0.0.1:${port} max_fails=0; keepalive 4; }
        proxy_next_upstream off; proxy_http_version 2; proxy_request_buffering off; grpc_next_upstream off;
        server { listen 127.0.0.1:${own}; location / { proxy_pass http://site; } location = /call { grpc_pass site; } } }`,
    });
    const urls = [`http://127.0.0.1:${port}`, `https://127.0.0.1:${secure}`, `http://127.0.0.1:${front.port}`];
    const load = startH2Load(t, { urls, clients: 2, kinds: KINDS });
    await load.more(5);
    let round = 0;
    for (let upgrade = 1; upgrade <= UPGRADES; upgrade++) {
      while (round < (RELOADS * upgrade) / UPGRADES) {
        daemon.configure(config(++round, daemon.prefix));
        const done = daemon.errorLog().split(": reconfigured").length;
        await daemon.signal("SIGHUP", "the reload", () => daemon.errorLog().split(": reconfigured").length > done);
        await load.more(5);
      }
      const old = await daemon.startNewBinary();
      await load.more(5);
      await daemon.retire(old);
      assert.equal(isRunning(old), false);
      await load.more(5);
    }
    await load.stop();
    await front.stop("SIGQUIT");

    const { answered, sessions, told, unsent, failures } = load;
    t.diagnostic(`${JSON.stringify(answered)} in ${sessions} sessions, ${told} told to go; ${unsent} not sent by Node`);
    assert.deepEqual(failures, []);
    assert.ok(told > 0);
    assert.equal(workersOf(daemon.pid).length, 1 + (round % 3));
    await waitFor(
      async () => /^Active connections: 1 \n.*Reading: 0 Writing: 1 Waiting: 0/s.test((await get(status, "/")).body),
      "counters that are right",
    );
    assert.doesNotMatch(daemon.errorLog(), /\[(alert|crit|emerg)\]/);
  });
}
