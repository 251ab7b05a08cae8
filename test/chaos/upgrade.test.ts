/** A new binary takes over (USR2, then WINCH and QUIT to the old master), as in nginx, while clients come. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { startDaemon } from "../support/daemon.ts";
import { type Load, startLoad } from "../support/load.ts";
import { freePort, listeningPorts } from "../support/ports.ts";
import { childrenOf, isRunning, openBy, workersOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

interface Setting {
  readonly workers?: number;
  readonly zone?: string;
  readonly second?: boolean;
  readonly wrong?: string;
}

/** A configuration with a TCP and a unix socket, an upstream zone and limits; `set` puts another in the file. */
async function prepare(t: TestContext) {
  const backend = await httpBackend(t, (_request, response) => response.end("here"));
  const [port, second, status] = [await freePort(), await freePort(), await freePort()];
  const config = ({ workers = 2, zone = "64k", second: more = false, wrong = "" }: Setting): string => `
    worker_processes ${workers}; events {}
    http {
      access_log off;
      limit_conn_zone $server_port zone=perport:${zone};
      limit_req_zone $server_port zone=rate:${zone} rate=100000r/s;
      upstream u { zone u ${zone}; server ${backend.address} max_conns=64; keepalive 8; }
      server {
        listen 127.0.0.1:${port}; listen unix:sock; ${more ? `listen 127.0.0.1:${second};` : ""}
        limit_conn perport 64; limit_req zone=rate burst=1000 nodelay;
        location / { proxy_pass http://u; }
      }
      server { listen 127.0.0.1:${status}; keepalive_timeout 0; location / { stub_status; } ${wrong} }
    }`;
  return { port, second, status, config };
}

/** Half of the connections are kept: one that is idle is closed when its worker leaves, but not reset. */
function loadOn(t: TestContext, target: number | string): Load {
  return startLoad(t, { target, rate: 150, connections: 12, fresh: 6, retry: true });
}

async function more(loads: readonly Load[], count: number): Promise<void> {
  for (const load of loads) await load.more(count);
}

/** What the status page counts is what there is: the one who asks. */
async function assertQuiet(status: number): Promise<void> {
  await waitFor(async () => {
    const { body } = await get(status, "/");
    return /^Active connections: 1 \n.*Reading: 0 Writing: 1 Waiting: 0/s.test(body);
  }, "counters that are right");
  const [, accepted, handled] = /\n (\d+) (\d+) \d+ \n/.exec((await get(status, "/")).body) ?? [];
  assert.equal(accepted, handled);
}

test("three upgrades under load fail no request and reset no connection, whatever has changed", async (t) => {
  const { port, second, status, config } = await prepare(t);
  const text = (setting: Setting, prefix: string) => config(setting).replace("unix:sock", `unix:${prefix}/socket`);
  const running = await startDaemon(t, (prefix) => text({}, prefix));
  const socket = join(running.prefix, "socket");
  const loads = [loadOn(t, port), loadOn(t, socket)];
  await more(loads, 50);
  for (const setting of [{ workers: 3 }, { zone: "128k", second: true }, { workers: 1 }]) {
    running.configure(text(setting, running.prefix));
    const old = await running.startNewBinary();
    await more(loads, 50);
    assert.equal((await get(socket, "/")).body, "here");
    await running.retire(old);
    await more(loads, 50);
    assert.equal(workersOf(running.pid).length, setting.workers ?? 2);
    const ports = [port, status, ...(setting.second ? [second] : [])];
    assert.deepEqual(listeningPorts(running.pid).toSorted(), ports.toSorted());
    assert.equal((await get(socket, "/")).body, "here");
  }
  for (const load of loads) await load.stop();
  assert.deepEqual(
    loads.flatMap((load) => load.failures),
    [],
  );
  await assertQuiet(status);
  assert.doesNotMatch(running.errorLog(), /\[(alert|crit|emerg)\]/);
  await running.signal("SIGTERM", "the end", () => running.pid === 0);
  assert.equal(existsSync(socket), false);
});

