import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { reconcile } from "../../src/session/redis/reconcile.ts";
import { deletedMark } from "../../src/session/redis/remote.ts";
import { applyChange } from "../../src/session/zone/change.ts";
import type { JsonObject } from "../../src/session/zone/merge.ts";
import { movedSession, type StoredSession } from "../../src/session/zone/stored_session.ts";

/** What becomes of a session that was changed both where it is kept and where that was away. */

const LIMITS = { timeout: 1_000_000, maxSize: 65_536 };

function patched(session: StoredSession | undefined, patch: JsonObject, now: number): StoredSession {
  const base = session?.version ?? 0;
  const { outcome } = applyChange(session, { kind: "patch", patch, base, rule: "merge" }, LIMITS, now);
  assert.ok(outcome.done && outcome.session !== undefined);
  return outcome.session;
}

function reconciled(
  base: StoredSession | undefined,
  current: StoredSession,
  there: StoredSession | undefined,
  tried = 0,
) {
  const result = reconcile({ base, from: undefined, tried, current }, there, LIMITS, 5000);
  assert.ok(typeof result !== "string", String(result));
  return result;
}

const patches = (prefix: string) =>
  fc.array(fc.dictionary(fc.constantFrom(`${prefix}1`, `${prefix}2`), fc.option(fc.nat(9))), { maxLength: 5 });

test("what was changed here and what was changed there is both in it", () => {
  fc.assert(
    fc.property(patches("here"), patches("there"), (here, there) => {
      const base = patched(undefined, { here1: 1, there1: 1 }, 1000);
      const end = (all: readonly JsonObject[], from: number) =>
        all.reduce<StoredSession>((session, patch, at) => patched(session, patch, from + at), base);
      const local = end(here, 2000);
      const remote = end(there, 3000);
      const { members } = reconciled(base, local, remote);
      const both = { ...remote.members, ...local.members };
      for (const name of ["here1", "here2"]) assert.deepEqual(members[name], local.members[name], name);
      for (const name of ["there1", "there2"]) assert.deepEqual(members[name], remote.members[name], name);
      assert.ok(Object.keys(members).every((name) => Object.hasOwn(both, name)));
    }),
  );
});

test("of a member that was changed on both sides the later value stays", () => {
  const base = patched(undefined, { cart: { a: 1, b: 1 }, list: [1] }, 1000);
  const local = patched(patched(base, { cart: { a: 2, c: 1 } }, 2000), { list: [2] }, 3000);
  const early = patched(base, { cart: { a: 3, b: null } }, 1500);
  assert.deepEqual(reconciled(base, local, early).members, { cart: { a: 2, c: 1 }, list: [2] });
  const late = patched(base, { cart: { a: 3, b: null }, list: [3] }, 2500);
  assert.deepEqual(reconciled(base, local, late).members, { cart: { a: 3, c: 1 }, list: [2] });
  const whole = patched(base, { cart: null }, 2500);
  assert.deepEqual(reconciled(base, local, whole).members, { list: [2] });
});

function item(session: StoredSession | undefined, value: string, now: number, ends = 100_000): StoredSession {
  const change = { kind: "replace", data: { item: value }, base: session?.version ?? 0, item: { ends } } as const;
  const { outcome } = applyChange(session, change, LIMITS, now);
  assert.ok(outcome.done && outcome.session?.isItem === true);
  return outcome.session;
}

test("of two items under one key the later one stays as it is", () => {
  const base = item(undefined, "a", 1000);
  const local = item(base, "b", 2000);
  assert.equal(reconciled(base, local, item(base, "c", 1500)), local);
  assert.equal(
    reconcile({ base, from: undefined, tried: 0, current: local }, item(base, "c", 2500), LIMITS, 5000),
    "drop",
  );
  assert.equal(reconciled(undefined, local, base), local);
});

