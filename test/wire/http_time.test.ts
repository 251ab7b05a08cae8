import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHttpTime } from "../../src/wire/http_time.ts";

test("the three forms of an HTTP date", () => {
  for (const text of ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]) {
    assert.equal(parseHttpTime(text), 784111777, text);
  }
  assert.equal(parseHttpTime("Sun, 06 NOV 1994 08:49:37 GMT"), 784111777, "a month in capitals");
  assert.equal(parseHttpTime("Thu, 29 Feb 2024 00:00:00 GMT"), 1709164800);
  assert.equal(parseHttpTime("Monday, 01-Jan-69 00:00:00 GMT"), 3124224000, "two digits below 70 are this century's");
});

test("what is no date is -1", () => {
  const cases = [
    "",
    "now",
    "Sun, 06 Nov 1994",
    "Sun, 31 Feb 2024 00:00:00 GMT",
    "Thu, 29 Feb 2023 00:00:00 GMT",
    "Sun, 06 Nov 1994 24:00:00 GMT",
    "Sun, 06 Xxx 1994 08:49:37 GMT",
    "Sun, 00 Nov 1994 08:49:37 GMT",
  ];
  for (const text of cases) assert.equal(parseHttpTime(text), -1, text);
});
