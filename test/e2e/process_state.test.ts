/** What the processes share stays true while workers come and go, and through signals at odd moments. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { readFileSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { LAUNCHER, makePrefix, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { childrenOf, mappingsOf, openBy } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

test("workers that finish their requests beside their successors keep the counts right", async (t) => {
  const held: ServerResponse[] = [];
  const backend = await httpBackend(t, (_request, response) => held.push(response));
  const config = (workers: number, port: number) => `worker_processes ${workers}; http {
    upstream u { server ${backend.address} max_conns=8; }
    server { listen 127.0.0.1:${port}; location / { proxy_pass http://u; } location = /status { stub_status; } } }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(2, ports[0]) });
  const clients = await Promise.all(
    Array.from({ length: 8 }, async () => {
      const connection = await RawConnection.open(holdfast.port);
      connection.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      return connection;
    }),
  );
  await waitFor(() => held.length === 8, "eight requests at the backend");
  assert.equal((await get(holdfast.port, "/")).status, 502);

  assert.equal(await holdfast.reload(config(1, holdfast.port)), true);
  assert.equal(await holdfast.reload(config(2, holdfast.port)), true);
  // The second worker of the first generation still holds its requests.
  assert.equal((await get(holdfast.port, "/")).status, 502);
  for (const response of held) response.end("done");
  for (const client of clients) {
    assert.equal((await client.readResponse()).status, 200);
    client.close();
  }
  await waitFor(async () => {
    const { body } = await get(holdfast.port, "/status");
    return /^Active connections: 1 /.test(body);
  }, "the counters without the clients that left");
});

test("signals that come while it starts wait until it has started", async (t) => {
  const prefix = makePrefix(t);
  const port = await freePort();
  const file = join(prefix, "conf/nginx.conf");
  writeFileSync(file, `events {} http { server { listen 127.0.0.1:${port}; return 200 first; } }`);
  const globals = "daemon off; error_log logs/error.log info;";
  const child = spawn(LAUNCHER, ["-p", `${prefix}/`, "-g", globals], { stdio: ["ignore", "inherit", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const log = () => readFileSync(join(prefix, "logs/error.log"), { encoding: "latin1", flag: "a+" });
  await waitFor(() => log().includes("start worker processes"), "the workers to be started");
  writeFileSync(file, `events {} http { server { listen 127.0.0.1:${port}; return 200 second; } }`);
  for (const signal of ["SIGUSR1", "SIGUSR2", "SIGHUP", "SIGHUP"] as const) child.kill(signal);
  await waitFor(
    () => child.exitCode !== null || child.signalCode !== null || log().includes("reconfigured"),
    "a reload",
  );
  assert.deepEqual([child.exitCode, child.signalCode], [null, null]);
  assert.equal((await get(port, "/")).body, "second");
  assert.match(log(), /reopening logs/);
  child.kill("SIGTERM");
  await waitFor(() => child.exitCode === 0, "its end");
});

test("reloads leave no descriptor and no mapping behind, in no process", async (t) => {
  const syslog = createSocket("udp4");
  await new Promise<void>((resolve) => syslog.bind(0, "127.0.0.1", resolve));
  t.after(() => syslog.close());
  const backend = await httpBackend(t, (_request, response) => response.end("back"));
  // Idle connections to the backend would come and go.
  const config = (ports: readonly number[], extra: string) => `worker_processes 2; http {
    error_log syslog:server=127.0.0.1:${syslog.address().port} info; error_log logs/http.log info;
    access_log syslog:server=127.0.0.1:${syslog.address().port}; access_log logs/a.log combined buffer=4k flush=1s;
    upstream u { server ${backend.address}; check interval=200 type=http; keepalive 0; ${extra} }
    server { listen 127.0.0.1:${ports[0]}; listen unix:/tmp/holdfast-state-${ports[0]}.sock; location / { proxy_pass http://u; } } }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(ports, "") });
  const pids = () => [holdfast.pid, ...childrenOf(holdfast.pid)];
  const held = () => ({
    descriptors: pids().flatMap(openBy).length,
    zones: pids()
      .flatMap(mappingsOf)
      .filter(({ name }) => name.startsWith("/memfd:")).length,
  });
  const round = async (extra: string) => {
    assert.equal(await holdfast.reload(config(holdfast.ports, extra)), true);
    for (let i = 0; i < 8; i++) assert.equal((await get(holdfast.port, "/")).status, 200);
  };
  await round("");
  await round("ip_hash;");
  const before = held();
  for (let i = 0; i < 10; i++) await round(i % 2 === 0 ? "" : "ip_hash;");
  // What a reload leaves is collected a little later.
  await waitFor(
    () => held().descriptors <= before.descriptors + 4 && held().zones <= before.zones,
    () => `${JSON.stringify(before)} as before, not ${JSON.stringify(held())}`,
  );
});
