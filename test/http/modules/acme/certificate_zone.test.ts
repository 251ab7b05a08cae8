import assert from "node:assert/strict";
import { test } from "node:test";
import { ACME_ZONE, CertificateZone } from "../../../../src/http/modules/acme/certificate_zone.ts";
import { makeOrder } from "../../../../src/http/modules/acme/order.ts";
import { EMPTY_RECORD, readRecord, ServedCertificate, writeRecord } from "../../../../src/http/modules/acme/record.ts";
import { INVALID, renewWithin } from "../../../../src/http/modules/acme/schedule.ts";
import { makeZone } from "../../../../src/shm/zone.ts";
import { waitFor } from "../../../support/wait.ts";

function newZone(size = 16 * 4096): CertificateZone {
  return new CertificateZone(makeZone(ACME_ZONE, "test", size));
}

test("a text is written, changed in its place or elsewhere, and removed", () => {
  const zone = newZone();
  assert.equal(zone.read("a"), undefined);
  assert.ok(zone.write("a", "some text"));
  const first = zone.read("a");
  assert.equal(first?.text, "some text");
  assert.equal(zone.read("a", first.change), undefined, "it has not changed");
  assert.ok(zone.write("a", "shorter"));
  assert.equal(zone.read("a", first.change)?.text, "shorter");
  const long = "é".repeat(5000);
  assert.ok(zone.write("a", long));
  assert.equal(zone.read("a")?.text, long);
  zone.remove("a");
  assert.deepEqual(zone.keys(), []);
});

test("a zone that is full keeps what it has, until what is not wanted has gone", () => {
  const zone = newZone();
  const text = "x".repeat(4000);
  let count = 0;
  while (zone.write(`key ${count}`, text)) count++;
  assert.ok(count > 5, String(count));
  assert.ok(!zone.write("key 0", "x".repeat(40_000)));
  assert.equal(zone.read("key 0")?.text, text);
  zone.keep((key) => key === "key 1");
  assert.deepEqual(zone.keys(), ["key 1"]);
  assert.equal(zone.read("key 1")?.text, text);
  assert.ok(zone.write("another", text));
  const larger = newZone(64 * 4096);
  zone.copyTo(larger);
  assert.equal(larger.read("another")?.text, text);
});

test("workers see a certificate as soon as it is there, and then the next one", async () => {
  const zone = newZone();
  const order = makeOrder("example", [{ type: "dns", value: "example.test" }], { name: "ecdsa", bits: 256 });
  const served = new ServedCertificate(zone, order);
  assert.equal(served.chain, undefined);
  const valid = { start: 1, end: 2 };
  const certificate = (name: string) => ({ chain: `chain ${name}`, key: `key ${name}`, valid, window: valid });
  const record = { ...EMPTY_RECORD, schedule: renewWithin(valid), certificate: certificate("one") };
  writeRecord(zone, order, record);
  assert.deepEqual(readRecord(zone, order), record);
  await waitFor(() => served.chain === "data:chain one");
  assert.equal(served.key, "data:key one");
  writeRecord(zone, order, { ...record, certificate: certificate("two") });
  await waitFor(() => served.chain === "data:chain two");
  // What failed later leaves it.
  const refused = { ...record, schedule: INVALID, error: "refused \u2026", certificate: certificate("two") };
  writeRecord(zone, order, refused);
  assert.deepEqual(readRecord(zone, order), refused);
  assert.equal(served.chain, "data:chain two");
  writeRecord(zone, order, EMPTY_RECORD);
  assert.equal(readRecord(zone, order)?.certificate, undefined);
});
