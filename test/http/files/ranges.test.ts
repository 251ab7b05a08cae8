import assert from "node:assert/strict";
import { test } from "node:test";
import { multipartPlan, parseRanges } from "../../../src/http/files/ranges.ts";

const parse = (text: string, length = 100, max = Number.MAX_SAFE_INTEGER) =>
  parseRanges(text, length, max, max !== Number.MAX_SAFE_INTEGER);

test("ranges are read as nginx reads them", () => {
  const cases: [text: string, expected: ReturnType<typeof parse>][] = [
    ["0-9", [{ start: 0, end: 10 }]],
    ["90-", [{ start: 90, end: 100 }]],
    ["-10", [{ start: 90, end: 100 }]],
    ["-200", [{ start: 0, end: 100 }]],
    ["90-1000", [{ start: 90, end: 100 }]],
    [" 0 - 9 ", [{ start: 0, end: 10 }]],
    [
      "0-0,-1",
      [
        { start: 0, end: 1 },
        { start: 99, end: 100 },
      ],
    ],
    ["200-,0-0", [{ start: 0, end: 1 }]],
    ["100-", "unsatisfiable"],
    ["-0", "unsatisfiable"],
    ["9-0", "unsatisfiable"],
    ["", "unsatisfiable"],
    ["x", "unsatisfiable"],
    ["1", "unsatisfiable"],
    ["1-2-3", "unsatisfiable"],
    ["1-2,", "unsatisfiable"],
    ["99999999999999999999-", "unsatisfiable"],
    ["0-99999999999999999999", "unsatisfiable"],
  ];
  for (const [text, expected] of cases) assert.deepEqual(parse(text), expected, `bytes=${text}`);
});

test("ranges that would cost more than the whole body are passed over", () => {
  assert.equal(parse("0-60,0-60"), "whole", "together longer than the body");
  assert.equal(parse(Array.from({ length: 20 }, (_, i) => `${i}-${i}`).join(",")), "whole", "too much overhead");
  assert.equal(parse("0-1,2-3,4-5", 100, 2), "whole", "more than max_ranges");
  assert.equal(parse("0-,-1", 0), "whole", "an empty body");
});

test("a multipart plan says how long its body is", () => {
  const ranges = [
    { start: 0, end: 5 },
    { start: 50, end: 52 },
  ];
  const { plan, length, boundary } = multipartPlan(ranges, 100, "text/plain; charset=utf-8");
  const body = plan.parts.map(({ head, start, end }) => head + "x".repeat(end - start)).join("") + plan.tail;
  assert.equal(body.length, length);
  assert.match(body, new RegExp(`^\r\n--${boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n`));
  assert.match(body, /Content-Range: bytes 50-51\/100\r\n\r\nxx\r\n--\d+--\r\n$/);
});
