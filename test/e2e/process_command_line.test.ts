/** The command line: nginx's flags, its sentences and its exit statuses. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { have } from "../support/have.ts";
import { bundled, finish, makePrefix, NODE_FLAGS, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const entry = bundled(fileURLToPath(new URL("../support/echo_main.ts", import.meta.url)));
const GOOD = "http { echo_text good; }\n";

/** Runs Holdfast with exactly these arguments. */
function holdfast(...args: string[]) {
  return finish(spawn(process.execPath, [...NODE_FLAGS, entry, ...args], { stdio: ["ignore", "pipe", "pipe"] }));
}

function nginx(...args: string[]) {
  const env = { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/usr/local/sbin` };
  return finish(spawn("nginx", args, { env, stdio: ["ignore", "pipe", "pipe"] }));
}

const WRONG: readonly (readonly [args: readonly string[], sentence: string])[] = [
  [["x"], 'invalid option: "x"'],
  [["-x"], 'invalid option: "x"'],
  [["-tx"], 'invalid option: "x"'],
  [["--nothing"], 'invalid option: "-"'],
  [["-c"], 'option "-c" requires file name'],
  [["-tc"], 'option "-c" requires file name'],
  [["-p"], 'option "-p" requires directory name'],
  [["-e"], 'option "-e" requires file name'],
  [["-g"], 'option "-g" requires parameter'],
  [["-s"], 'option "-s" requires parameter'],
  [["-s", "x"], 'invalid option: "-s x"'],
  [["-sx"], 'invalid option: "-s x"'],
];

test("wrong options are said in nginx's words, with exit status 1", async () => {
  await Promise.all(
    WRONG.map(async ([args, sentence]) => {
      const { code, stdout, stderr } = await holdfast(...args);
      assert.deepEqual({ code, stdout, stderr }, { code: 1, stdout: "", stderr: `holdfast: ${sentence}\n` });
    }),
  );
});

test("a real nginx says the same of wrong options", { skip: have("nginx") }, async () => {
  await Promise.all(
    WRONG.map(async ([args, sentence]) => {
      const { code, stdout, stderr } = await nginx(...args);
      assert.deepEqual({ code, stdout, stderr }, { code: 1, stdout: "", stderr: `nginx: ${sentence}\n` });
    }),
  );
});

test("-v, -V and -h go to stderr with exit status 0", async () => {
  const [version, configure, help] = await Promise.all([holdfast("-v"), holdfast("-V"), holdfast("-?")]);
  assert.deepEqual([version.code, configure.code, help.code], [0, 0, 0]);
  assert.match(version.stderr, /^holdfast version: holdfast\/\d+\.\d+\.\d+\n$/);
  assert.match(
    configure.stderr,
    /^holdfast version: holdfast\/\S+\nnginx version: nginx\/1\.31\.5\nrunning on Node.js v[^\n]+\nbuilt with OpenSSL [^\n]+\nconfigure arguments: --with-echo_module\n$/,
  );
  assert.equal((await holdfast("--version")).stderr, version.stderr);
  const long = await holdfast("--help");
  assert.deepEqual([long.code, long.stderr], [0, help.stderr]);
  assert.match(help.stderr, /\n {2}-s signal {5}: send signal/);
  assert.equal(version.stdout + configure.stdout + help.stdout, "");
});

test("-t says what it found; -q only what is wrong", async (t) => {
  const good = await runHoldfast(t, { entry, config: GOOD, args: ["-t"] });
  const conf = `${good.prefix}/conf/nginx.conf`;
  assert.equal(good.code, 0);
  assert.equal(
    good.stderr,
    `holdfast: the configuration file ${conf} syntax is ok\nholdfast: configuration file ${conf} test is successful\n`,
  );
  assert.equal((await runHoldfast(t, { entry, config: GOOD, args: ["-tq"] })).stderr, "");

  const bad = await runHoldfast(t, { entry, config: "\nworker_processes x;\n", args: ["-qt"] });
  assert.equal(bad.code, 1);
  assert.equal(
    bad.stderr,
    `holdfast: [emerg] "worker_processes" directive invalid value in ${bad.prefix}/conf/nginx.conf:2\n` +
      `holdfast: configuration file ${bad.prefix}/conf/nginx.conf test failed\n`,
  );
});

test("-T prints every file on stdout", async (t) => {
  const { code, stdout, prefix } = await runHoldfast(t, {
    entry,
    config: "include more/*.conf;\nevents {}\n",
    files: { "conf/more/a.conf": "# a\n", "conf/more/b.conf": "http { echo_text b; }" },
    args: ["-T"],
  });
  assert.equal(code, 0);
  const section = (path: string, text: string) => `# configuration file ${prefix}/conf/${path}:\n${text}\n`;
  assert.equal(
    stdout,
    section("nginx.conf", "include more/*.conf;\nevents {}\n") +
      section("more/a.conf", "# a\n") +
      section("more/b.conf", "http { echo_text b; }"),
  );
});

test("values may follow their flag at once, and paths start at the prefix", async (t) => {
  const prefix = makePrefix(t, { "other.conf": `${GOOD} events {}` });
  const { code, stderr } = await holdfast(`-p${prefix}`, "-tcother.conf", "-gworker_processes 3;");
  assert.equal(code, 0);
  assert.match(stderr, /other\.conf test is successful/);
  const twice = await holdfast(`-p${prefix}`, "-tcother.conf", "-g", "worker_processes 3; worker_processes 4;");
  assert.equal(twice.code, 1);
  assert.match(twice.stderr, /\[emerg\] "worker_processes" directive is duplicate in command line\n/);
  const args = ["-t", "-g", "load_module modules/ngx_http_realip_module.so;"];
  const warned = await runHoldfast(t, { config: "events {}", args });
  assert.match(warned.stderr, /\[warn\] "load_module" is ignored, .* in command line\n/);
});

