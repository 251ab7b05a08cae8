/** Very many connections, one after the other and at a time: all are served, and nothing of them is left. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openFilesLimit, setLimit } from "../../src/sys/limits.ts";
import { httpBackend } from "../support/backend.ts";
import { makePrefix, type Running, startHoldfast } from "../support/holdfast.ts";
import { childrenOf, openBy, workersOf } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const SHORT = Number(process.env.HOLDFAST_CHAOS_SHORT ?? 10_000);
/** Descriptors that the test and the program need for other things. */
const SPARE = 2000;
/** Fewer where the system's hard limit is lower and cannot be raised. */
const IDLE = idleConnections(Number(process.env.HOLDFAST_CHAOS_IDLE ?? 20_000));

function idleConnections(wanted: number): number {
  const raised = setLimit("RLIMIT_NOFILE", wanted + SPARE) === undefined;
  return raised ? wanted : Math.min(wanted, openFilesLimit() - SPARE);
}
const AT_A_TIME = 100;

const CONFIG = ([port, status]: readonly number[]) => `worker_processes 2;
  events { worker_connections ${IDLE + 1000}; }
  http { access_log off; keepalive_timeout 600s; client_header_timeout 600s;
    server { listen 127.0.0.1:${port} backlog=4096; return 200 here; }
    server { listen 127.0.0.1:${status}; keepalive_timeout 0; location / { stub_status; } } }`;

/** A request on a connection of its own; with `linger` that stays open. Resolves once it is answered. */
function ask(port: number, linger: boolean): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1" }, () => {
      socket.write(`GET / HTTP/1.1\r\nHost: a\r\n${linger ? "" : "Connection: close\r\n"}\r\n`);
    });
    let answer = "";
    socket.on("data", (bytes) => {
      answer += bytes.toString("latin1");
      if (linger && answer.endsWith("here")) resolve(socket);
    });
    socket.once("error", reject);
    socket.once("close", () => {
      if (answer.endsWith("here")) resolve(socket);
      else reject(new Error(`closed after ${JSON.stringify(answer)}`));
    });
  });
}

async function askMany(port: number, count: number, linger: boolean): Promise<Socket[]> {
  const sockets: Socket[] = [];
  let asked = 0;
  const run = async (): Promise<void> => {
    while (asked < count) {
      asked++;
      const socket = await ask(port, linger);
      if (linger) sockets.push(socket);
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, run));
  return sockets;
}

async function active(holdfast: Running): Promise<number> {
  const page = (await get(holdfast.ports[1], "/")).body;
  return Number(/Active connections: (\d+)/.exec(page)?.[1]);
}

function descriptors(master: number): number {
  return [master, ...childrenOf(master)].reduce((sum, pid) => sum + openBy(pid).length, 0);
}

/** With what it opens once: how many descriptors its processes have then. */
async function started(t: TestContext): Promise<{ readonly holdfast: Running; readonly before: number }> {
  const holdfast = await startHoldfast(t, { config: CONFIG });
  await askMany(holdfast.port, AT_A_TIME, false);
  await waitFor(async () => (await active(holdfast)) === 1, "the connections to be closed");
  return { holdfast, before: descriptors(holdfast.pid) };
}

test(`${SHORT} short connections are answered, each`, async (t) => {
  const { holdfast, before } = await started(t);
  await askMany(holdfast.port, SHORT, false);
  await waitFor(async () => (await active(holdfast)) === 1, "the connections to be closed");
  await waitFor(() => descriptors(holdfast.pid) <= before, "the descriptors to be closed");
  assert.doesNotMatch(holdfast.errorLog(), /\[(alert|crit|emerg)\]/);
});

test(`${IDLE} idle connections`, async (t) => {
  const { holdfast, before } = await started(t);
  const sockets = await askMany(holdfast.port, IDLE, true);
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  // Those of who has asked so far may be about to be closed.
  const all = async (): Promise<boolean> => (await active(holdfast)) === IDLE + 1;
  await waitFor(all, "all to be counted");
  assert.equal((await get(holdfast.port, "/")).body, "here");
  assert.equal(await holdfast.reload(), true);
  await waitFor(all, "all to be counted after a reload");
  for (const socket of sockets) socket.destroy();
  await waitFor(async () => (await active(holdfast)) === 1, "the connections to be closed");
  await waitFor(() => descriptors(holdfast.pid) <= before, "the descriptors to be closed");
  assert.doesNotMatch(holdfast.errorLog(), /\[(alert|crit|emerg)\]/);
});

for (const engine of ["io_uring", "node"]) {
  test(`ulimit -n 64 for every process: clients that do not fit are served by and by (${engine})`, async (t) => {
    const backend = await httpBackend(t, (_request, response) => response.end("here"));
    const prefix = makePrefix(t);
    const node = join(prefix, "node64");
    writeFileSync(node, `#!/bin/sh\nulimit -n 64\nexec "${process.execPath}" "$@"\n`, { mode: 0o755 });
    const holdfast = await startHoldfast(t, {
      env: { HOLDFAST_NODE: node },
      config: ([port]) => `worker_processes 2;
        events { use ${engine}; }
        http { access_log off;
          upstream u { zone u 64k; server ${backend.address} max_fails=0; keepalive 4; }
          server { listen 127.0.0.1:${port}; location / { return 200 here; } location /u { proxy_pass http://u; } } }`,
    });
    const { pid, port } = holdfast;
    const connections: RawConnection[] = [];
    t.after(() => {
      for (const connection of connections) connection.close();
    });
    for (let i = 0; i < 200; i++) {
      const connection = await RawConnection.open(port);
      connections.push(connection);
      connection.write(`GET ${i % 2 === 0 ? "/" : "/u"} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    }
    for (const [i, connection] of connections.entries()) {
      const { status } = await connection.readResponse();
      // As in nginx: where no descriptor is left to connect to a server with.
      assert.ok(status === 200 || (status === 500 && i % 2 === 1), `${status}`);
    }
    assert.equal(await holdfast.reload(), true);
    const [worker] = workersOf(pid);
    process.kill(worker, "SIGKILL");
    await holdfast.waitForLog(new RegExp(`worker process ${worker} exited on signal 9`));
    await waitFor(() => workersOf(pid).length === 2, "another worker");
    assert.equal(await holdfast.reload(), true);
    assert.equal((await get(port, "/u")).body, "here");
    assert.doesNotMatch(holdfast.errorLog(), /exception|\[emerg\]/);
  });
}
