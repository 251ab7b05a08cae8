/** What whoever starts Holdfast leaves it: variables of the names that it uses for its own processes, and closed descriptors. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { finish, LAUNCHER, makePrefix, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { isRunning } from "../support/processes.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const ROLE = '{"kind":"worker","index":0,"slot":0,"daemon":false}';

for (const env of [
  { HOLDFAST_CHILD: ROLE },
  { HOLDFAST_CHILD: "x" },
  { HOLDFAST_INHERITED: "1" },
  { HOLDFAST_DAEMON: "1" },
  { HOLDFAST_PROGRAM: "/nowhere" },
]) {
  test(`${JSON.stringify(env)} of somebody else's means nothing`, async (t) => {
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `http { server { listen 127.0.0.1:${port}; return 200 here; } }`,
      env,
    });
    assert.equal((await get(holdfast.port, "/")).body, "here");
    assert.equal(await holdfast.stop(), 0);
    assert.equal(holdfast.stderr, "");
    assert.doesNotMatch(holdfast.errorLog(), /\[(alert|crit|emerg)\]/);
  });
}

for (const [shown, script] of [
  ["a file as descriptor 3 that says nothing of sockets", 'HOLDFAST_INHERITED=1 exec "$0" "$@" 3<"$0"'],
  ["standard input and output closed", 'exec "$0" "$@" <&- >&-'],
  ["standard input, output and error closed", 'exec "$0" "$@" <&- >&- 2>&-'],
] as const) {
  test(`with ${shown} it starts, in the background as well, and stops`, async (t) => {
    for (const daemon of ["off", "on"]) {
      const port = await freePort();
      const prefix = makePrefix(t, {
        "conf/nginx.conf": `daemon ${daemon}; error_log logs/error.log notice;
          events {} http { server { listen 127.0.0.1:${port}; return 200 here; } }`,
      });
      const env = { ...process.env, HOLDFAST_NODE: process.execPath };
      const child = spawn("/bin/sh", ["-c", script, LAUNCHER, "-p", `${prefix}/`], {
        env,
        stdio: ["ignore", "pipe", "pipe"],
      });
      t.after(() => child.kill("SIGKILL"));
      const ended = finish(child);
      const pidFile = join(prefix, "logs/holdfast.pid");
      await waitFor(() => existsSync(pidFile), "the pid file");
      const pid = Number(readFileSync(pidFile, "latin1"));
      assert.equal((await get(port, "/")).body, "here");
      process.kill(pid, "SIGTERM");
      await waitFor(() => !isRunning(pid) && !existsSync(pidFile), "its end");
      const { code, stderr } = await ended;
      assert.equal(code, 0);
      assert.doesNotMatch(stderr + readFileSync(join(prefix, "logs/error.log"), "latin1"), /^\s+at |exception/m);
    }
  });
}
