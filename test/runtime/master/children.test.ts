import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { Children, type ChildrenOptions } from "../../../src/runtime/master/children.ts";
import { isRunning } from "../../support/processes.ts";
import { waitFor } from "../../support/wait.ts";

const ENTRY = new URL("./answering_child.ts", import.meta.url);

const DATA = {
  generation: 1,
  directives: [],
  prefix: "/",
  confPrefix: "/",
  errorLog: "",
  zones: {},
  files: new Map(),
  hosts: {},
};

/** Children of this process; `lines` is what is logged, with its level. */
function start(t: TestContext, options: Partial<ChildrenOptions> = {}) {
  const lines: string[] = [];
  const log = { wants: () => true, write: (level: string, message: string) => lines.push(`[${level}] ${message}`) };
  const own: ChildrenOptions = { entry: ENTRY, env: () => ({}), log: () => log };
  // Some of them change meanwhile: they are asked for when they are needed.
  const children = new Children(Object.defineProperties(own, Object.getOwnPropertyDescriptors(options)));
  t.after(() => children.stop());
  /** The process ids that a child of that kind has had. */
  const pids = (kind: "worker" | "checker") =>
    lines.flatMap((line) => {
      const pid = new RegExp(`^\\[notice\\] start ${kind} process (\\d+)$`).exec(line)?.[1];
      return pid === undefined ? [] : [Number(pid)];
    });
  return { children, lines, pids };
}

test("a process that the system refuses is tried again, at once when a reload comes", async (t) => {
  let refused = false;
  const env = () => {
    if (refused) throw new Error("no more processes");
    return {};
  };
  const gone: (readonly [string, number, number | undefined])[] = [];
  const { children, pids } = start(t, { env, forget: ({ kind, index }, pid) => gone.push([kind, index, pid]) });
  assert.deepEqual(await children.apply(DATA, 1), []);
  refused = true;
  assert.deepEqual(await children.apply({ ...DATA, generation: 2 }, 2), [
    "worker process could not be started: no more processes",
  ]);
  refused = false;
  assert.deepEqual(await children.apply({ ...DATA, generation: 3 }, 2), []);
  // Once or, if that took long enough, by itself again.
  for (const each of gone) assert.deepEqual(each, ["worker", 1, undefined]);
  assert.ok(gone.length > 0);
  assert.deepEqual([pids("checker").length, pids("worker").length], [1, 2]);
});

test("a child that does not take a configuration is killed, and another takes its place", async (t) => {
  // To start takes long beside other work.
  let cycleTimeout = 60_000;
  const { children, lines, pids } = start(t, {
    get cycleTimeout() {
      return cycleTimeout;
    },
  });
  assert.deepEqual(await children.apply(DATA, 1), []);
  const [worker] = pids("worker");
  cycleTimeout = 3000;
  assert.deepEqual(await children.apply({ ...DATA, generation: 9 }, 1), [
    "worker process has not taken the configuration over within 3 s",
    "checker process has not taken the configuration over within 3 s",
  ]);
  cycleTimeout = 60_000;
  assert.match(
    lines.join("\n"),
    new RegExp(
      `^\\[alert\\] worker process ${worker} has not taken the configuration over within 3 s, killing it$`,
      "m",
    ),
  );
  await waitFor(() => pids("checker").length === 2 && pids("worker").length === 2, "two others");
  assert.deepEqual(await children.apply({ ...DATA, generation: 10 }, 1), []);
  assert.doesNotMatch(lines.join("\n"), /handled no event/);
});

test("a child that hangs when a configuration comes is ended soon, and another takes its place", async (t) => {
  const { children, lines, pids } = start(t, { hungTimeout: 2000 });
  assert.deepEqual(await children.apply(DATA, 2), []);
  const [hung] = pids("worker");
  // Only SIGKILL ends one that is stopped.
  process.kill(hung, "SIGSTOP");
  assert.deepEqual(await children.apply({ ...DATA, generation: 2 }, 2), [`worker process ${hung} exited on signal 9`]);
  const alert = `[alert] worker process ${hung} has handled no event for 2 s, ending it by`;
  assert.deepEqual(
    lines.filter((line) => line.includes("handled no event")),
    [`${alert} SIGABRT`, `${alert} SIGKILL`],
  );
  await waitFor(() => pids("worker").length === 3, "another worker");
  await children.settled();
});

