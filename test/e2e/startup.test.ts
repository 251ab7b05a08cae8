/** What a start and a reload of the HTTP program need: files, directories, ports; and what a reload leaves behind. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { getPriority } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { tcpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { finish, LAUNCHER, makePrefix, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { freePort, listeningPorts } from "../support/ports.ts";
import { checkersOf, isRunning, statusOf, workersOf } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const root = process.getuid?.() === 0;
const skipUnlessRoot = root ? false : "needs root";
const NOBODY = 65534;

/** A port below 1024 that is free. */
async function lowPort(): Promise<number> {
  for (let port = 1023; port > 600; port--) {
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new Error("no free port below 1024");
}

test("temporary directories and logs are made before the start, for the user that is to write there", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: (ports) => `http { client_body_temp_path bodies; access_log logs/a.log;
      server { listen 127.0.0.1:${ports[0]}; access_log logs/b.log;
        location / { proxy_pass http://127.0.0.1:${ports[1]}; proxy_temp_path answers 1 2; }
        location /own { client_body_temp_path own; return 204; } } }`,
  });
  for (const name of ["bodies", "answers", "own"]) {
    const status = statSync(join(holdfast.prefix, name));
    assert.equal(status.isDirectory(), true, name);
    assert.equal(status.mode & 0o777, 0o700, name);
    if (root) assert.equal(status.uid, NOBODY, name);
  }
  for (const name of ["logs/b.log", "logs/error.log"]) {
    const { uid } = statSync(join(holdfast.prefix, name));
    if (root) assert.equal(uid, NOBODY, name);
  }
});

test("a directory or log that cannot be made is [emerg]; on a reload the old configuration stays", async (t) => {
  const config = (port: number, lines: string) =>
    `http { server { listen 127.0.0.1:${port}; ${lines} location / { return 200 old; } } }`;
  const failed = await runHoldfast(t, {
    config: (ports) => config(ports[0], "client_body_temp_path missing/bodies;"),
  });
  assert.equal(failed.code, 1);
  const missing = (prefix: string) =>
    `[emerg] mkdir() "${prefix}/missing/bodies" failed (2: No such file or directory)\n`;
  assert.equal(failed.stderr, `holdfast: ${missing(failed.prefix)}`);

  const holdfast = await startHoldfast(t, { config: (ports) => config(ports[0], "") });
  const { port, prefix } = holdfast;
  assert.equal(await holdfast.reload(config(port, "client_body_temp_path missing/bodies; return 503;")), false);
  assert.ok(
    holdfast.errorLog().includes(missing(prefix).replace("[emerg]", `[emerg] ${holdfast.pid}#${holdfast.pid}:`)),
  );
  assert.equal(await holdfast.reload(config(port, "access_log missing/a.log; return 503;")), false);
  assert.match(
    holdfast.errorLog(),
    /\[emerg\] \d+#\d+: open\(\) "[^"]*\/missing\/a\.log" failed \(2: No such file or directory\)/,
  );
  assert.equal((await get(port, "/")).body, "old");
});

/** More than any limit of open files. */
const CONNECTIONS = 2_147_483_647;

test("more connections than files may be open are a [warn] at the start and at a reload", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen 127.0.0.1:${port}; } }
      events { worker_connections ${CONNECTIONS}; }`,
  });
  const warning = new RegExp(
    `\\[warn\\] (\\d+)#\\1: ${CONNECTIONS} worker_connections exceed open file resource limit: \\d+$`,
    "gm",
  );
  const warned = () => [...holdfast.errorLog().matchAll(warning)].map(([, pid]) => Number(pid));
  assert.deepEqual(warned(), [holdfast.pid]);
  assert.match(holdfast.stderr, /^holdfast: \[warn\] \d+ worker_connections exceed open file resource limit: \d+$/m);
  assert.equal(await holdfast.reload(), true);
  assert.deepEqual(warned(), [holdfast.pid, holdfast.pid]);
});

test("-t says the same of connections and open files as nginx", { skip: have("nginx") }, async (t) => {
  const port = await freePort();
  const ownPaths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((what) => `${what}_temp_path ${what};`);
  const said = async (program: string, main: string, http: string) => {
    const prefix = makePrefix(t, {
      "conf/nginx.conf": `${main} pid logs/a.pid; events { worker_connections 2000; }
        http { access_log off; ${http} server { listen 127.0.0.1:${port}; } }`,
    });
    const command = `ulimit -n 400; exec "$0" -t -p "$1/" -c conf/nginx.conf -e logs/error.log`;
    const env = { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/usr/local/sbin` };
    const { code, stderr } = await finish(spawn("sh", ["-c", command, program, prefix], { env }));
    assert.equal(code, 0, stderr);
    const lines = stderr.split("\n").filter((line) => line.includes("worker_connections"));
    return lines.map((line) => line.replace(/^\w+: /, ""));
  };
  for (const [main, count] of [
    ["error_log logs/error.log warn;", 1],
    ["error_log logs/error.log warn; worker_rlimit_nofile 300;", 1],
    ["error_log logs/error.log warn; worker_rlimit_nofile 5000;", 0],
    ["error_log logs/error.log;", 0],
  ] as const) {
    const nginx = await said("nginx", main, ownPaths.join(" "));
    assert.equal(nginx.length, count, main);
    assert.deepEqual(await said(LAUNCHER, main, ""), nginx, main);
  }
});

test("-t leaves the pid file of a running instance alone", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: (ports) => `http { server { listen 127.0.0.1:${ports[0]}; location / { return 204; } } }`,
  });
  const file = join(holdfast.prefix, "logs/holdfast.pid");
  const before = statSync(file);
  const env = { ...process.env, HOLDFAST_NODE: process.execPath };
  const { code } = await finish(spawn(LAUNCHER, ["-t", "-p", holdfast.prefix], { env }));
  assert.equal(code, 0);
  assert.equal(readFileSync(file, "latin1"), `${holdfast.pid}\n`);
  assert.equal(statSync(file).ino, before.ino);
  assert.equal((await get(holdfast.port, "/")).status, 204);
});

test("a reload takes an address in and out of one that holds the port", async (t) => {
  const config = (listen: string) => `worker_processes 2;
    http { server { listen ${listen}; location / { return 200 "${listen}"; } } }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(`127.0.0.1:${ports[0]}`) });
  const { port } = holdfast;
  for (const listen of [`${port}`, `127.0.0.1:${port}`, `127.0.0.1:${port} default_server`]) {
    assert.equal(await holdfast.reload(config(listen)), true, listen);
    await waitFor(async () => (await get(port, "/")).body === listen, `answers by ${listen}`);
  }
  assert.doesNotMatch(holdfast.errorLog(), /\[emerg\]/);
});

