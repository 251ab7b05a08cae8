/** Log files that only root may open: the master opens and reopens them for all its children. These need root. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makePrefix, type Running, startHoldfast } from "../support/holdfast.ts";
import { childrenOf, openBy } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const skip = process.getuid?.() === 0 ? false : "needs root";

const config = (port: number, lines = "") => `worker_processes 2; error_log private/error.log info; http {
  log_format line $uri; access_log private/access.log line; ${lines}
  server { listen 127.0.0.1:${port}; root html; location /buffered { access_log private/buffered.log line buffer=64k; return 204; }
    location / { return 204; } } }`;

/** A prefix with a directory of logs that nobody but root gets into. */
function privatePrefix(t: Parameters<typeof makePrefix>[0]): string {
  const prefix = makePrefix(t, { "private/access.log": "" });
  chmodSync(join(prefix, "private"), 0o700);
  chmodSync(join(prefix, "private/access.log"), 0o600);
  return prefix;
}

const GLOBALS = "daemon off;";

/** What its processes have open in a directory, each file once however many descriptors it has. */
function open(master: number, directory: string): string[] {
  const paths = [master, ...childrenOf(master)].flatMap(openBy).filter((path) => path.startsWith(directory));
  return [...new Set(paths.map((path) => path.slice(directory.length + 1)))].sort();
}

/** Both workers, in all likelihood, log it. */
async function ask(holdfast: Running, path: string): Promise<void> {
  for (let i = 0; i < 8; i++) await get(holdfast.port, path);
}

const appears = (holdfast: Running, path: string, text: string) =>
  waitFor(() => holdfast.read(path).split(text).length > 8, `${text} in ${path}: ${holdfast.read(path)}`);

test("logs in a directory that only root gets into: at the start, after rotations, in a new configuration", {
  skip,
}, async (t) => {
  const prefix = privatePrefix(t);
  const at = (name: string) => join(prefix, "private", name);
  const holdfast = await startHoldfast(t, { prefix, globals: GLOBALS, config: (ports) => config(ports[0]) });
  await ask(holdfast, "/first");
  await appears(holdfast, "private/access.log", "/first\n");
  assert.equal(statSync(at("access.log")).uid, 65534);
  await ask(holdfast, "/buffered");

  for (const name of ["access", "error", "buffered"]) renameSync(at(`${name}.log`), at(`${name}.old`));
  holdfast.signal("SIGUSR1");
  await appears(holdfast, "private/buffered.old", "/buffered\n");
  await waitFor(() => open(holdfast.pid, at("")).every((name) => !name.endsWith(".old")), "the old files to be closed");
  await ask(holdfast, "/second");
  await appears(holdfast, "private/access.log", "/second\n");
  assert.doesNotMatch(holdfast.read("private/access.old"), /second/);
  assert.match(holdfast.read("private/error.old"), /reopening logs/);

  // Deleted, and a reload in place of USR1: nginx opens logs anew then too.
  rmSync(at("access.log"));
  holdfast.configure(config(holdfast.port, "access_log private/new.log line;"));
  holdfast.signal("SIGHUP");
  await holdfast.waitForLog(/: reconfigured$/m, "private/error.log");
  await ask(holdfast, "/third");
  await appears(holdfast, "private/access.log", "/third\n");
  await appears(holdfast, "private/new.log", "/third\n");

  // A log that is in no configuration any more is closed.
  holdfast.configure(config(holdfast.port));
  holdfast.signal("SIGHUP");
  await waitFor(() => !open(holdfast.pid, at("")).includes("new.log"), "the log to be closed");
  assert.doesNotMatch(holdfast.read("private/error.log"), /\[(alert|crit|emerg|error)\]/);
  assert.equal(await holdfast.stop(), 0);
  assert.match(holdfast.read("private/error.log"), /SIGTERM.*\n(.*\n)*.*: exit$/m);
});

test("a log that cannot be reopened stays as it was, and that is said once", { skip }, async (t) => {
  const prefix = privatePrefix(t);
  mkdirSync(join(prefix, "other"), { mode: 0o700 });
  const holdfast = await startHoldfast(t, {
    prefix,
    globals: GLOBALS,
    config: (ports) => config(ports[0], "access_log other/a.log line;"),
  });
  await ask(holdfast, "/first");
  renameSync(join(prefix, "other"), join(prefix, "gone"));
  holdfast.signal("SIGUSR1");
  await holdfast.waitForLog(/\[emerg\] .*open\(\) ".*\/other\/a\.log" failed \(2: No such/, "private/error.log");
  await ask(holdfast, "/second");
  await appears(holdfast, "gone/a.log", "/second\n");
  assert.equal(holdfast.read("private/error.log").match(/open\(\)/g)?.length, 1);

  renameSync(join(prefix, "gone"), join(prefix, "other"));
  renameSync(join(prefix, "other/a.log"), join(prefix, "other/a.old"));
  holdfast.signal("SIGUSR1");
  await waitFor(() => holdfast.read("private/error.log").match(/reopening logs$/gm)?.length === 4, "the second time");
  await waitFor(() => !open(holdfast.pid, join(prefix, "other")).includes("a.old"), "the old file to be closed");
  await ask(holdfast, "/third");
  await appears(holdfast, "other/a.log", "/third\n");
});

for (const first of [true, false]) {
  test(`a request that outlives its configuration writes where it was to, ${first ? "its worker's first line there" : "as others before it"}; the log is closed after it`, {
    skip,
  }, async (t) => {
    const prefix = privatePrefix(t);
    writeFileSync(join(prefix, "big"), Buffer.alloc(8 << 20));
    chmodSync(join(prefix, "big"), 0o644);
    const big = (log: string) => (port: number) =>
      config(port)
        .replace("worker_processes 2", "worker_processes 1")
        .replace(
          "location / {",
          `location /big { alias ${prefix}/big; access_log private/${log}.log line; } location / {`,
        );
    const holdfast = await startHoldfast(t, { prefix, globals: GLOBALS, config: (ports) => big("before")(ports[0]) });
    if (!first) for (let i = 0; i < 4; i++) await get(holdfast.port, "/big");
    const client = await RawConnection.open(holdfast.port);
    client.write("GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    await client.until((received) => received.length > 0);
    client.socket.pause();
    holdfast.configure(big("after")(holdfast.port));
    holdfast.signal("SIGHUP");
    await holdfast.waitForLog(/: reconfigured$/m, "private/error.log");
    client.socket.resume();
    await client.readAll();
    await waitFor(
      () => holdfast.read("private/before.log").split("/big\n").length === (first ? 2 : 6),
      () => `its line: ${holdfast.read("private/before.log")}\n${holdfast.read("private/error.log")}`,
    );
    await waitFor(() => !open(holdfast.pid, join(prefix, "private")).includes("before.log"), "the log to be closed");
    assert.doesNotMatch(holdfast.read("private/error.log"), /\[(alert|crit|emerg)\]/);
  });
}
