/** Which engine waits for the sockets (`use`), and what happens where io_uring is not allowed. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { openUring } from "../../src/net/uring/engine.ts";
import { bundled, type Running, startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const REFUSE = new URL("../support/refuse_syscall.ts", import.meta.url).href;

const opened = openUring();
const NO_URING = typeof opened === "string" ? `io_uring cannot be used here: ${opened}` : false;

/** How many submissions our ring has room for, less one: libuv has rings of its own, which are smaller. */
const OURS = /^SqMask:\s*0x3ff$/m;

/** Whether the program, or a process it has started, has our ring open. */
function hasRing({ pid }: Running): boolean {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const children = tasks.flatMap((task) => readFileSync(`/proc/${pid}/task/${task}/children`, "latin1").split(" "));
  return [String(pid), ...children].filter(Boolean).some((process) =>
    readdirSync(`/proc/${process}/fdinfo`).some((fd) => {
      try {
        return OURS.test(readFileSync(`/proc/${process}/fdinfo/${fd}`, "latin1"));
      } catch {
        // It was closed meanwhile.
        return false;
      }
    }),
  );
}

function start(t: TestContext, events: string, refused?: number): Promise<Running> {
  const refusing = {
    entry: bundled(MAIN),
    nodeFlags: ["--import", REFUSE],
    env: { REFUSED_SYSCALL: String(refused) },
  };
  return startHoldfast(t, {
    ...(refused === undefined ? {} : refusing),
    config: ([port]) =>
      `worker_processes 2;
       events { ${events} }
       http { server { listen 127.0.0.1:${port}; location / { return 200 served; } location /p { proxy_pass http://127.0.0.1:${port}/; } } }`,
  });
}

async function serves(holdfast: Running): Promise<void> {
  assert.equal((await get(holdfast.port, "/")).body, "served");
  assert.equal((await get(holdfast.port, "/p")).body, "served");
}

for (const [events, ring] of [
  ["", true],
  ["use epoll;", true],
  ["use io_uring;", true],
  ["use node;", false],
] as const) {
  test(`events { ${events} }: ${ring ? "io_uring" : "node:net"}`, { skip: NO_URING }, async (t) => {
    const holdfast = await start(t, events);
    await serves(holdfast);
    assert.equal(hasRing(holdfast), ring);
    const said = holdfast.errorLog().match(/\[notice\] .* (using the ".*" event method|io_uring cannot be used.*)/g);
    assert.equal(said?.length, 1);
    assert.match(said[0], ring ? /using the "io_uring" event method/ : /using the "node" event method/);
  });
}

/** The calls, and the sentence each leaves. Without io_uring_enter() libuv itself ends the process. */
const CALLS: Readonly<Record<string, [number: number, sentence: RegExp]>> = {
  io_uring_setup: [425, /io_uring_setup\(\) failed \(1: Operation not permitted\)/],
  io_uring_register: [427, /io_uring_register\(IORING_REGISTER_\w+\) failed \(1: Operation not permitted\)/],
};

for (const [call, [number, sentence]] of Object.entries(CALLS)) {
  test(`where ${call}() is forbidden, node:net serves, and the log says so once`, async (t) => {
    const holdfast = await start(t, "", number);
    await serves(holdfast);
    const lines = holdfast.errorLog().split("\n");
    const said = lines.filter((line) => line.includes("[notice]") && line.includes("io_uring cannot be used"));
    assert.equal(said.length, 1);
    assert.match(said[0], sentence);
    assert.ok(lines.some((line) => line.endsWith('using the "node" event method')));
  });
}