test("a child that is told to exit as a configuration comes is no failure of it", async (t) => {
  const { children, lines, pids } = start(t);
  assert.deepEqual(await children.apply(DATA, 2), []);
  for (const [i, signal] of (["SIGTERM", "SIGQUIT"] as const).entries()) {
    const [worker = 0] = pids("worker").slice(-1);
    process.kill(worker, "SIGSTOP");
    const applied = children.apply({ ...DATA, generation: 2 + i }, 2);
    process.kill(worker, signal);
    process.kill(worker, "SIGCONT");
    assert.deepEqual(await applied, []);
    await waitFor(() => pids("worker").length === 3 + i, "another worker");
    await children.settled();
  }
  assert.doesNotMatch(lines.join("\n"), /\[(?:alert|emerg)\]/);
});

test("a child that ends, however it does, is forgotten and started again", async (t) => {
  const gone: (readonly [string, number | undefined])[] = [];
  const { children, lines, pids } = start(t, { forget: ({ kind }, pid) => gone.push([kind, pid]) });
  assert.deepEqual(await children.apply(DATA, 1), []);
  const ends = [
    ["worker", "SIGKILL", "[alert] worker process PID exited on signal 9"],
    ["checker", "SIGSEGV", "[alert] checker process PID exited on signal 11"],
    ["worker", "SIGTERM", "[notice] worker process PID exited with code 0"],
    ["worker", "SIGQUIT", "[notice] worker process PID exited with code 0"],
  ] as const;
  for (const [i, [kind, signal, line]] of ends.entries()) {
    const before = pids(kind);
    const [pid = 0] = before.slice(-1);
    process.kill(pid, signal);
    await waitFor(() => pids(kind).length > before.length, `another ${kind} after ${signal}`);
    assert.ok(lines.includes(line.replace("PID", String(pid))), `${signal}: ${lines.join("\n")}`);
    assert.deepEqual(gone.pop(), [kind, pid]);
    // The other one has begun when it answers.
    assert.deepEqual(await children.apply({ ...DATA, generation: 2 + i }, 1), []);
  }
  assert.equal(gone.length, 0);
});

test("those that a reload has no use for leave, and when it replaces them all do", async (t) => {
  const { children, lines, pids } = start(t);
  assert.deepEqual(await children.apply(DATA, 3), []);
  const first = pids("worker");
  assert.deepEqual(await children.apply({ ...DATA, generation: 2 }, 1), []);
  await waitFor(() => first.filter(isRunning).length === 1, "two to leave");
  assert.deepEqual(await children.apply({ ...DATA, generation: 3 }, 1, { replace: true }), []);
  const old = [...first, ...pids("checker").slice(0, 1)];
  await waitFor(() => !old.some(isRunning), "all that were there to leave");
  assert.deepEqual([pids("checker").length, pids("worker").length], [2, 4]);
  assert.doesNotMatch(lines.join("\n"), /\[alert\]/);
});

test("a start at which a child dies has failed, and is not tried again", async (t) => {
  const silent = openSync("/dev/null", "w");
  t.after(() => closeSync(silent));
  const entry = new URL("./no_such_child.ts", import.meta.url);
  const { children, pids } = start(t, { entry, standardError: () => silent });
  const errors = await children.apply(DATA, 1);
  assert.deepEqual(errors.map((error) => error.replace(/\d+/, "PID")).toSorted(), [
    "checker process PID exited with code 1",
    "worker process PID exited with code 1",
  ]);
  await children.stop();
  assert.deepEqual([pids("checker").length, pids("worker").length], [1, 1]);
});

test("a child that a signal ends at the very first start is started again", async (t) => {
  let killed = 0;
  const { children, lines, pids } = start(t, {
    forget: ({ kind }) => {
      if (kind === "worker") killed++;
    },
  });
  const started = children.apply(DATA, 1);
  process.kill(pids("worker")[0], "SIGKILL");
  assert.deepEqual(await started, []);
  assert.equal(killed, 1);
  assert.equal(pids("worker").length, 2);
  assert.match(lines.join("\n"), /^\[alert\] worker process \d+ exited on signal 9$/m);
});

test("where signals end every child at the very first start, the start fails in the end", async (t) => {
  const { children, pids } = start(t, {
    env: () => {
      // Once it is there.
      setImmediate(() => process.kill(pids("checker").at(-1) ?? 0, "SIGKILL"));
      return {};
    },
  });
  const errors = await children.apply(DATA, 0);
  assert.match(errors.join("\n"), /^checker process \d+ exited on signal 9$/);
});
