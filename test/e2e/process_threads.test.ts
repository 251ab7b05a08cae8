/** Threads that die: each is logged as [alert] and started again, and the others serve on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const entry = fileURLToPath(new URL("../support/echo_main.ts", import.meta.url));

async function tell(port: number, word: string): Promise<void> {
  const connection = await RawConnection.open(port);
  connection.write(`${word}\n`);
  await connection.until(() => false);
  connection.close();
}

async function answers(port: number): Promise<boolean> {
  try {
    const connection = await RawConnection.open(port);
    connection.write("hello\n");
    const answer = await connection.until((received) => received.includes("\n"));
    connection.close();
    return answer.startsWith("echo");
  } catch {
    return false;
  }
}

const deaths = [
  { word: "crash", log: /\[alert\] \d+#0: worker thread [12] exited with Error: crashed on demand\n/ },
  { word: "reject", log: /\[alert\] \d+#0: worker thread [12] exited with TypeError: rejected on demand\n/ },
  { word: "exit", log: /\[alert\] \d+#0: worker thread [12] exited with code 3\n/ },
];

for (const { word, log } of deaths) {
  test(`a worker that dies of ${word} is started again`, async (t) => {
    const holdfast = await startHoldfast(t, {
      entry,
      config: (ports) => `worker_processes 2; http { echo_port ${ports[0]}; }`,
    });
    const bystanders = await Promise.all(Array.from({ length: 8 }, () => RawConnection.open(holdfast.port)));
    t.after(() => {
      for (const bystander of bystanders) bystander.close();
    });
    await tell(holdfast.port, word);
    await holdfast.waitForLog(log);
    // One of the two goes on without a gap; its connections live.
    await waitFor(() => answers(holdfast.port), "an answer");
    await waitFor(() => (holdfast.errorLog().match(/echo worker/g)?.length ?? 0) >= 3, "the new worker");
    assert.equal(holdfast.exit, undefined);
    assert.doesNotMatch(holdfast.errorLog(), /^\s+at /m);
    assert.equal(holdfast.stderr, "");
  });
}

test("a worker that runs out of memory takes nobody along", async (t) => {
  const holdfast = await startHoldfast(t, {
    entry,
    nodeFlags: ["--max-old-space-size=64"],
    config: (ports) => `worker_processes 2; http { echo_port ${ports[0]}; }`,
  });
  await tell(holdfast.port, "oom");
  await holdfast.waitForLog(/\[alert\] \d+#0: worker thread [12] exited with ERR_WORKER_OUT_OF_MEMORY: /);
  await waitFor(() => answers(holdfast.port), "an answer");
  assert.equal(await holdfast.stop(), 0);
});

test("the only worker, too, comes back; its stack is logged at level debug", async (t) => {
  const holdfast = await startHoldfast(t, {
    entry,
    globals: "daemon off; error_log logs/error.log debug;",
    config: (ports) => `http { echo_port ${ports[0]}; }`,
  });
  for (let i = 0; i < 2; i++) {
    await tell(holdfast.port, "crash");
    await waitFor(() => answers(holdfast.port), "an answer");
  }
  assert.match(holdfast.errorLog(), /\[debug\] \d+#0: {5}at /);
});

test("who comes while the only worker is away waits for the next one", async (t) => {
  const holdfast = await startHoldfast(t, { entry, config: (ports) => `http { echo_port ${ports[0]}; }` });
  for (let i = 0; i < 3; i++) {
    const killer = await RawConnection.open(holdfast.port);
    killer.write("crash\n");
    await killer.until(() => false);
    const client = await RawConnection.open(holdfast.port);
    client.write("hello\n");
    assert.match(await client.until((received) => received.includes("\n")), /^echo /);
    client.close();
  }
});

test("a worker that cannot begin ends the start, with the reason", async (t) => {
  const { code, stderr } = await runHoldfast(t, {
    entry,
    config: "worker_processes 2; http { echo_crash_at_start on; }",
  });
  assert.equal(code, 1);
  assert.equal(stderr, "holdfast: [emerg] cannot serve\n");
});
