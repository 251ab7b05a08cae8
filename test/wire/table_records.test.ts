import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeRecords, decodeStored, encodeRecords, type TableRecord } from "../../src/wire/table_records.ts";

/** Records of tables that nodes share, as bytes from elsewhere. */

/** By how much another node's clock may be ahead. */
const MOST_AHEAD = 3_600_000;
const NOW = 1_764_000_000_000;
const RECORDS: readonly TableRecord[] = [
  { key: "a", value: "value", ends: NOW + 1000, stamp: NOW + 0.25 },
  { key: "\x00\xff", value: "", ends: NOW + 1, stamp: NOW - 5 },
  { key: "gone", value: undefined, ends: NOW + 60_000, stamp: NOW },
];

test("records come back as they were, with their lives counted from when they came", () => {
  assert.deepEqual(decodeRecords(encodeRecords(RECORDS, NOW), NOW), RECORDS);
  const later = decodeRecords(encodeRecords(RECORDS, NOW), NOW + 7);
  assert.deepEqual(
    later?.map(({ ends }) => ends),
    RECORDS.map(({ ends }) => ends + 7),
  );
});

test("what is cut, altered or of another version is none, and nothing throws", () => {
  const whole = encodeRecords(RECORDS, NOW);
  for (let end = 0; end < whole.length; end++) {
    const cut = decodeRecords(whole.subarray(0, end), NOW);
    assert.ok(cut === undefined || cut.length < RECORDS.length);
  }
  for (let at = 0; at < whole.length; at++) {
    for (const byte of [0, 1, 0x7f, 0x80, 0xff]) {
      const altered = Buffer.from(whole);
      altered[at] = byte;
      for (const { key, value = "", ends, stamp } of decodeRecords(altered, NOW) ?? []) {
        assert.ok(key.length > 0 && key.length + value.length < whole.length);
        assert.ok(ends >= NOW && Number.isFinite(ends) && stamp > 0 && stamp <= NOW + MOST_AHEAD);
      }
      decodeStored(altered, NOW, NOW);
    }
  }
  assert.equal(decodeRecords(Buffer.concat([Buffer.from([2]), whole.subarray(1)]), NOW), undefined);
  assert.equal(decodeRecords(Buffer.alloc(0), NOW), undefined);
});

test("stamps far ahead, and lives without an end, are refused", () => {
  const [record] = RECORDS;
  for (const stamp of [NOW + MOST_AHEAD + 1, Number.NaN, Number.POSITIVE_INFINITY, 0, -1]) {
    assert.equal(decodeRecords(encodeRecords([{ ...record, stamp }], NOW), NOW), undefined, String(stamp));
  }
  const endless = encodeRecords([record], NOW);
  endless.writeDoubleLE(Number.POSITIVE_INFINITY, 10);
  assert.equal(decodeRecords(endless, NOW), undefined);
});

test("a record out of the store ends when the store's clock says so", () => {
  const clock = NOW - 3_600_000;
  const stored = Buffer.concat([Buffer.alloc(8), encodeRecords([RECORDS[0]], NOW)]);
  stored.writeDoubleLE(clock + 500, 0);
  assert.deepEqual(decodeStored(stored, clock, NOW), { ...RECORDS[0], ends: NOW + 500 });
  assert.equal(decodeStored(stored, clock + 500, NOW), undefined);
  stored.writeDoubleLE(Number.NaN, 0);
  assert.equal(decodeStored(stored, clock, NOW), undefined);
  assert.equal(decodeStored(stored.subarray(0, 20), clock, NOW), undefined);
});
