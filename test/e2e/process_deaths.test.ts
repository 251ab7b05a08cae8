/** Processes that die: each is logged as [alert] and started again, and the others serve on with right counts. */
import assert from "node:assert/strict";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { httpBackend, tcpBackend } from "../support/backend.ts";
import { bundled, type Running, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { checkersOf, childrenOf, isRunning, workersOf } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const DIST = fileURLToPath(new URL("../../dist", import.meta.url));
const ECHO = fileURLToPath(new URL("../support/echo_main.ts", import.meta.url));

function startEcho(t: TestContext, main: string, nodeFlags: readonly string[] = []): Promise<Running> {
  return startHoldfast(t, {
    entry: bundled(ECHO),
    nodeFlags,
    config: ([port]) => `${main} http { echo_port ${port}; }`,
  });
}

/** The next line that a connection answers. */
async function say(connection: RawConnection, word: string): Promise<string> {
  const before = (await connection.until(() => true)).length;
  connection.write(`${word}\n`);
  return (await connection.until((received) => received.includes("\n", before))).slice(before);
}

/** A connection to each of two workers, with the worker's process id. */
async function connectToTwo(t: TestContext, port: number) {
  const found = new Map<number, RawConnection>();
  await waitFor(async () => {
    const connection = await RawConnection.open(port);
    t.after(() => connection.close());
    const pid = Number(/ pid=(\d+) /.exec(await say(connection, "hello"))?.[1]);
    if (found.has(pid)) connection.close();
    else found.set(pid, connection);
    return found.size === 2;
  }, "connections to both workers");
  const [[pid, connection], [otherPid, other]] = found;
  return { pid, connection, otherPid, other };
}

const tell = (word: string) => (connection: RawConnection) => connection.write(`${word}\n`);
const kill = (signal: NodeJS.Signals) => (_connection: RawConnection, pid: number) => process.kill(pid, signal);

const DEATHS: readonly {
  readonly by: string;
  readonly die: (connection: RawConnection, pid: number) => void;
  readonly exited: string;
  /** What the worker itself logs. */
  readonly said?: RegExp;
  readonly flags?: readonly string[];
  readonly main?: string;
}[] = [
  {
    by: "an exception",
    die: tell("crash"),
    exited: "with code 1",
    said: /\[alert\] (\d+)#\1: exception: Error: crashed on demand\\x0Awith a second line at [^\n]*echo_main\.ts:/,
  },
  {
    by: "a rejected promise",
    die: tell("reject"),
    exited: "with code 1",
    said: /\[alert\] (\d+)#\1: exception: TypeError: rejected on demand at /,
  },
  { by: "an exit of its own", die: tell("exit"), exited: "with code 3" },
  { by: "SIGKILL", die: kill("SIGKILL"), exited: "on signal 9" },
  { by: "SIGSEGV", die: kill("SIGSEGV"), exited: "on signal 11" },
  { by: "a lack of memory", die: tell("oom"), exited: "on signal 6", flags: ["--max-old-space-size=64"] },
  {
    by: "an endless loop",
    die: tell("hang"),
    exited: "on signal 6",
    said: /\[alert\] \d+#\d+: worker process \d+ has handled no event for 4 s, ending it by SIGABRT/,
    main: "worker_watchdog_timeout 4s;",
  },
];

for (const { by, die, exited, said, flags, main } of DEATHS) {
  test(`a worker that dies of ${by} is started again, and the other serves on`, async (t) => {
    const holdfast = await startEcho(t, `worker_processes 2; ${main ?? ""}`, flags);
    const { pid, connection, otherPid, other } = await connectToTwo(t, holdfast.port);
    die(connection, pid);
    await connection.until(() => false);
    await holdfast.waitForLog(new RegExp(`\\[alert\\] \\d+#\\d+: worker process ${pid} exited ${exited}$`, "m"));
    if (said !== undefined) assert.match(holdfast.errorLog(), said);
    assert.match(await say(other, "hello"), new RegExp(` pid=${otherPid} `));
    const next = await connectToTwo(t, holdfast.port);
    assert.ok(![next.pid, next.otherPid].includes(pid));
    assert.deepEqual(workersOf(holdfast.pid).toSorted(), [next.pid, next.otherPid].toSorted());
    assert.doesNotMatch(holdfast.errorLog(), /^\s+at /m);
    assert.equal(await holdfast.stop(), 0);
  });
}

test("who comes while the only worker is away waits for the next one", async (t) => {
  const holdfast = await startEcho(t, "");
  for (let i = 0; i < 3; i++) {
    const killer = await RawConnection.open(holdfast.port);
    killer.write("crash\n");
    await killer.until(() => false);
    const client = await RawConnection.open(holdfast.port);
    assert.match(await say(client, "hello"), /^echo /);
    client.close();
  }
});

test("a worker that cannot begin ends the start, with the reason", async (t) => {
  const { code, stderr } = await runHoldfast(t, {
    entry: bundled(ECHO),
    config: "worker_processes 2; http { echo_crash_at_start on; }",
  });
  assert.equal(code, 1);
  assert.equal(stderr, "holdfast: [emerg] cannot serve\n");
});

/** A backend that holds every answer back. */
async function holdingBackend(t: TestContext) {
  const held: ServerResponse[] = [];
  const { address } = await httpBackend(t, (_request, response) => held.push(response));
  return { held, address };
}

const request = (connection: RawConnection, path: string) =>
  connection.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);

