import assert from "node:assert/strict";
import { test } from "node:test";
import { errorTime, httpDate, httpDateOf, iso8601, logTime, syslogTime } from "../../src/sys/clock.ts";

test("every form of the time has its format", () => {
  assert.equal(httpDateOf(784111777000), "Sun, 06 Nov 1994 08:49:37 GMT");
  assert.match(httpDate(), /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/);
  assert.match(logTime(), /^\d\d\/\w{3}\/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}$/);
  assert.match(iso8601(), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d$/);
  assert.match(errorTime(), /^\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d$/);
  assert.match(syslogTime(), /^\w{3} [ \d]\d \d\d:\d\d:\d\d$/);
});

test("the text follows the clock forwards and backwards", (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 1_000_000_000_500 });
  assert.equal(httpDate(), "Sun, 09 Sep 2001 01:46:40 GMT");
  t.mock.timers.setTime(1_000_000_000_999);
  assert.equal(httpDate(), "Sun, 09 Sep 2001 01:46:40 GMT");
  t.mock.timers.setTime(1_000_000_001_000);
  assert.equal(httpDate(), "Sun, 09 Sep 2001 01:46:41 GMT");
  t.mock.timers.setTime(999_999_999_000);
  assert.equal(httpDate(), "Sun, 09 Sep 2001 01:46:39 GMT");
});
