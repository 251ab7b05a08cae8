/** `user`: what root starts serves as another. These need root. */
import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  lchownSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { bundled, makePrefix, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { checkersOf, childrenOf, titleOf, workersOf } from "../support/processes.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const entry = bundled(fileURLToPath(new URL("../support/echo_main.ts", import.meta.url)));
const skip = process.getuid?.() === 0 ? false : "needs root";
const NOBODY = 65534;
const NOGROUP = 65534;

/** A field of /proc/PID/status, of every thread of a process. */
function statuses(pid: number, field: string): Set<string> {
  const texts = readdirSync(`/proc/${pid}/task`).map((id) => readFileSync(`/proc/${pid}/task/${id}/status`, "latin1"));
  return new Set(texts.map((text) => new RegExp(`^${field}:\\s+(.*)$`, "m").exec(text)?.[1].trim() ?? ""));
}

/** A real, an effective, a saved and a file system's one. */
const all = (id: number) => Array(4).fill(id).join("\t");

test("the master stays root; workers and the checker become nobody for good, with no right left", {
  skip,
}, async (t) => {
  const holdfast = await startHoldfast(t, {
    entry,
    config: (ports) => `worker_processes 2; http { echo_port ${ports[0]}; echo_log logs/words.log; }`,
  });
  assert.deepEqual(statuses(holdfast.pid, "Uid"), new Set([all(0)]));
  const children = [...workersOf(holdfast.pid), ...checkersOf(holdfast.pid)];
  assert.equal(children.length, 3);
  const wanted = {
    Uid: all(NOBODY),
    Gid: all(NOGROUP),
    Groups: String(NOGROUP),
    ...Object.fromEntries(["CapInh", "CapPrm", "CapEff", "CapAmb"].map((set) => [set, "0".repeat(16)])),
  };
  for (const pid of children) {
    for (const [field, value] of Object.entries(wanted)) {
      assert.deepEqual(statuses(pid, field), new Set([value]), `${titleOf(pid)}: ${field}`);
    }
    assert.deepEqual(statuses(pid, "NoNewPrivs"), new Set(["1"]), titleOf(pid));
  }
  assert.equal(statSync(join(holdfast.prefix, "logs/words.log")).uid, NOBODY);
});

/** Whether a worker answers there. */
async function worksAt(port: number): Promise<boolean> {
  const connection = await RawConnection.open(port);
  connection.write("hello\n");
  await connection.until((received) => received.includes("\n"));
  connection.close();
  return true;
}

test("a worker that takes another's place has no more rights than that", { skip }, async (t) => {
  const holdfast = await startHoldfast(t, { entry, config: (ports) => `http { echo_port ${ports[0]}; }` });
  const [first] = workersOf(holdfast.pid);
  process.kill(first, "SIGKILL");
  const second = await waitFor(async () => {
    const [pid] = workersOf(holdfast.pid);
    return pid !== undefined && pid !== first && (await worksAt(holdfast.port)) ? pid : undefined;
  }, "another worker");
  assert.deepEqual(statuses(second, "Uid"), new Set([all(NOBODY)]));
  assert.deepEqual(statuses(second, "CapEff"), new Set(["0".repeat(16)]));
});

test("logs and the pid file in a directory that only root may change", { skip }, async (t) => {
  const holdfast = await startHoldfast(t, {
    entry,
    files: { "private/README": "" },
    config: (ports) => `pid private/holdfast.pid; http { echo_port ${ports[0]}; echo_log private/words.log; }`,
  });
  const inPrivate = (name: string) => join(holdfast.prefix, "private", name);
  chmodSync(join(holdfast.prefix, "private"), 0o755);
  const say = async (word: string) => {
    const connection = await RawConnection.open(holdfast.port);
    connection.write(`${word}\n`);
    await connection.until((received) => received.includes("\n"));
    connection.close();
  };
  await say("before");
  renameSync(inPrivate("words.log"), inPrivate("words.old"));
  holdfast.signal("SIGUSR1");
  await waitFor(() => existsSync(inPrivate("words.log")), "the new log");
  await waitFor(async () => {
    await say("after");
    return holdfast.read("private/words.log").includes("after");
  }, "words in the new log");
  assert.equal(await holdfast.reload(), true);
  assert.equal(await holdfast.stop(), 0);
  assert.equal(existsSync(inPrivate("holdfast.pid")), false);
});

test("user root stays root; an unknown user is an error with its place", { skip }, async (t) => {
  const holdfast = await startHoldfast(t, { entry, config: (ports) => `user root; http { echo_port ${ports[0]}; }` });
  for (const pid of [holdfast.pid, ...childrenOf(holdfast.pid)])
    assert.deepEqual(statuses(pid, "Uid"), new Set([all(0)]));

  const unknown = await runHoldfast(t, { entry, config: "user no-such-user;", args: ["-t"] });
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /\[emerg\] getpwnam\("no-such-user"\) failed in .*nginx\.conf:1\n/);
});

test("a link in the log directory gives that user no file of root's; the pid file stays root's", {
  skip,
}, async (t) => {
  const prefix = makePrefix(t, { secret: "root's\n" });
  chmodSync(join(prefix, "secret"), 0o600);
  symlinkSync(join(prefix, "secret"), join(prefix, "logs/words.log"));
  lchownSync(join(prefix, "logs/words.log"), NOBODY, NOBODY);
  const holdfast = await startHoldfast(t, {
    entry,
    prefix,
    config: (ports) => `http { echo_port ${ports[0]}; echo_log logs/words.log; }`,
  });
  assert.equal(statSync(join(prefix, "secret")).uid, 0);
  holdfast.signal("SIGUSR1");
  await holdfast.waitForLog(/reopening logs/);
  assert.equal(statSync(join(prefix, "secret")).uid, 0);
  assert.equal(statSync(join(prefix, "logs/holdfast.pid")).uid, 0);
});