/** So many connections to each of two workers, by the worker's process id. */
async function connectionsOfTwo(t: TestContext, port: number, each: number): Promise<[number, RawConnection[]][]> {
  const found = new Map<number, RawConnection[]>();
  await waitFor(async () => {
    const connection = await RawConnection.open(port);
    t.after(() => connection.close());
    request(connection, "/who");
    const pid = Number((await connection.readResponse()).body);
    const known = found.get(pid) ?? [];
    if (known.length === each) connection.close();
    else found.set(pid, [...known, connection]);
    return [...found.values()].filter((all) => all.length === each).length === 2;
  }, "connections to both workers");
  return [...found];
}

test("what a killed worker had open is counted no more: clients, and connections to servers", async (t) => {
  const backend = await holdingBackend(t);
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 2; http { access_log off; keepalive_requests 10000;
      upstream u { zone u 64k; server ${backend.address} max_conns=3; }
      server { listen 127.0.0.1:${port};
        location /who { return 200 $pid; }
        location /held { proxy_pass http://u; }
        location /status { stub_status; } } }`,
  });
  const [[pid, dying], [, living]] = await connectionsOfTwo(t, holdfast.port, 4);
  const status = async () => {
    request(living[3], "/status");
    const { body } = await living[3].readResponse();
    const [, active, accepts] = /^Active connections: (\d+) \n[^\n]*\n (\d+) /.exec(body) ?? assert.fail(body);
    return { active: Number(active), accepts: Number(accepts) };
  };
  for (const connection of [dying[0], dying[1], living[0]]) request(connection, "/held");
  await waitFor(() => backend.held.length === 3, "three requests at the server");
  request(living[1], "/held");
  assert.equal((await living[1].readResponse()).status, 502);
  await waitFor(async () => (await status()).active === 8, "eight connections");
  const before = await status();

  process.kill(pid, "SIGKILL");
  await holdfast.waitForLog(new RegExp(`\\[alert\\] .*: worker process ${pid} exited on signal 9$`, "m"));
  await waitFor(async () => (await status()).active === 4, "the connections of the dead worker to be forgotten");
  assert.ok((await status()).accepts >= before.accepts);
  // Two of three have room again, and no more.
  for (const connection of [living[1], living[2]]) request(connection, "/held");
  await waitFor(() => backend.held.length === 5, "two more requests at the server");
  request(living[3], "/held");
  assert.equal((await living[3].readResponse()).status, 502);
  for (const response of backend.held) response.end("held");
  for (const connection of living.slice(0, 3)) assert.equal((await connection.readResponse()).body, "held");
  await waitFor(() => workersOf(holdfast.pid).length === 2, "another worker");
});

test("a checker that is killed is started again, and checks on from where it was", async (t) => {
  const checked = await tcpBackend(t, () => {});
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { upstream u { server ${checked.address}; check interval=50 rise=1 fall=1 type=tcp; }
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://u; } location /status { check_status json; } } }`,
  });
  await waitFor(() => checked.connections > 2, "checks");
  const [checker] = checkersOf(holdfast.pid);
  const workers = workersOf(holdfast.pid);
  process.kill(checker, "SIGKILL");
  await holdfast.waitForLog(new RegExp(`\\[alert\\] .*: checker process ${checker} exited on signal 9$`, "m"));
  await waitFor(() => holdfast.errorLog().split("start checker process ").length === 3, "another checker");
  assert.match((await get(holdfast.port, "/status")).body, /"up"/);
  const before = checked.connections;
  await waitFor(() => checked.connections > before + 2, "more checks");
  assert.deepEqual(workersOf(holdfast.pid), workers);
});

