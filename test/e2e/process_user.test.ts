/** `user`: what root starts runs as another. These need root. */
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
import { makePrefix, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const entry = fileURLToPath(new URL("../support/echo_main.ts", import.meta.url));
const skip = process.getuid?.() === 0 && process.platform === "linux" ? false : "needs root on Linux";
const NOBODY = 65534;

/** The user ids and effective capabilities of every thread of a process, by the thread's name. */
function threads(pid: number): Map<string, { uids: string; capabilities: bigint }> {
  const found = new Map<string, { uids: string; capabilities: bigint }>();
  for (const id of readdirSync(`/proc/${pid}/task`)) {
    const status = readFileSync(`/proc/${pid}/task/${id}/status`, "latin1");
    const field = (name: string) => new RegExp(`^${name}:\\s+(.*)$`, "m").exec(status)?.[1] ?? "";
    found.set(field("Name"), { uids: field("Uid"), capabilities: BigInt(`0x${field("CapEff")}`) });
  }
  return found;
}

test("root becomes nobody in every thread; workers keep no right", { skip }, async (t) => {
  const holdfast = await startHoldfast(t, {
    entry,
    config: (ports) => `worker_processes 2; http { echo_port ${ports[0]}; echo_log logs/words.log; }`,
  });
  const all = threads(holdfast.pid);
  for (const [name, { uids }] of all) assert.equal(uids, `${NOBODY}\t${NOBODY}\t${NOBODY}\t${NOBODY}`, name);
  for (const name of ["worker 1", "worker 2", "checker"]) assert.equal(all.get(name)?.capabilities, 0n, name);
  assert.equal(all.get("libuv-worker")?.capabilities ?? 0n, 0n);
  assert.equal(statSync(join(holdfast.prefix, "logs/words.log")).uid, NOBODY);
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
  for (const { uids } of threads(holdfast.pid).values()) assert.equal(uids, "0\t0\t0\t0");

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
