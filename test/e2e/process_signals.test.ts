/** Signals while Holdfast starts, and those that a terminal sends: the real launcher, as nginx would take them. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { finish, LAUNCHER, makePrefix, Running, startHoldfast } from "../support/holdfast.ts";
import { freePort, listeningPorts } from "../support/ports.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const skip = process.platform === "linux" ? false : "looks into /proc";
const USR1 = 1n << BigInt(constants.signals.SIGUSR1 - 1);

/** Starts the launcher and waits for nothing. */
async function begin(t: TestContext, globals: string, env: NodeJS.ProcessEnv = {}): Promise<Running> {
  const port = await freePort();
  const prefix = makePrefix(t, {
    "conf/nginx.conf": `events {} http { server { listen 127.0.0.1:${port}; return 200 here; } }`,
  });
  const args = ["-p", `${prefix}/`, "-g", `${globals} error_log logs/error.log info;`];
  const child = spawn(LAUNCHER, args, {
    env: { ...process.env, HOLDFAST_NODE: process.execPath, ...env },
    stdio: ["ignore", "inherit", "pipe"],
  });
  assert.ok(child.pid !== undefined);
  t.after(() => child.kill("SIGKILL"));
  return new Running(child, child.pid, prefix, [port]);
}

function status(pid: number, field: string): bigint {
  const text = readFileSync(`/proc/${pid}/status`, "latin1");
  return BigInt(`0x${new RegExp(`^${field}:\\s+(\\w+)$`, "m").exec(text)?.[1] ?? 0}`);
}

/** The process is Node, which by now does something with SIGUSR1. */
function nodeIsUp({ pid }: Running): boolean {
  return (
    readFileSync(`/proc/${pid}/cmdline`, "latin1").includes("--disable-warning") &&
    ((status(pid, "SigBlk") | status(pid, "SigCgt")) & USR1) !== 0n
  );
}

test("SIGUSR1 before there is a handler waits for it, and opens no debugger", { skip }, async (t) => {
  const holdfast = await begin(t, "daemon off;");
  await waitFor(() => nodeIsUp(holdfast), "Node");
  holdfast.signal("SIGUSR1");
  await holdfast.waitForLog(/signal 10 \(SIGUSR1\) received, reopening logs/);
  assert.deepEqual(listeningPorts(holdfast.pid), [holdfast.port]);
  assert.equal(
    readdirSync(`/proc/${holdfast.pid}/task`).some((id) =>
      readFileSync(`/proc/${holdfast.pid}/task/${id}/comm`, "latin1").startsWith("SignalInspector"),
    ),
    false,
  );
  assert.equal(await holdfast.stop(), 0);
  assert.equal(holdfast.stderr, "");
});

test("the environment opens no debugger either", { skip }, async (t) => {
  const holdfast = await begin(t, "daemon off;", { NODE_OPTIONS: "--inspect=127.0.0.1:0" });
  await holdfast.waitForLog(/start worker threads/);
  await waitFor(() => existsSync(join(holdfast.prefix, "logs/holdfast.pid")), "the start");
  assert.deepEqual(listeningPorts(holdfast.pid), [holdfast.port]);
  assert.equal(await holdfast.stop(), 0);
  assert.equal(holdfast.stderr, "");
});

async function open(port: number): Promise<boolean> {
  try {
    (await RawConnection.open(port)).close();
    return true;
  } catch {
    return false;
  }
}

/** Points of a start, as they are seen from outside. */
const STAGES: readonly (readonly [string, (holdfast: Running) => boolean])[] = [
  ["at once", () => true],
  ["in Node", nodeIsUp],
  ["with its log open", ({ prefix }) => existsSync(join(prefix, "logs/error.log"))],
  ["with its threads started", (holdfast) => holdfast.errorLog().includes("start worker threads")],
];

