import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import {
  claimStaples,
  migrateStaples,
  STAPLE_ZONE,
  type Staple,
  stapleZoneBytes,
} from "../../../../src/net/tls/ocsp/staple_zone.ts";
import { makeZone } from "../../../../src/shm/zone.ts";
import { kill, startProcess } from "../../../support/sharing.ts";

const staple = (text: string): Staple => ({ response: Buffer.from(text), validUntil: 1e10, refreshAt: 1e9 });
const newZone = (responses: number) => makeZone(STAPLE_ZONE, "", stapleZoneBytes(responses));

test("what is written is read by all, and copied only once", () => {
  const zone = newZone(2);
  const [a, b] = claimStaples(zone, ["a", "b"], 1);
  const [ofWorker] = claimStaples(zone, ["a", "b"], 1);
  assert.equal(ofWorker.read(), undefined);
  a.write(staple("first"));
  const read = ofWorker.read();
  assert.deepEqual(read, staple("first"));
  assert.equal(ofWorker.read(), read);
  b.write(staple("of b"));
  assert.equal(ofWorker.read(), read);
  a.write({ ...staple("longer than before"), validUntil: Number.POSITIVE_INFINITY });
  assert.equal(ofWorker.read()?.response.toString(), "longer than before");
  assert.equal(ofWorker.read()?.validUntil, Number.POSITIVE_INFINITY);
  a.write(staple("x".repeat(16_384)));
  assert.equal(ofWorker.read()?.response.length, 16_384);
});

test("a configuration after another keeps what both ask for, wherever it is asked for", () => {
  const zone = newZone(4);
  for (const [i, slot] of claimStaples(zone, ["a", "b", "c", "d"], 1).entries()) slot.write(staple(String(i)));
  const old = claimStaples(zone, ["a", "b", "c", "d"], 1);
  const next = claimStaples(zone, ["e", "d", "f", "g"], 2);
  assert.deepEqual(
    next.map((slot) => slot.read()?.response.toString()),
    [undefined, "3", undefined, undefined],
  );
  next[0].write(staple("e"));
  // Connections that began under the old one go on.
  assert.deepEqual(
    old.map((slot) => slot.read()?.response.toString()),
    ["0", "1", "2", "3"],
  );
  // After many, nobody gets another certificate's response.
  for (let generation = 3; generation < 20; generation++) {
    const keys = ["d", ...[0, 1, 2].map((n) => `${generation}-${n}`)];
    const slots = claimStaples(zone, keys, generation);
    assert.equal(slots[0].read()?.response.toString(), "3");
    for (const slot of slots.slice(1)) {
      assert.equal(slot.read(), undefined);
      slot.write(staple("other"));
    }
  }
  assert.deepEqual(
    old.map((slot) => slot.read()?.response.toString()),
    [undefined, undefined, undefined, "3"],
  );
});

test("a zone of another size takes the responses over", () => {
  const zone = newZone(4);
  for (const slot of claimStaples(zone, ["a", "b", "c", "d"], 1)) slot.write(staple("kept"));
  const larger = newZone(40);
  migrateStaples(zone, larger);
  const [d, e] = claimStaples(larger, ["d", "e"], 2);
  assert.equal(d.read()?.response.toString(), "kept");
  assert.equal(e.read(), undefined);
});

/** How many checkers are killed. */
const KILLS = 5;

test("no reader ever has a mixture, nor after a writer was killed at any moment", async (t) => {
  const zone = newZone(1);
  const [slot] = claimStaples(zone, ["a"], 1);
  const whole = (): number => {
    const read = slot.read();
    if (read === undefined) return 0;
    const { response, validUntil, refreshAt } = read;
    assert.equal(response.length, validUntil);
    assert.ok(response.every((byte) => byte === refreshAt));
    return refreshAt;
  };
  for (let round = 0; round < KILLS; round++) {
    const writer = startProcess(t, new URL("./staple_writer_main.ts", import.meta.url), { zones: [zone] });
    await once(writer, "message");
    const seen = new Set<number>();
    for (let reads = 0; reads < 2000 || seen.size < 3; reads++) seen.add(whole());
    await kill(writer);
    whole();
  }
});
