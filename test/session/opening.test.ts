import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openEnvironment } from "../../src/session/zone/environment.ts";
import { Records } from "../../src/session/zone/records.ts";
import { startProcess } from "../support/sharing.ts";
import { waitFor } from "../support/wait.ts";
import type { Task } from "./opening_process.ts";

/**
 * LMDB takes back what others commit while a process opens the environment: nobody does. Whoever looks with `strace -e
 * inject=mmap:delay_enter=200000` sees the number of the last commit go back without this.
 */

function zone(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-opening-"));
  const environment = openEnvironment(directory, 1 << 20, false);
  t.after(async () => {
    await environment.root.close();
    rmSync(directory, { recursive: true });
  });
  const records = new Records(environment, 1 << 20, { endOf: () => undefined, onEvicted() {} });
  const key = Buffer.alloc(16);
  let written = 0;
  const put = (): number => {
    records.put("item", key, Buffer.from(String(++written)), 2 ** 40, undefined);
    return written;
  };
  return {
    directory,
    environment,
    records,
    put,
    /** Commits the next number. */
    write: () => records.write(put),
    read: () => {
      records.refresh();
      return Number(records.get("item", key));
    },
  };
}

const start = (t: TestContext, task: Task) => startProcess(t, new URL("opening_process.ts", import.meta.url), { task });

/** Whether it has mapped the database. */
const hasOpened = (pid: number | undefined): boolean =>
  readFileSync(`/proc/${pid}/maps`, "latin1").includes("/data.mdb");

test("a process that opens a zone waits for commits that are under way, and begins with them", async (t) => {
  const { directory, environment, write, read } = zone(t);
  const { lock, commits } = environment;
  write();
  lock.hold();
  const opener = start(t, { directory });
  await waitFor(() => lock.awaited, "the other process waits");
  // What is under way here goes on.
  write();
  assert.equal(hasOpened(opener.pid), false);
  const opened = once(opener, "message");
  lock.release();
  assert.deepEqual(await opened, [{ opened: commits.last }, undefined]);
  assert.equal(read(), 2);
});

test("commits beside the event loop go on in their order while a process waits to open the zone, and after it", async (t) => {
  const { directory, environment, records, put, read } = zone(t);
  const { lock } = environment;
  lock.hold();
  const opener = start(t, { directory });
  const opened = once(opener, "message");
  await waitFor(() => lock.awaited, "the other process waits");
  const order: number[] = [];
  const writes = [1, 2, 3].map(async () => order.push(await records.writeThrough(put)));
  // They wait for the one that is under way, so that the other process has its turn.
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([order, hasOpened(opener.pid)], [[], false]);
  lock.release();
  await Promise.all([...writes, opened]);
  assert.deepEqual([order, read()], [[1, 2, 3], 3]);
});

test("a process that dies while it opens a zone, or commits to it, holds nobody up", async (t) => {
  const { directory, environment, write, read } = zone(t);
  await once(start(t, { directory, what: "dies opening" }), "exit");
  write();
  assert.equal(environment.lock.awaited, false);
  await once(start(t, { directory, what: "dies committing" }), "exit");
  await once(start(t, { directory }), "message");
  write();
  assert.equal(read(), 2);
});

test("who begins to commit while another process opens the zone does so after it", async (t) => {
  const { directory } = zone(t);
  const committer = start(t, { directory });
  await once(committer, "message");
  await once(start(t, { directory, what: "opening" }), "message");
  committer.send("commit");
  assert.deepEqual(await once(committer, "message"), ["begins", undefined]);
  const committed = once(committer, "message");
  writeFileSync(`${directory}/go`, "");
  assert.deepEqual(await committed, [{ after: true }, undefined]);
});
