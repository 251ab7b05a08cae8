import assert from "node:assert/strict";
import { test } from "node:test";
import { OWN_BYTES, OWN_ZONE, OwnState } from "../../src/cluster/own_state.ts";
import { makeOwnZone } from "../../src/shm/zone.ts";

/** What the checkers of a node have in common. */

test("the newest checker speaks for its node; when it leaves, another one does at once", () => {
  const own = new OwnState(makeOwnZone(OWN_ZONE, "", OWN_BYTES));
  const [older, newer] = [1, 3];
  own.speak(older);
  assert.deepEqual([own.speaks(older), own.speaks(newer)], [true, false]);
  own.speak(newer);
  assert.deepEqual([own.speaks(older), own.speaks(newer)], [false, true]);
  own.hush(older);
  assert.equal(own.speaks(older), false, "who is silent leaves nothing");
  own.hush(newer);
  assert.deepEqual([own.speaks(older), own.speaks(newer)], [true, false]);
});
