import assert from "node:assert/strict";
import { test } from "node:test";
import { OCSP_CACHE, StatusCache } from "../../../../src/net/tls/ocsp/status_cache.ts";
import { makeZone } from "../../../../src/shm/zone.ts";

const key = (number: number) => String(number).padEnd(60, "\xff");

test("a status is found in every process that has the zone, for as long as it says", (t) => {
  let now = 1_000_000;
  t.mock.method(Date, "now", () => now * 1000);
  const zone = makeZone(OCSP_CACHE, "OCSP", 32_768);
  const [one, other] = [new StatusCache(zone), new StatusCache(zone)];
  assert.ok(one.store(key(1), { status: 0, validUntil: now + 100 }));
  assert.ok(one.store(key(2), { status: 1, validUntil: Number.POSITIVE_INFINITY }));
  assert.ok(one.store(key(3), { status: 2, validUntil: now - 1 }));
  assert.deepEqual(
    [1, 2, 3, 4].map((number) => other.find(key(number))),
    [0, 1, undefined, undefined],
  );
  assert.ok(other.store(key(1), { status: 1, validUntil: now + 200 }));
  assert.equal(one.find(key(1)), 1);
  now += 200;
  assert.equal(one.find(key(1)), undefined);
  now += 3400;
  assert.equal(one.find(key(2)), undefined);
});

test("the status longest out of use makes room", () => {
  const cache = new StatusCache(makeZone(OCSP_CACHE, "OCSP", 32_768));
  const until = Math.floor(Date.now() / 1000) + 1000;
  for (let number = 0; number < 2000; number++) {
    assert.ok(cache.store(key(number), { status: 0, validUntil: until }));
    assert.equal(cache.find(key(0)), 0);
  }
  assert.equal(cache.find(key(1)), undefined);
  assert.equal(cache.find(key(1999)), 0);
});
