/** A worker that was taken over: whatever it does, the master, the other workers and the reloads go on. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { bundled, type Running, startHoldfast } from "../support/holdfast.ts";
import { isRunning, statusOf, workersOf } from "../support/processes.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const HOSTILE = fileURLToPath(new URL("../support/hostile_main.ts", import.meta.url));

function startHostile(t: TestContext, main = "worker_processes 2;"): Promise<Running> {
  return startHoldfast(t, { entry: bundled(HOSTILE), config: ([port]) => `${main} http { hostile_port ${port}; }` });
}

/** What a worker answers; "" if it ends instead. */
async function ask(connection: RawConnection, word: string): Promise<string> {
  const before = (await connection.until(() => true)).length;
  connection.write(`${word}\n`);
  return (await connection.until((received) => received.includes("\n", before))).slice(before).trim();
}

async function connect(t: TestContext, { port }: Running): Promise<{ pid: number; connection: RawConnection }> {
  const connection = await RawConnection.open(port);
  t.after(() => connection.close());
  return { connection, pid: Number(await ask(connection, "pid")) };
}

/** It serves, reloads and stops as if nothing had been. */
async function assertWell(t: TestContext, holdfast: Running): Promise<void> {
  await waitFor(() => workersOf(holdfast.pid).length === 2, "two workers");
  assert.ok((await connect(t, holdfast)).pid > 0);
  assert.equal(await holdfast.reload(), true);
  assert.ok((await connect(t, holdfast)).pid > 0);
}

const MESSAGES: readonly (readonly [attack: string, said: RegExp])[] = [
  ["garbage", /sent a message that is too long, killing it/],
  ["no message", /sent what is no message, killing it/],
  ["another type", /sent what is no message, killing it/],
  ["null", /sent what is no message, killing it/],
  ["an endless message", /sent a message that is too long, killing it/],
  ["a flood", /sent too many messages, killing it/],
  ["a torrent", /sent too many messages, killing it/],
];

test("what a worker writes to its master can end the worker, and nothing else", async (t) => {
  const holdfast = await startHostile(t);
  for (const [attack, said] of MESSAGES) {
    const { pid, connection } = await connect(t, holdfast);
    const before = holdfast.errorLog().length;
    connection.write(`${attack}\n`);
    await waitFor(() => said.test(holdfast.errorLog().slice(before)), `${attack}: ${said}`);
    await waitFor(() => !isRunning(pid), `${attack}: the end of the worker`);
    await assertWell(t, holdfast);
  }
  const { connection } = await connect(t, holdfast);
  await ask(connection, "errors that are none");
  await ask(connection, "descriptor socket");
  await assertWell(t, holdfast);
  assert.ok(Number.parseInt(statusOf(holdfast.pid, "VmRSS"), 10) < 400_000, statusOf(holdfast.pid, "VmRSS"));
  assert.equal(await holdfast.stop(), 0);
  assert.doesNotMatch(holdfast.errorLog(), /exception/);
});

test("a worker that closes its channel or its descriptors' socket, or ends in any way, is replaced", async (t) => {
  const holdfast = await startHostile(t);
  for (const code of [0, 1, 2, 13, 255]) {
    const { pid, connection } = await connect(t, holdfast);
    assert.equal(await ask(connection, `exit:${code}`), "");
    await holdfast.waitForLog(new RegExp(`worker process ${pid} exited with code ${code}$`, "m"));
    await assertWell(t, holdfast);
  }
  const closing = await connect(t, holdfast);
  await ask(closing.connection, "closed channel");
  await waitFor(() => !isRunning(closing.pid), "the end of the worker without a channel");
  await assertWell(t, holdfast);
  const { pid, connection } = await connect(t, holdfast);
  await ask(connection, "closed descriptors");
  assert.equal(await holdfast.reload(), true);
  await waitFor(() => !isRunning(pid), "the end of the worker without its socket");
  await assertWell(t, holdfast);
  assert.equal(await holdfast.stop("SIGQUIT"), 0);
});

test("a process that a worker leaves behind holds nothing of the master's", async (t) => {
  const holdfast = await startHostile(t);
  const { pid, connection } = await connect(t, holdfast);
  const left = Number(await ask(connection, "fork"));
  t.after(() => process.kill(left, "SIGKILL"));
  process.kill(pid, "SIGKILL");
  await holdfast.waitForLog(new RegExp(`worker process ${pid} exited on signal 9$`, "m"));
  await assertWell(t, holdfast);
  assert.equal(await holdfast.stop(), 0);
  const again = await startHoldfast(t, {
    entry: bundled(HOSTILE),
    prefix: holdfast.prefix,
    config: `worker_processes 2; http { hostile_port ${holdfast.port}; }`,
  });
  assert.equal(await again.stop(), 0);
});

test("shared memory that a worker fills with garbage, or whose lock it keeps, holds up no master", async (t) => {
  for (const attack of ["truncate", "lock taken", "lock given away", "zone filled"]) {
    const holdfast = await startHostile(t);
    const { pid, connection } = await connect(t, holdfast);
    assert.notEqual(await ask(connection, attack), "");
    process.kill(pid, "SIGKILL");
    await holdfast.waitForLog(new RegExp(`worker process ${pid} exited on signal 9$`, "m"));
    await assertWell(t, holdfast);
    assert.equal(await holdfast.stop(), 0, attack);
  }
});