test("an item that was set after one was deleted stays, and one that was set before does not", () => {
  const base = item(undefined, "a", 1000);
  for (const known of [base, undefined]) {
    const local = item(known, "b", 2000);
    assert.equal(reconciled(known, local, deletedMark(1500)), local);
    const deleted = reconcile(
      { base: known, from: undefined, tried: 0, current: local },
      deletedMark(2500),
      LIMITS,
      5000,
    );
    assert.equal(deleted, "drop");
  }
});

test("two changes of the same millisecond are not taken for one", () => {
  const base = patched(undefined, { a: 1 }, 1000);
  const local = patched(base, { here: 1 }, 2000);
  const there = patched(base, { there: 1 }, 2000);
  for (const tried of [0, local.version]) {
    const { members, version } = reconciled(base, local, there, tried);
    assert.deepEqual(members, { a: 1, here: 1, there: 1 });
    assert.ok(version > there.version);
    // The same one is: it was only used meanwhile.
    const used = local.until(local.expires + 1);
    assert.equal(reconciled(base, local, used, tried).version, local.version);
  }
});

test("what came of a change that was tried is told from another one of its millisecond", () => {
  const base = patched(undefined, { a: 1 }, 1000);
  const tried = patched(base, { here: { b: 1 } }, 2000);
  const changes: readonly JsonObject[] = [{ more: 1 }, { here: null }, { here: { b: 2 } }, { a: 2 }];
  for (const later of changes) {
    const local = patched(tried, later, 2500);
    assert.equal(reconciled(base, local, tried, tried.version), local);
    const { members } = reconciled(base, local, patched(base, { there: 1 }, 2000), tried.version);
    assert.deepEqual(members, { ...local.members, there: 1 });
  }
  // Of the same member the later value stays.
  const local = patched(tried, { more: 1 }, 2500);
  const other = patched(base, { here: { b: 3 } }, 2000);
  assert.deepEqual(reconciled(base, local, other, tried.version).members, { a: 1, here: { b: 1 }, more: 1 });
});

test("an item that has ended takes the one with it that it has replaced, and no later one", () => {
  const base = item(undefined, "a", 1000);
  const unsent = { base, from: undefined, tried: 0, current: item(base, "b", 2000, 2100) };
  const over = reconcile(unsent, base, LIMITS, 5000);
  assert.ok(typeof over !== "string" && over.expires === 0 && over.version > base.version);
  assert.equal(reconcile(unsent, item(base, "c", 2500), LIMITS, 5000), "drop");
  const deleted = { ...unsent, current: deletedMark(2000) };
  assert.ok(typeof reconcile(deleted, item(base, "c", 1500), LIMITS, 5000) !== "string");
  assert.equal(reconcile(deleted, item(base, "c", 2500), LIMITS, 5000), "drop");
});

test("without a change by others it is what is here, to the byte, however often it is told", () => {
  const base = patched(undefined, { a: 1 }, 1000);
  const local = patched(patched(base, { a: 2 }, 2000), { a: 3 }, 2001);
  for (const there of [base, undefined]) assert.equal(reconciled(base, local, there), local);
  assert.ok(reconciled(base, local, local).bytes.equals(local.bytes));
  // The store has taken a change that it had not answered to.
  const tried = patched(base, { a: 2 }, 1900);
  assert.equal(reconciled(base, local, tried, tried.version), local);
});

test("who knew nothing of what was there only adds to it", () => {
  const there = patched(undefined, { cart: { a: 1 } }, 1000);
  const local = patched(undefined, { cart: { a: 5, b: 1 } }, 2000);
  assert.deepEqual(reconciled(undefined, local, there).members, { cart: { a: 1, b: 1 } });
});

test("what was deleted or renewed stays so, and what was deleted elsewhere is not brought back", () => {
  const base = patched(undefined, { a: 1 }, 1000);
  const there = patched(base, { a: 2 }, 3000);
  const mark = movedSession(Buffer.alloc(16, 1), 2000, 4000);
  const result = reconciled(base, mark, there);
  assert.ok(result.movedTo !== undefined && result.version > there.version);
  assert.equal(reconcile({ base, from: undefined, tried: 0, current: there }, mark, LIMITS, 5000), "drop");
});
