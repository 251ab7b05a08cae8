/** How much memory the processes take once they have started (docs/performance.md says what for). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { startHoldfast } from "../support/holdfast.ts";
import { childrenOf, memoryOf, statusOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** KiB over master, checker and two workers: measured 70 MB, of which most is the program itself, and some for other machines. */
const MOST_OWN = 77_000;
/** KiB of files that a process has mapped, Node's executable above all: 10 MB once the start is over, 50 before. */
const MOST_FILES = 30_000;

const fromSource = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, "latin1").includes("src/main.ts");

test("master, checker and two workers share Node's code and take little memory besides", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 2;
      http {
        upstream shop { server 127.0.0.1:1; server 127.0.0.1:2; }
        server { listen 127.0.0.1:${port}; location / { return 200 here; } location /shop { proxy_pass http://shop; } }
      }`,
  });
  const processes = [holdfast.pid, ...childrenOf(holdfast.pid)];
  assert.equal(processes.length, 4);
  if (fromSource(processes[1])) {
    t.skip("runs from source, which takes more");
    return;
  }
  const own = () => processes.map((pid) => memoryOf(pid, "Anonymous"));
  await waitFor(
    () =>
      processes.every((pid) => Number.parseInt(statusOf(pid, "RssFile"), 10) < MOST_FILES) &&
      own().reduce((total, kib) => total + kib) < MOST_OWN,
    () => `each process to give back what only its start needed, not ${own()} KiB`,
  );
  // What was given back is there again when it is used.
  for (let i = 0; i < 20; i++) assert.equal((await get(holdfast.ports[0], "/")).body, "here");
  assert.equal(await holdfast.reload(), true);
});
