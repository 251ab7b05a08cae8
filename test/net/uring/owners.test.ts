/** Who has operations under way, and of which kinds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Owners } from "../../../src/net/uring/owners.ts";
import { KIND } from "../../../src/net/uring/ring.ts";

test("an owner is busy with the kinds that have begun and are not over, and with no other", () => {
  const owners = new Owners();
  const id = owners.add({ complete() {} });
  const kinds = Object.values(KIND);
  const busyWith = () => kinds.filter((kind) => owners.busyWith(id, kind));
  for (const kind of kinds) {
    for (let count = 0; count < 3; count++) owners.begin(id, kind);
    assert.deepEqual(busyWith(), [kind]);
    for (let count = 0; count < 3; count++) {
      assert.equal(owners.busy(id), true);
      owners.end(id, kind);
    }
    assert.deepEqual([owners.busy(id), busyWith()], [false, []]);
  }
  for (const kind of kinds) owners.begin(id, kind);
  assert.deepEqual(busyWith(), kinds);
  owners.end(id, KIND.receive);
  assert.deepEqual(busyWith(), kinds.slice(1));
});
