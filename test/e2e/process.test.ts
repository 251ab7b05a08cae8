/** The process: when its pid file appears, what its signals do, how it ends. On a minimal program without HTTP. */
import assert from "node:assert/strict";
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { bundled, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const entry = bundled(fileURLToPath(new URL("../support/echo_main.ts", import.meta.url)));

/** One line sent on a connection of its own, and the line that comes back. */
async function ask(port: number, word = "hello"): Promise<string> {
  const connection = await RawConnection.open(port);
  connection.write(`${word}\n`);
  const answer = await connection.until((received) => received.includes("\n"));
  connection.close();
  return answer;
}

async function refused(port: number): Promise<boolean> {
  try {
    (await RawConnection.open(port)).close();
    return false;
  } catch {
    return true;
  }
}

test("the pid file appears when every listener is bound and goes at the end; nothing is said on stderr", async (t) => {
  const holdfast = await startHoldfast(t, {
    entry,
    config: (ports) => `worker_processes 2; http { echo_port ${ports[0]}; echo_port ${ports[1]}; }`,
  });
  assert.equal(holdfast.read("logs/holdfast.pid"), `${holdfast.pid}\n`);
  assert.match(await ask(holdfast.ports[0]), /^echo pid=/);
  assert.match(await ask(holdfast.ports[1]), /^echo pid=/);
  assert.equal(await holdfast.stop("SIGTERM"), 0);
  assert.equal(existsSync(join(holdfast.prefix, "logs/holdfast.pid")), false);
  assert.equal(await refused(holdfast.port), true);
  assert.equal(holdfast.stderr, "");
  assert.match(
    holdfast.errorLog(),
    /^\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d \[notice\] \d+#\d+: signal 15 \(SIGTERM\) received, exiting$/m,
  );
});

test("SIGINT ends it at once although a client is connected", async (t) => {
  const holdfast = await startHoldfast(t, { entry, config: (ports) => `http { echo_port ${ports[0]}; }` });
  const client = await RawConnection.open(holdfast.port);
  assert.equal(await holdfast.stop("SIGINT"), 0);
  await client.until(() => false);
  assert.equal(client.ended, true);
});

test("SIGQUIT lets clients finish: no new ones, and the end when the last has gone", async (t) => {
  const holdfast = await startHoldfast(t, {
    entry,
    config: (ports) => `worker_processes 2; http { echo_port ${ports[0]}; }`,
  });
  const client = await RawConnection.open(holdfast.port);
  client.write("one\n");
  await client.until((received) => received.includes("\n"));
  holdfast.signal("SIGQUIT");
  await waitFor(() => refused(holdfast.port), "the listeners to close");
  client.write("two\n");
  await client.until((received) => received.split("\n").length > 2);
  assert.equal(holdfast.exit, undefined);
  client.close();
  assert.equal(await holdfast.exited, 0);
});

test("worker_shutdown_timeout bounds how long SIGQUIT waits", async (t) => {
  const holdfast = await startHoldfast(t, {
    entry,
    config: (ports) => `worker_shutdown_timeout 100ms; http { echo_port ${ports[0]}; }`,
  });
  const client = await RawConnection.open(holdfast.port);
  client.write("one\n");
  await client.until((received) => received.includes("\n"));
  assert.equal(await holdfast.stop("SIGQUIT"), 0);
  await client.until(() => false);
  assert.equal(client.ended, true);
});

test("worker_shutdown_timeout bounds how long a replaced configuration lives", async (t) => {
  const config = (port: number, text: string) =>
    `worker_shutdown_timeout 100ms; http { echo_port ${port}; echo_text ${text}; }`;
  const holdfast = await startHoldfast(t, { entry, config: (ports) => config(ports[0], "old") });
  const client = await RawConnection.open(holdfast.port);
  client.write("one\n");
  assert.match(await client.until((received) => received.includes("\n")), /^old/);
  assert.equal(await holdfast.reload(config(holdfast.port, "new")), true);
  await client.until(() => false);
  assert.equal(client.ended, true);
  assert.match(await ask(holdfast.port), /^new/);
});

test("SIGTERM cuts a SIGQUIT short", async (t) => {
  const holdfast = await startHoldfast(t, { entry, config: (ports) => `http { echo_port ${ports[0]}; }` });
  const client = await RawConnection.open(holdfast.port);
  client.write("one\n");
  await client.until((received) => received.includes("\n"));
  holdfast.signal("SIGQUIT");
  await holdfast.waitForLog(/gracefully shutting down/);
  assert.equal(await holdfast.stop("SIGTERM"), 0);
});

test("SIGHUP takes the new configuration: text, ports, number of workers", async (t) => {
  const config = (port: number, text: string, workers: number) =>
    `worker_processes ${workers}; http { echo_port ${port}; echo_text ${text}; }`;
  const holdfast = await startHoldfast(t, { entry, config: (ports) => config(ports[0], "old", 1) });
  const [first, second] = holdfast.ports;
  const client = await RawConnection.open(first);
  client.write("one\n");
  assert.match(await client.until((received) => received.includes("\n")), /^old/);

  assert.equal(await holdfast.reload(config(first, "new", 3)), true);
  assert.match(await ask(first), /^new/);
  client.write("two\n");
  assert.match(await client.until((received) => received.split("\n").length > 2), /\nold/);
  client.close();
  await holdfast.waitForLog(/echo worker 2 of 3/);

  assert.equal(await holdfast.reload(config(second, "third", 1)), true);
  assert.match(await ask(second), /^third/);
  await waitFor(() => refused(first), "the listener that is gone to close");
});

test("a broken configuration changes nothing on SIGHUP and is logged with its place", async (t) => {
  const holdfast = await startHoldfast(t, { entry, config: (ports) => `http { echo_port ${ports[0]}; }` });
  const config = `http {\n echo_port ${holdfast.port};\n echo_text changed;\n nonsense on;\n}`;
  assert.equal(await holdfast.reload(config), false);
  const { prefix } = holdfast;
  assert.ok(
    holdfast
      .errorLog()
      .includes(
        `[emerg] ${holdfast.pid}#${holdfast.pid}: unknown directive "nonsense" in ${prefix}/conf/nginx.conf:4\n`,
      ),
  );
  assert.match(await ask(holdfast.port), /^echo/);
  assert.equal(await holdfast.reload(`http { echo_port ${holdfast.port}; echo_text mended; }`), true);
  assert.match(await ask(holdfast.port), /^mended/);
});

test("a port somebody else has: the old configuration stays", async (t) => {
  const holdfast = await startHoldfast(t, { entry, config: (ports) => `http { echo_port ${ports[0]}; }` });
  const other = createServer();
  const taken = await freePort();
  await new Promise<void>((resolve) => other.listen({ port: taken, host: "127.0.0.1", reusePort: true }, resolve));
  t.after(() => other.close());
  assert.equal(await holdfast.reload(`http { echo_port ${holdfast.port}; echo_port ${taken}; echo_text x; }`), false);
  assert.ok(holdfast.errorLog().includes(`bind() to 127.0.0.1:${taken} failed (98: Address already in use)`));
  assert.ok(holdfast.errorLog().includes("still could not bind()"));
  assert.match(await ask(holdfast.port), /^echo/);
});

test("a port in use at the start is [emerg] on the terminal, exit status 1, and no pid file", async (t) => {
  const taken = await freePort();
  const other = createServer();
  // One that shares its port: workers, who share theirs, would join it.
  await new Promise<void>((resolve) => other.listen({ port: taken, host: "127.0.0.1", reusePort: true }, resolve));
  t.after(() => other.close());
  const { code, stderr, prefix } = await runHoldfast(t, { entry, config: `http { echo_port ${taken}; }` });
  assert.equal(code, 1);
  const line = `holdfast: [emerg] bind() to 127.0.0.1:${taken} failed (98: Address already in use)\n`;
  assert.equal(stderr, `${line.repeat(5)}holdfast: [emerg] still could not bind()\n`);
  assert.equal(existsSync(join(prefix, "logs/holdfast.pid")), false);
});

test("USR1 opens the logs anew in every process", async (t) => {
  const holdfast = await startHoldfast(t, {
    entry,
    config: (ports) => `worker_processes 2; http { echo_port ${ports[0]}; echo_log logs/words.log; }`,
  });
  await ask(holdfast.port, "before");
  await holdfast.waitForLog(/before/, "logs/words.log");
  const inPrefix = (path: string) => join(holdfast.prefix, path);
  renameSync(inPrefix("logs/words.log"), inPrefix("logs/words.old"));
  renameSync(inPrefix("logs/error.log"), inPrefix("logs/error.old"));
  await ask(holdfast.port, "between");
  await holdfast.waitForLog(/between/, "logs/words.old");
  holdfast.signal("SIGUSR1");
  await waitFor(() => existsSync(inPrefix("logs/words.log")), "the new log");
  await waitFor(async () => {
    await ask(holdfast.port, "after");
    return (holdfast.read("logs/words.log").match(/after/g)?.length ?? 0) >= 3;
  }, "words in the new log");
  assert.match(holdfast.read("logs/error.old"), /reopening logs/);
  await holdfast.stop();
  assert.match(holdfast.errorLog(), /SIGTERM/);
});

test("USR2 is ignored while the process that has started the master lives, which may be another master", async (t) => {
  const holdfast = await startHoldfast(t, { entry, config: (ports) => `http { echo_port ${ports[0]}; }` });
  holdfast.signal("SIGUSR2");
  await holdfast.waitForLog(/signal 12 \(SIGUSR2\) received, ignoring$/m);
  await holdfast.waitForLog(
    /\[crit\] [^\n]*: the changing binary signal is ignored: you should shutdown or terminate /,
  );
  assert.match(await ask(holdfast.port), /^echo/);
  assert.equal(holdfast.read("logs/holdfast.pid"), `${holdfast.pid}\n`);
});

test("the pid file moves when a reload names another", async (t) => {
  const holdfast = await startHoldfast(t, { entry, config: (ports) => `http { echo_port ${ports[0]}; }` });
  assert.equal(await holdfast.reload(`pid logs/other.pid; http { echo_port ${holdfast.port}; }`), true);
  assert.equal(holdfast.read("logs/other.pid"), `${holdfast.pid}\n`);
  assert.equal(existsSync(join(holdfast.prefix, "logs/holdfast.pid")), false);
  await holdfast.stop();
  assert.equal(existsSync(join(holdfast.prefix, "logs/other.pid")), false);
});

test("workers see the variables that env names, and TZ, but no others", async (t) => {
  const holdfast = await startHoldfast(t, {
    entry,
    env: { KEPT: "1", SECRET: "2", TZ: "UTC" },
    config: (ports) => `env KEPT; env GIVEN=x; http { echo_port ${ports[0]}; }`,
  });
  assert.match(await ask(holdfast.port), /env=GIVEN,KEPT,TZ\n/);
});

test("names are resolved before anything is bound", async (t) => {
  const config = "http { echo_port 1; echo_host localhost; echo_host no-such-host.invalid; }";
  const { code, stderr, prefix } = await runHoldfast(t, { entry, config });
  assert.equal(code, 1);
  assert.equal(
    stderr,
    `holdfast: [emerg] host not found in upstream "no-such-host.invalid" in ${prefix}/conf/nginx.conf:1\n`,
  );
});

test("a stale pid file is no hindrance", async (t) => {
  const first = await startHoldfast(t, { entry, config: (ports) => `http { echo_port ${ports[0]}; }` });
  first.signal("SIGKILL");
  await first.exited;
  assert.equal(first.read("logs/holdfast.pid"), `${first.pid}\n`);
  writeFileSync(join(first.prefix, "logs/error.log"), "");
  const second = await startHoldfast(t, { entry, prefix: first.prefix, config: `http { echo_port ${first.port}; }` });
  assert.match(await ask(first.port), /^echo/);
  assert.equal(await second.stop(), 0);
});
