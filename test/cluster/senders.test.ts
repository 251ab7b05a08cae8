/** What is known of who publishes on the channel of a group's store. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Senders } from "../../src/cluster/sync/senders.ts";

const RUN = 7n;

test("a batch is late by how much longer it took than others, whatever the clocks say", () => {
  for (const apart of [0, 86_400_000, -86_400_000]) {
    const senders = new Senders();
    assert.deepEqual(senders.came("a", RUN, 1, apart + 5, 0), { isNew: true, missed: 0, late: 0 });
    assert.deepEqual(senders.came("a", RUN, 2, apart + 3, 100), { isNew: false, missed: 0, late: 0 });
    const came = senders.came("a", RUN, 3, apart + 2003, 2100);
    assert.ok(came !== "repeated" && came.late > 1990 && came.late <= 2000);
  }
});

test("what was held back is late also when its sender has been silent meanwhile", () => {
  const senders = new Senders();
  senders.came("a", RUN, 1, 5, 0);
  assert.deepEqual(senders.silent(3000), []);
  assert.deepEqual(senders.silent(4000), ["a"]);
  assert.deepEqual(senders.silent(5000), []);
  const came = senders.came("a", RUN, 2, 9005, 9000);
  assert.ok(came !== "repeated" && came.isNew && came.late > 8990);
});

test("batches that did not come are counted, and those that come again are told", () => {
  const senders = new Senders();
  senders.came("a", RUN, 1, 0, 0);
  assert.deepEqual(senders.came("a", RUN, 5, 0, 1), { isNew: false, missed: 3, late: 0 });
  assert.equal(senders.came("a", RUN, 5, 0, 2), "repeated");
  assert.equal(senders.came("a", RUN, 2, 0, 2), "repeated");
  assert.deepEqual(senders.came("a", 8n, 1, 0, 3), { isNew: true, missed: 0, late: 0 });
  // One run of the node goes on.
  senders.came("a", 8n, 2, 0, 3000);
  assert.deepEqual(senders.silent(4000), []);
});