test("when the master is killed its children finish what they have and leave, and the ports are free at once", async (t) => {
  const backend = await holdingBackend(t);
  const config = (port: number, text: string) => `worker_processes 2; http { server { listen 127.0.0.1:${port};
    location / { return 200 ${text}; } location /held { proxy_pass http://${backend.address}; } } }`;
  const first = await startHoldfast(t, { config: ([port]) => config(port, "first") });
  const client = await RawConnection.open(first.port);
  request(client, "/held");
  await waitFor(() => backend.held.length === 1, "the request at the server");
  const children = childrenOf(first.pid);
  assert.equal(children.length, 3);

  first.signal("SIGKILL");
  await first.waitForLog(/\[alert\] .*: the master process has exited, gracefully shutting down$/m);
  await waitFor(() => children.filter(isRunning).length === 1, "all but the busy worker to leave");
  const second = await startHoldfast(t, { prefix: first.prefix, config: config(first.port, "second") });
  assert.equal((await get(first.port, "/")).body, "second");

  backend.held[0].end("held");
  assert.equal((await client.readResponse()).body, "held");
  client.close();
  await waitFor(() => !children.some(isRunning), "the last one to leave");
  assert.equal(await first.exited, "SIGKILL");
  assert.equal(await second.stop(), 0);
});

test("what dies is started again as the program that its master is, whatever has taken its place on the disk", async (t) => {
  const home = mkdtempSync(join(tmpdir(), "holdfast-test-"));
  t.after(() => rmSync(home, { recursive: true, force: true }));
  mkdirSync(join(home, "dist"));
  chmodSync(home, 0o755);
  for (const name of ["holdfast.mjs", "program.js"]) copyFileSync(join(DIST, name), join(home, "dist", name));
  const { port, pid } = await startHoldfast(t, {
    entry: join(home, "dist/holdfast.mjs"),
    config: ([port]) => `http { server { listen 127.0.0.1:${port}; location / { return 200 here; } } }`,
  });
  const update = (text: string): void => {
    // As package managers do: a new file under the old name.
    writeFileSync(join(home, "dist/new.js"), text);
    renameSync(join(home, "dist/new.js"), join(home, "dist/program.js"));
  };
  update("(function (module) { module.exports.boot = () => process.exit(9); })\n//another");
  for (const processes of [workersOf, checkersOf]) {
    const [dying] = processes(pid);
    process.kill(dying, "SIGKILL");
    await waitFor(() => processes(pid).length === 1 && processes(pid)[0] !== dying, "another in its place");
  }
  assert.equal((await get(port, "/")).body, "here");
});
