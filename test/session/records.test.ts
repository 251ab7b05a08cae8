import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openEnvironment } from "../../src/session/zone/environment.ts";
import { Records } from "../../src/session/zone/records.ts";

/** Records on LMDB: their room, and the order in which they give way. */

function recordsOf(t: TestContext, size: number) {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-records-"));
  const environment = openEnvironment(directory, size, false);
  t.after(async () => {
    await environment.root.close();
    rmSync(directory, { recursive: true });
  });
  let evicted = 0;
  const records = new Records(environment, size, {
    endOf: (_kind, bytes) => Number(/\d+$/.exec(bytes.toString("latin1"))?.[0] ?? Number.NaN) || undefined,
    onEvicted(count) {
      evicted += count;
    },
  });
  return { records, evicted: () => evicted };
}

const key = (number: number): Buffer => Buffer.from(String(number).padStart(16, "0"));

test("records of two kinds share neither keys nor fate", (t) => {
  const { records } = recordsOf(t, 1 << 20);
  records.write(() => {
    records.put("session", key(1), Buffer.from("session"), 1000, undefined);
    records.put("item", key(1), Buffer.from("item"), 2000, undefined);
  });
  assert.equal(records.sweep(999).removed, 0);
  assert.equal(records.sweep(1001).removed, 1);
  records.refresh();
  assert.equal(records.get("session", key(1)), undefined);
  assert.equal(records.get("item", key(1))?.toString(), "item");
  assert.deepEqual([records.usage().sessions, records.usage().items], [0, 1]);
});

test("a record that is replaced ends at its new time, and one that is removed leaves nothing", (t) => {
  const { records } = recordsOf(t, 1 << 20);
  records.write(() => records.put("session", key(1), Buffer.from("until 1000"), 1000, undefined));
  records.write(() => records.put("session", key(1), Buffer.from("until 3000"), 3000, 1000));
  assert.deepEqual(records.sweep(2000), { looked: 1, removed: 0 });
  assert.deepEqual(records.sweep(2000), { looked: 0, removed: 0 });
  records.refresh();
  assert.equal(records.get("session", key(1))?.toString(), "until 3000");
  records.write(() => records.remove("session", key(1), 3000));
  assert.deepEqual(records.sweep(9000), { looked: 0, removed: 0 });
});

test("a record that is to end earlier does", (t) => {
  const { records } = recordsOf(t, 1 << 20);
  records.write(() => records.put("item", key(1), Buffer.from("until 3000"), 3000, undefined));
  records.write(() => records.put("item", key(1), Buffer.from("until 1000"), 1000, 3000));
  assert.equal(records.sweep(2000).removed, 1);
  assert.deepEqual(records.sweep(4000), { looked: 1, removed: 0 });
  assert.equal(records.usage().items, 0);
});

test("what is left in the table of ends of a record that is gone is no record", (t) => {
  const { records } = recordsOf(t, 1 << 20);
  records.write(() => records.put("session", key(1), Buffer.from("until 1000"), 1000, undefined));
  records.write(() => records.put("session", key(1), Buffer.from("until 3000"), 3000, 1000));
  records.write(() => records.remove("session", key(1), 3000));
  assert.deepEqual(records.sweep(2000), { looked: 1, removed: 0 });
  assert.deepEqual(records.sweep(9000), { looked: 0, removed: 0 });
});

test("a record whose end has moved on gives way after those that end before", (t) => {
  const { records, evicted } = recordsOf(t, 1 << 20);
  const until = (end: number): Buffer => Buffer.from(`${"A".repeat(1000)}${end}`);
  records.write(() => records.put("session", key(0), until(1_000_000), 1_000_000, undefined));
  records.write(() => records.put("session", key(0), until(9_000_000), 9_000_000, 1_000_000));
  for (let number = 1; number < 2000; number++) {
    const end = 1_000_000 + number;
    records.write(() => records.put("session", key(number), until(end), end, undefined));
  }
  records.refresh();
  assert.ok(evicted() > 500, `${evicted()} have given way`);
  assert.ok(records.get("session", key(0)));
  assert.equal(records.get("session", key(1)), undefined);
});

test("what throws leaves nothing of its transaction", (t) => {
  const { records } = recordsOf(t, 1 << 20);
  assert.throws(() =>
    records.write(() => {
      records.put("item", key(1), Buffer.from("a"), 1000, undefined);
      throw new Error("no");
    }),
  );
  records.refresh();
  assert.equal(records.get("item", key(1)), undefined);
  assert.equal(records.usage().items, 0);
});

test("where there is no room those that end first give way", (t) => {
  const { records, evicted } = recordsOf(t, 1 << 20);
  const bytes = Buffer.alloc(1000, 65);
  for (let number = 0; number < 5000; number++) {
    records.write(() => records.put("session", key(number), bytes, 1_000_000 + number, undefined));
  }
  const { sessions, bytes: used } = records.usage();
  assert.equal(sessions + evicted(), 5000);
  assert.ok(sessions > 400, `${sessions} sessions`);
  assert.ok(used < 1.1 * (1 << 20), `${used} bytes`);
  records.refresh();
  assert.equal(records.get("session", key(0)), undefined);
  assert.equal(records.get("session", key(5000 - sessions - 1)), undefined);
  for (let number = 5000 - sessions; number < 5000; number++) assert.ok(records.get("session", key(number)));
});
