import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import * as values from "../../src/config/values.ts";

type Cases = Readonly<Record<string, number | undefined>>;

function check(parse: (text: string) => number | undefined, cases: Cases): void {
  for (const [text, expected] of Object.entries(cases)) assert.equal(parse(text), expected, JSON.stringify(text));
}

test("numbers", () => {
  check(values.parseNumber, {
    "0": 0,
    "007": 7,
    "9007199254740993": 9007199254740992,
    "9223372036854775807": 2 ** 63,
    "9223372036854775808": undefined,
    "99999999999999999999": undefined,
    "": undefined,
    "-1": undefined,
    "+1": undefined,
    "1.5": undefined,
    "1k": undefined,
    " 1": undefined,
    "1\n": undefined,
    "0x10": undefined,
  });
});

test("sizes", () => {
  const cases: Cases = {
    "0": 0,
    "8k": 8192,
    "8K": 8192,
    "1m": 1 << 20,
    "1M": 1 << 20,
    "0k": 0,
    k: undefined,
    "1kk": undefined,
    "1b": undefined,
    "": undefined,
    "9007199254740991k": Number(9_007_199_254_740_991n * 1024n),
    "9007199254740992k": undefined,
  };
  check(values.parseSize, { ...cases, "1g": undefined });
  check(values.parseOffset, {
    ...cases,
    "3g": 3 * 2 ** 30,
    "3G": 3 * 2 ** 30,
    "8589934592g": undefined,
    g: undefined,
  });
});

test("times in milliseconds", () => {
  check(values.parseMsec, {
    "0": 0,
    "10": 10_000,
    "10s": 10_000,
    "10ms": 10,
    "1m": 60_000,
    "1h30m": 5_400_000,
    "1h 30m": 5_400_000,
    "1d2h3m4s5ms": 93_784_005,
    "1w": 604_800_000,
    "1m30": 90_000,
    "1s 500ms": 1500,
    "1500 ": 1_500_000,
    " 5": 5000,
    "1hm": 3_600_000,
    "1y": undefined,
    "1M": undefined,
    "1s1m": undefined,
    "1s1s": undefined,
    "1ms1s": undefined,
    "1s ms": 1000,
    "1ms ": 1,
    "1s 5": 6000,
    "1 5": 6000,
    "1 5s": undefined,
    "1s5 ": undefined,
    m: undefined,
    " ": undefined,
    "": undefined,
    "-1s": undefined,
    "1.5s": undefined,
    "1S": undefined,
    "9223372036854775s": 9223372036854775000,
    "9223372036854776s": undefined,
    "9223372036854775807ms": 2 ** 63,
    "9223372036854775807ms1": undefined,
    "99999999999999999999ms": undefined,
  });
});

test("times in seconds", () => {
  check(values.parseSec, {
    "10": 10,
    "10s": 10,
    "1M": 2_592_000,
    "1y": 31_536_000,
    "1y1M1w1d1h1m1s": 31_536_000 + 2_592_000 + 604_800 + 86_400 + 3600 + 60 + 1,
    "1M1y": undefined,
    "10ms": undefined,
    "1s10ms": undefined,
    "292471208677y": Number(292_471_208_677n * 31_536_000n),
    "292471208678y": undefined,
  });
});

describe("the short way and the long way agree", () => {
  test("on sizes", () => {
    fc.assert(
      fc.property(fc.nat({ max: 2 ** 31 - 1 }), fc.constantFrom("", "k", "m"), (count, unit) => {
        const padded = `${String(count).padStart(12, "0")}${unit}`;
        assert.equal(values.parseSize(padded), values.parseSize(`${count}${unit}`));
      }),
    );
  });

  test("on times", () => {
    fc.assert(
      fc.property(fc.nat({ max: 10 ** 9 - 1 }), fc.constantFrom("", "ms", "s", "m", "h", "d"), (count, unit) => {
        const padded = `${String(count).padStart(12, "0")}${unit}`;
        assert.equal(values.parseMsec(padded), values.parseMsec(`${count}${unit}`));
        assert.equal(values.parseSec(padded), values.parseSec(`${count}${unit}`));
      }),
    );
  });
});

test("what a size or a time is shown as reads back as the same", () => {
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 31 - 1 }), fc.constantFrom(1, 1000, 1024, 60_000, 2 ** 20), (count, scale) => {
      assert.equal(values.parseOffset(values.sizeText(count * scale)), count * scale);
      assert.equal(values.parseMsec(values.timeText(count * scale)), count * scale);
    }),
  );
  assert.equal(values.sizeText(8192), "8k");
  assert.equal(values.timeText(60_000), "60s");
});