test("an upgrade that fails, or is taken back, leaves the old master as it was, and fails no request", async (t) => {
  const { port, status, config } = await prepare(t);
  const text = (setting: Setting) => config(setting).replace("listen unix:sock;", "");
  const daemon = await startDaemon(t, text({}));
  const load = loadOn(t, port);
  await load.more(50);
  const master = daemon.pid;
  const back = () => daemon.pid === master && daemon.oldPid === 0;
  const servesOn = async (): Promise<void> => {
    await waitFor(back, "the pid file to have its name again");
    await waitFor(() => workersOf(master).length === 2, "the old workers");
    await load.more(50);
  };

  // A configuration that is wrong.
  daemon.configure(text({ wrong: "nonsense on;" }));
  const before = daemon.errorLog().length;
  await daemon.signal("SIGUSR2", "the new binary's end", () =>
    /new binary process \d+ exited with code 1/.test(daemon.errorLog().slice(before)),
  );
  assert.match(daemon.errorLog().slice(before), /\[emerg\] .*unknown directive "nonsense"/);
  await servesOn();
  daemon.configure(text({}));

  // The new master dies, or is told to go, before and after the old workers have left; a second USR2 is ignored.
  for (const signal of ["SIGKILL", "SIGTERM", "SIGQUIT"] as const) {
    for (const winch of [false, true]) {
      await daemon.startNewBinary();
      await load.more(20);
      const fresh = daemon.pid;
      const from = daemon.errorLog().length;
      for (const pid of [master, fresh]) {
        await daemon.signal(
          "SIGUSR2",
          "a refusal",
          () => new RegExp(`\\[crit\\] ${pid}#.*changing binary signal is ignored`).test(daemon.errorLog().slice(from)),
          pid,
        );
      }
      if (winch) {
        await daemon.signal("SIGWINCH", "no workers", () => workersOf(master).length === 0, master);
        await load.more(20);
      }
      const failures = load.failures.length;
      await daemon.signal(signal, "the new master's end", () => !isRunning(fresh), fresh);
      await servesOn();
      // A fast shutdown ends the requests that the new workers were at, but no new connection is refused.
      if (signal !== "SIGTERM") continue;
      for (const failure of load.failures.splice(failures)) assert.doesNotMatch(failure, /ECONNREFUSED/);
    }
  }

  // HUP to the old master while the new one runs brings its workers back.
  await daemon.startNewBinary();
  await daemon.signal("SIGWINCH", "no workers", () => workersOf(master).length === 0, master);
  await daemon.signal("SIGHUP", "workers", () => workersOf(master).length === 2, master);
  await load.more(20);
  await daemon.retire(master);
  await load.more(50);
  await load.stop();
  assert.deepEqual(load.failures, []);
  await assertQuiet(status);
});

test("upgrades leave no descriptor, mapping or process behind", async (t) => {
  const rounds = Number(process.env.HOLDFAST_CHAOS_UPGRADES ?? 4);
  const { port, config } = await prepare(t);
  const daemon = await startDaemon(t, config({}).replace(/listen unix:sock;|keepalive 8;/g, ""));
  const shape = (): string =>
    [daemon.pid, ...childrenOf(daemon.pid)]
      .map((pid) => openBy(pid).map((name) => name.replace(/\d+/g, "N")))
      .map(
        (names) =>
          `${names.filter((name) => name.startsWith("socket")).length} sockets, ${names.filter((name) => name.startsWith("/memfd")).length} zones`,
      )
      .toSorted()
      .join("; ");
  const upgrade = async (): Promise<void> => {
    const old = await daemon.startNewBinary();
    const all = [old, ...childrenOf(old)].filter((pid) => pid !== daemon.pid);
    await daemon.retire(old);
    await waitFor(() => !all.some(isRunning), "the end of the old processes");
    assert.equal((await get(port, "/")).body, "here");
  };
  await upgrade();
  const first = await settledShape(shape);
  for (let round = 0; round < rounds; round++) await upgrade();
  await waitFor(
    () => shape() === first,
    () => `${first}, not ${shape()}`,
  );
});

/** The same for a while: connections of the test have been closed. */
async function settledShape(shape: () => string): Promise<string> {
  let last = "";
  let same = 0;
  await waitFor(() => {
    const now = shape();
    same = now === last ? same + 1 : 0;
    last = now;
    return same > 10;
  }, "descriptors that stay");
  return last;
}