for (const [stage, reached] of STAGES) {
  test(`signals that come ${stage} end it or are heeded, and leave nothing half done`, { skip }, async (t) => {
    for (const signal of ["SIGHUP", "SIGUSR1", "SIGTERM", "SIGQUIT"] as const) {
      const holdfast = await begin(t, "daemon off;");
      await waitFor(() => reached(holdfast), stage);
      holdfast.signal(signal);
      const pidFile = join(holdfast.prefix, "logs/holdfast.pid");
      await waitFor(() => holdfast.exit !== undefined || existsSync(pidFile), `${signal}: a start or an end`);
      if (signal === "SIGTERM" || signal === "SIGQUIT") {
        const exit = await holdfast.exited;
        assert.ok(exit === signal || exit === 0, `${signal}: ended with ${exit}`);
      } else if (holdfast.exit === undefined) {
        // Heeded if it came when there was a handler; nothing tells how far it was but the log.
        assert.equal((await get(holdfast.port, "/")).body, "here");
        assert.deepEqual(listeningPorts(holdfast.pid), [holdfast.port]);
        assert.equal(await holdfast.stop(), 0);
      } else {
        assert.equal(holdfast.exit, signal);
      }
      assert.equal(existsSync(pidFile), false, `${signal}: the pid file`);
      assert.equal(await open(holdfast.port), false, `${signal}: the port`);
      assert.doesNotMatch(holdfast.stderr, /Debugger/);
    }
  });
}

test("a signal to the command that starts a daemon leaves no process behind", { skip }, async (t) => {
  for (const signal of ["SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1"] as const) {
    const command = await begin(t, "daemon on;");
    await waitFor(() => nodeIsUp(command), "Node");
    command.signal(signal);
    const exit = await command.exited;
    if (existsSync(join(command.prefix, "logs/holdfast.pid"))) {
      const pid = Number(command.read("logs/holdfast.pid"));
      assert.deepEqual(listeningPorts(pid), [command.port]);
      process.kill(pid, "SIGTERM");
      await waitFor(() => !existsSync(join(command.prefix, "logs/holdfast.pid")), "its end");
    } else {
      assert.ok(exit === signal || exit === 0, `${signal}: ended with ${exit}`);
    }
    assert.equal(await open(command.port), false, `${signal}: the port`);
  }
});

function threadNames(pid: number): string[] {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).map((id) => {
    try {
      return readFileSync(`${tasks}/${id}/comm`, "latin1").trim();
    } catch {
      // It has ended meanwhile.
      return "";
    }
  });
}

test("WINCH (a terminal's new size) drains workers only of a daemon, as in nginx; SIGHUP brings them back", {
  skip,
}, async (t) => {
  const config = (port: number) => `http { server { listen 127.0.0.1:${port}; return 200 here; } }`;
  const foreground = await startHoldfast(t, { config: (ports) => config(ports[0]) });
  foreground.signal("SIGWINCH");
  await foreground.waitForLog(/signal 28 \(SIGWINCH\) received$/m);
  // Whatever the workers were told before is done when the next reload is.
  assert.equal(await foreground.reload(), true);
  assert.doesNotMatch(foreground.errorLog(), /shutting down|stop accepting/);
  for (const signal of ["SIGALRM", "SIGIO"] as const) {
    foreground.signal(signal);
    await foreground.waitForLog(new RegExp(`\\(${signal}\\) received$`, "m"));
  }
  assert.equal((await get(foreground.port, "/")).body, "here");

  const port = await freePort();
  const prefix = makePrefix(t, { "conf/nginx.conf": `events {} ${config(port)}` });
  const env = { ...process.env, HOLDFAST_NODE: process.execPath };
  const { code } = await finish(spawn(LAUNCHER, ["-p", `${prefix}/`], { env, stdio: ["ignore", "pipe", "pipe"] }));
  assert.equal(code, 0);
  const pid = Number(readFileSync(join(prefix, "logs/holdfast.pid"), "latin1"));
  t.after(() => {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended, as it should have.
    }
  });
  process.kill(pid, "SIGWINCH");
  await waitFor(() => !threadNames(pid).includes("worker 1"), "the worker to leave");
  // The port stays the master's: who comes meanwhile waits.
  const waiting = get(port, "/");
  process.kill(pid, "SIGHUP");
  assert.equal((await waiting).body, "here");
  process.kill(pid, "SIGTERM");
  await waitFor(() => !existsSync(join(prefix, "logs/holdfast.pid")), "its end");
});
