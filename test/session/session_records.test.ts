import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openEnvironment } from "../../src/session/zone/environment.ts";
import { Records } from "../../src/session/zone/records.ts";
import { newId } from "../../src/session/zone/session_id.ts";
import { SessionRecords } from "../../src/session/zone/session_records.ts";
import { makeSession, type StoredSession } from "../../src/session/zone/stored_session.ts";
import { startProcess } from "../support/sharing.ts";
import type { Order } from "./writing_process.ts";

/** A process answers from its own copies only as long as nobody else has written. */

const sessionOf = (version: number, data = JSON.stringify({ version }), expires = 2 ** 40): StoredSession =>
  makeSession({ version, created: 1, expires, data, stamps: { floor: 0, at: new Map() } });

function zone(t: TestContext, size = 1 << 20) {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-sessions-"));
  const environment = openEnvironment(directory, size, false);
  t.after(async () => {
    await environment.root.close();
    rmSync(directory, { recursive: true });
  });
  const records = new Records(environment, size, { endOf: () => undefined, onEvicted() {} });
  return { directory, environment, records, sessions: new SessionRecords(records) };
}

/** Another process with the same zone. */
async function another(t: TestContext, directory: string) {
  const child = startProcess(t, new URL("writing_process.ts", import.meta.url), { task: { directory } });
  await once(child, "message");
  return {
    /** What it found when it wrote; undefined for what was not said. */
    async write(order: Order): Promise<number> {
      const said: unknown[] = [];
      const done = new Promise<void>((resolve) => {
        child.once("exit", () => resolve());
        child.on("message", (message) => {
          said.push(message);
          if (message === "written") resolve();
        });
      });
      child.send(order);
      await done;
      child.removeAllListeners();
      return Number(Reflect.get(Object(said[0]), "found"));
    },
  };
}

test("what another process has written is read at once, and what was written here is found there", async (t) => {
  const { directory, records, sessions } = zone(t);
  const other = await another(t, directory);
  const ids = [newId(), newId(), newId()];
  for (let version = 1; version < 100; version += 2) {
    const id = ids[version % 3];
    records.write(() => sessions.put(id, sessionOf(version), sessions.current(id)));
    assert.equal(sessions.read(id)?.version, version);
    assert.equal(await other.write({ id: id.toString("hex"), version: version + 1 }), version);
    assert.equal(sessions.read(id)?.version, version + 1);
    assert.equal(records.write(() => sessions.current(id))?.version, version + 1);
  }
});

test("a process that dies has written all or nothing, and others see it", async (t) => {
  const { directory, records, sessions } = zone(t);
  const id = newId();
  records.write(() => sessions.put(id, sessionOf(1), undefined));
  assert.equal(sessions.read(id)?.version, 1);
  await (await another(t, directory)).write({ id: id.toString("hex"), version: 2, dies: "before" });
  assert.equal(sessions.read(id)?.version, 1);
  assert.equal(records.write(() => sessions.current(id))?.version, 1);
  await (await another(t, directory)).write({ id: id.toString("hex"), version: 3, dies: "after" });
  assert.equal(sessions.read(id)?.version, 3);
});

test("what a transaction that failed has written is never read", (t) => {
  const { records, sessions } = zone(t);
  const id = newId();
  records.write(() => sessions.put(id, sessionOf(1), undefined));
  assert.throws(() =>
    records.write(() => {
      sessions.put(id, sessionOf(2), sessions.current(id));
      assert.equal(sessions.current(id)?.version, 2);
      throw new Error("no");
    }),
  );
  assert.equal(sessions.read(id)?.version, 1);
});

test("what is written beside the event loop is read when it is committed, and is there for what is written after it", async (t) => {
  const { records, sessions } = zone(t);
  const id = newId();
  const write = (version: number) => () => {
    const before = sessions.current(id);
    sessions.put(id, sessionOf(version), before);
    return before?.version;
  };
  records.write(write(1));
  assert.equal(sessions.read(id)?.version, 1);
  const results = [records.writeThrough(write(2)), records.writeThrough(write(3))];
  assert.equal(sessions.read(id)?.version, 1);
  assert.deepEqual(await Promise.all(results), [1, 2]);
  assert.equal(sessions.read(id)?.version, 3);
});

test("a session that gave way is not found", (t) => {
  const { records, sessions } = zone(t);
  const first = newId();
  records.write(() => sessions.put(first, sessionOf(1, "{}", 1000), undefined));
  assert.equal(sessions.read(first)?.version, 1);
  const data = JSON.stringify("A".repeat(500));
  for (let number = 0; number < 3000; number++) {
    records.write(() => sessions.put(newId(), sessionOf(1, data), undefined));
    if (number % 100 === 0) sessions.read(first);
  }
  assert.equal(records.get("session", first), undefined);
  assert.equal(sessions.read(first), undefined);
});

test("one that is larger than a copy may be, or was smaller before, is read as it is", (t) => {
  const { records, sessions } = zone(t);
  const id = newId();
  for (const [index, length] of [10, 900, 3000, 40, 70_000, 500].entries()) {
    const data = JSON.stringify({ text: "ä".repeat(length) });
    records.write(() => sessions.put(id, sessionOf(index + 1, data), sessions.current(id)));
    const read = sessions.read(id);
    assert.deepEqual([read?.version, read?.data.toString("utf8")], [index + 1, data]);
  }
  records.write(() => sessions.remove(id, sessionOf(6)));
  assert.equal(sessions.read(id), undefined);
});
