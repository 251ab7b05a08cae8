import assert from "node:assert/strict";
import { test } from "node:test";
import { nextTimeOfDay, parseExpires } from "../../../../src/http/modules/headers/expires.ts";

test("forms of expires", () => {
  assert.deepEqual(parseExpires("epoch", false), { kind: "epoch" });
  assert.deepEqual(parseExpires("max", false), { kind: "max" });
  assert.deepEqual(parseExpires("off", false), { kind: "off" });
  assert.deepEqual(parseExpires("24h", false), { kind: "access", seconds: 86400 });
  assert.deepEqual(parseExpires("+1m", true), { kind: "modified", seconds: 60 });
  assert.deepEqual(parseExpires("-1", false), { kind: "access", seconds: -1 });
  assert.deepEqual(parseExpires("@15h30m", false), { kind: "daily", seconds: 55800 });
});

test("what nginx refuses has its sentence", () => {
  assert.equal(parseExpires("soon", false), "invalid value");
  assert.equal(parseExpires("", false), "invalid value");
  assert.equal(parseExpires("max", true), "invalid value");
  assert.equal(parseExpires("@1h", true), 'daily time cannot be used with "modified" parameter');
  assert.equal(parseExpires("@25h", false), "daily time value must be less than 24 hours");
});

test("a time of day that has passed is tomorrow's", () => {
  const noon = new Date(2026, 5, 15, 12, 0, 0).getTime() / 1000;
  assert.equal(nextTimeOfDay(13 * 3600, noon), noon + 3600);
  assert.equal(nextTimeOfDay(11 * 3600, noon), noon + 23 * 3600);
  assert.equal(nextTimeOfDay(12 * 3600, noon), noon + 24 * 3600, "this very second has passed");
});
