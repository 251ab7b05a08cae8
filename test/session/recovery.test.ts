import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openEnvironment } from "../../src/session/zone/environment.ts";
import { Records } from "../../src/session/zone/records.ts";
import { leaveZone, prepareZone, takeSnapshot } from "../../src/session/zone/recovery.ts";

/** What a zone goes on from when the system went down. */

test("a snapshot has all that was written, and takes the database's place only after the system went down", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-recovery-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const records = (at: string): Records =>
    new Records(openEnvironment(at, 1 << 20, false), 1 << 20, { endOf: () => undefined, onEvicted() {} });
  assert.equal(prepareZone(directory), undefined);
  const written = records(directory);
  written.write(() => written.put("session", Buffer.from("a"), Buffer.from("one"), 1000, undefined));
  await takeSnapshot(directory, written);
  assert.deepEqual(readdirSync(directory).sort(), ["data.mdb", "lock.mdb", "open.lock", "snapshot.mdb", "state"]);

  // Another start of the program, whose master has died or has ended well.
  assert.equal(prepareZone(directory), undefined);
  leaveZone(directory);
  assert.match(readFileSync(join(directory, "state"), "utf8"), / clean\n$/);
  writeFileSync(join(directory, "state"), "another clean\n");
  assert.equal(prepareZone(directory), undefined);

  writeFileSync(join(directory, "state"), "another 17\n");
  assert.match(prepareZone(directory) ?? "", /the zone goes on from its last snapshot$/);
  assert.deepEqual(readdirSync(directory).sort(), ["data.mdb", "data.mdb.old", "lock.mdb.old", "open.lock", "state"]);
  const copy = mkdtempSync(join(tmpdir(), "holdfast-recovery-"));
  t.after(() => rmSync(copy, { recursive: true }));
  writeFileSync(join(copy, "data.mdb"), readFileSync(join(directory, "data.mdb")));
  assert.equal(records(copy).get("session", Buffer.from("a"))?.toString(), "one");
});

test("who leaves a zone that another master has taken over does not call it clean", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-recovery-"));
  t.after(() => rmSync(directory, { recursive: true }));
  prepareZone(directory);
  const note = readFileSync(join(directory, "state"), "utf8").replace(/\d+\n$/, "1\n");
  writeFileSync(join(directory, "state"), note);
  leaveZone(directory);
  assert.equal(readFileSync(join(directory, "state"), "utf8"), note);
});
