import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ASK_FIRST,
  AT_ONCE,
  INVALID,
  notAtOnce,
  renewAsTold,
  renewalWindow,
  renewWithin,
  retryLater,
} from "../../../../src/http/modules/acme/schedule.ts";

const SECOND = 1000;
const DAY = 86_400 * SECOND;

/** In how many seconds. */
const until = (time: number) => (time - Date.now()) / SECOND;

function between(value: number, least: number, most: number): void {
  assert.ok(value >= least && value <= most, `${value} is not between ${least} and ${most}`);
}

test("a certificate is renewed when a third of its life is left, or half where that is short", () => {
  assert.deepEqual(renewalWindow({ start: 0, end: 90 * DAY }), { start: 58.2 * DAY, end: 61.8 * DAY });
  assert.deepEqual(renewalWindow({ start: 0, end: 6 * DAY }), { start: 2.88 * DAY, end: 3.12 * DAY });
  for (let i = 0; i < 100; i++) between(renewWithin({ start: 100, end: 200 }).next, 100, 200);
});

test("a failure is tried again after a minute, ten, a hundred, and then once a day", () => {
  let schedule = AT_ONCE;
  for (const seconds of [60, 600, 6000, 86_400, 86_400]) {
    schedule = retryLater(schedule, undefined);
    assert.equal(schedule.phase, "request");
    between(until(schedule.next), seconds * 0.979, seconds * 1.021);
  }
  assert.equal(schedule.fails, 5);
  assert.equal(retryLater(INVALID, undefined), INVALID);
});

test("the CA says when to renew, and when to ask again", () => {
  const far = { start: Date.now() + 30 * DAY, end: Date.now() + 31 * DAY };
  for (const [retryAfter, seconds] of [
    [6 * 3600 * SECOND, 6 * 3600],
    [undefined, 12 * 3600],
    [SECOND, 60],
    [30 * DAY, 86_400],
  ] as const) {
    const { phase, next } = renewAsTold(far, retryAfter);
    assert.equal(phase, "renewal info");
    between(until(next), seconds - 1, seconds + 1);
  }
  const soon = { start: Date.now() - 60 * SECOND, end: Date.now() + 60 * SECOND };
  assert.equal(renewAsTold(soon, 600 * SECOND).phase, "renewal");
  // One that cannot be asked is asked again, and at last the certificate is renewed.
  const asked = retryLater(ASK_FIRST, far);
  assert.equal(asked.phase, "renewal info");
  const late = retryLater({ ...ASK_FIRST, fails: 3 }, soon);
  assert.equal(late.phase, "renewal");
});

test("a certificate just issued is not replaced at once, whatever the clock or the CA says", () => {
  const past = renewWithin({ start: 0, end: 1 });
  between(until(notAtOnce(past, { start: 0, end: 90 * DAY }).next), 3599, 3601);
  between(until(notAtOnce(past, { start: 0, end: 40 * SECOND }).next), 9, 11);
  const later = renewWithin({ start: Date.now() + DAY, end: Date.now() + 2 * DAY });
  assert.deepEqual(notAtOnce(later, { start: Date.now(), end: Date.now() + 6 * DAY }), later);
});
