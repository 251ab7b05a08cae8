/** What a server of HTTP/2 may send besides answers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BYTES_OF_FRAME, FrameLimits } from "../../../src/http/upstream/h2/frame_limits.ts";

test("PING may come for days, but not at full rate", (t) => {
  let time = 1_000_000;
  t.mock.method(performance, "now", () => time);
  const limits = new FrameLimits();
  for (let hours = 0; hours < 48; hours++) {
    for (let pings = 0; pings < 360; pings++, time += 10_000) assert.ok(limits.allow(1, 0));
  }
  let flood = 0;
  while (limits.allow(1, 0)) flood++;
  assert.ok(flood <= 2000, `${flood}`);
});

test("what was sent is a reason for more, once", () => {
  const limits = new FrameLimits();
  const count = (requested: number): number => {
    let allowed = 0;
    while (limits.allow(1, requested)) allowed++;
    return allowed;
  };
  const mebibyte = 64 * (16_384 + BYTES_OF_FRAME);
  assert.ok(count(mebibyte) >= 1000 + 8192);
  assert.ok(count(mebibyte) <= 1000);
});

test("an answer in between lets it begin anew", () => {
  const limits = new FrameLimits();
  for (let i = 0; i < 10_000; i++) {
    if (i % 900 === 0) limits.useful();
    assert.ok(limits.allow(1, 0));
  }
});

test("data for streams that are given up may come as far as their windows went", () => {
  const limits = new FrameLimits();
  limits.expectLate(1000);
  assert.ok(limits.takeLate(600));
  limits.expectLate(100);
  assert.ok(limits.takeLate(500));
  assert.equal(limits.takeLate(1), false);
});