test("worker_shutdown_timeout ends what a reload left running, and only that", async (t) => {
  const silent = await tcpBackend(t, () => {});
  const config = (port: number, text: string) => `worker_shutdown_timeout 100ms;
    http { server { listen 127.0.0.1:${port};
      location / { return 200 ${text}; }
      location /silent { proxy_pass http://${silent.address}; } } }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(ports[0], "old") });
  const { port } = holdfast;
  const idle = await RawConnection.open(port);
  idle.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await idle.readResponse()).body, "old");
  const waiting = await RawConnection.open(port);
  waiting.write("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n");
  await waitFor(() => silent.connections === 1, "the request at the server");
  assert.equal(await holdfast.reload(config(port, "new")), true);
  const later = await RawConnection.open(port);
  later.write("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n");
  await waiting.until(() => false);
  assert.equal(waiting.ended, true);
  await waitFor(() => silent.connections === 2, "the later request at the server");
  assert.equal(later.ended, false);
  idle.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await idle.readResponse()).body, "new");
  later.close();
  idle.close();
});

test("a low port is bound at a reload", { skip: skipUnlessRoot }, async (t) => {
  const config = (port: number) => `worker_processes 2;
    http { server { listen 127.0.0.1:${port}; location / { return 204; } } }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(ports[0]) });
  const low = await lowPort();
  assert.equal(await holdfast.reload(config(low)), true);
  assert.equal((await get(low, "/")).status, 204);
  assert.doesNotMatch(holdfast.errorLog(), /\[emerg\]/);
});

test("what needs root's rights, workers do before they give them up: priority, limits; a reload replaces them", {
  skip: skipUnlessRoot,
}, async (t) => {
  const capabilities = BigInt(`0x${statusOf(process.pid, "CapPrm")}`);
  // A container may lack the rights to both.
  const nice = (capabilities >> 23n) & 1n ? -5 : 5;
  const limit = (capabilities >> 24n) & 1n ? 600_000 : 600;
  const config = (listen: string, main = "") =>
    `worker_processes 2; worker_priority ${nice}; ${main} http { server { ${listen} return 200 here; } }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(`listen 127.0.0.1:${ports[0]};`) });
  const { pid } = holdfast;
  const first = workersOf(pid);
  assert.deepEqual(
    [...first, pid, ...checkersOf(pid)].map((each) => getPriority(each)),
    [nice, nice, 0, 0],
  );

  const taken = await holdfast.reload(config("", `worker_rlimit_nofile ${limit};`));
  if (taken) assert.deepEqual(listeningPorts(pid), [80]);
  else assert.match(holdfast.errorLog(), /bind\(\) to 0\.0\.0\.0:80 failed \(98: /);
  assert.equal(
    await holdfast.reload(config(`listen 127.0.0.1:${holdfast.port};`, `worker_rlimit_nofile ${limit};`)),
    true,
  );
  await waitFor(() => !first.some(isRunning), "the first workers to leave");
  const workers = workersOf(pid);
  assert.equal(workers.length, 2);
  for (const worker of workers) {
    const limits = readFileSync(`/proc/${worker}/limits`, "latin1");
    assert.match(limits, new RegExp(`^Max open files +${limit} +${limit} `, "m"));
  }
  assert.doesNotMatch(holdfast.errorLog(), /\[(warn|alert)\]/);
});

test("a changed user is the new workers'; the same one leaves the workers alone", {
  skip: skipUnlessRoot,
}, async (t) => {
  const config = (port: number, user: string) =>
    `${user} http { server { listen 127.0.0.1:${port}; location / { return 204; } } }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(ports[0], "user daemon;") });
  const uids = () => workersOf(holdfast.pid).map((worker) => statusOf(worker, "Uid").split("\t")[0]);
  const [first] = workersOf(holdfast.pid);
  assert.notEqual(uids()[0], String(NOBODY));
  assert.equal(await holdfast.reload(config(holdfast.port, "user daemon;")), true);
  assert.deepEqual(workersOf(holdfast.pid), [first]);
  assert.equal(await holdfast.reload(config(holdfast.port, "")), true);
  await waitFor(() => !isRunning(first), "the first worker to leave");
  assert.deepEqual(uids(), [String(NOBODY)]);
  assert.equal((await get(holdfast.port, "/")).status, 204);
  assert.doesNotMatch(holdfast.errorLog(), /\[(warn|alert)\]/);
});