test("a missing configuration, and a missing log directory, as nginx words them", async (t) => {
  const prefix = makePrefix(t);
  const { code, stderr } = await holdfast("-p", prefix, "-e", "nowhere/error.log");
  assert.equal(code, 1);
  const [alert, emerg] = stderr.split("\n");
  assert.equal(
    alert,
    `holdfast: [alert] could not open error log file: open() "${prefix}/nowhere/error.log" failed (2: No such file or directory)`,
  );
  // The log is the terminal now, so the line is a log line.
  assert.match(
    emerg,
    /^\d{4}\/.* \[emerg\] \d+#\d+: open\(\) ".*\/conf\/nginx\.conf" failed \(2: No such file or directory\)$/,
  );
});

test("-e names the log of what happens before there is a configuration", async (t) => {
  const run = await runHoldfast(t, { entry, config: "nonsense;", args: ["-e", "logs/first.log"] });
  assert.equal(run.code, 1);
  const { readFileSync } = await import("node:fs");
  assert.match(
    readFileSync(join(run.prefix, "logs/first.log"), "latin1"),
    /\[emerg\] \d+#\d+: unknown directive "nonsense" in/,
  );
});

test("-s signals the process of the pid file", async (t) => {
  const running = await startHoldfast(t, { entry, config: (ports) => `http { echo_port ${ports[0]}; }` });
  const send = (word: string) => runHoldfast(t, { entry, prefix: running.prefix, globals: "", args: ["-s", word] });
  assert.equal((await send("reload")).code, 0);
  await running.waitForLog(/SIGHUP\) received/);
  assert.equal((await send("reopen")).code, 0);
  await running.waitForLog(/SIGUSR1\) received/);
  assert.equal((await send("quit")).code, 0);
  assert.equal(await running.exited, 0);
});

test("-s without a process says why", async (t) => {
  const missing = await runHoldfast(t, { entry, config: GOOD, args: ["-s", "stop"] });
  assert.equal(missing.code, 1);
  const pid = `${missing.prefix}/logs/holdfast.pid`;
  assert.equal(missing.stderr, `holdfast: [error] open() "${pid}" failed (2: No such file or directory)\n`);

  const garbage = await runHoldfast(t, {
    entry,
    config: GOOD,
    files: { "logs/holdfast.pid": "nothing\n" },
    args: ["-s", "stop"],
  });
  assert.equal(garbage.code, 1);
  assert.equal(
    garbage.stderr,
    `holdfast: [error] invalid PID number "nothing" in "${garbage.prefix}/logs/holdfast.pid"\n`,
  );

  const stale = await runHoldfast(t, {
    entry,
    config: GOOD,
    files: { "logs/holdfast.pid": "99999999\n" },
    args: ["-s", "stop"],
  });
  assert.equal(stale.code, 1);
  assert.equal(stale.stderr, "holdfast: [alert] kill(99999999, 15) failed (3: No such process)\n");
});

test("daemon on: the command returns when the background process serves, and says why when it cannot", async (t) => {
  const port = await freePort();
  const config = `http { echo_port ${port}; }`;
  const { code, stderr, prefix } = await runHoldfast(t, { entry, config, globals: "" });
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  const { readFileSync } = await import("node:fs");
  const pid = Number(readFileSync(join(prefix, "logs/holdfast.pid"), "latin1"));
  t.after(() => {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended, as it should.
    }
  });
  const connection = await RawConnection.open(port);
  connection.close();

  const second = await runHoldfast(t, { entry, config, globals: "" });
  assert.equal(second.code, 1);
  assert.match(second.stderr, new RegExp(`holdfast: \\[emerg\\] bind\\(\\) to 127.0.0.1:${port} failed \\(98: `));

  const stop = await runHoldfast(t, { entry, prefix, globals: "", args: ["-s", "stop"] });
  assert.equal(stop.code, 0);
  await waitFor(() => !existsSync(join(prefix, "logs/holdfast.pid")), "the daemon to end");
});

test("the launcher works through links, and says what is missing", async (t) => {
  const prefix = makePrefix(t);
  const launcher = fileURLToPath(new URL("../../bin/holdfast", import.meta.url));
  symlinkSync(launcher, join(prefix, "first"));
  symlinkSync("first", join(prefix, "second"));
  const env = { ...process.env, HOLDFAST_NODE: process.execPath };
  const linked = await finish(spawn(join(prefix, "second"), ["-v"], { env, stdio: ["ignore", "pipe", "pipe"] }));
  assert.match(linked.stderr, /^holdfast version: /);

  for (const [version, fits] of [
    ["v26.10.0", true],
    ["v27.0.0", true],
    ["v26.9.9", false],
    ["v24.12.0", false],
    ["", false],
  ] as const) {
    const node = join(prefix, "node");
    writeFileSync(node, `#!/bin/sh\necho ${version}\n`, { mode: 0o755 });
    const given = { ...process.env, HOLDFAST_NODE: node };
    const run = await finish(spawn(launcher, ["-v"], { env: given, stdio: ["ignore", "pipe", "pipe"] }));
    assert.equal(run.code, fits ? 0 : 1, version);
    if (fits) continue;
    assert.equal(run.stderr, `holdfast: HOLDFAST_NODE is "${node}", which is not a Node.js 26.10 or later\n`);
  }
});
