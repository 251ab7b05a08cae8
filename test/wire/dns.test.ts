import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { test } from "node:test";
import { readAlias } from "../../src/wire/dns.ts";
import { a, cname } from "../support/dns.ts";
import { answer, GOOD, QUESTION, target, UNUSABLE } from "./dns_messages.ts";

const read = (bytes: Buffer) => readAlias(bytes, QUESTION, "a.test");

test("the CNAME of the name is read, with pointers, in whatever case, among other records", () => {
  assert.deepEqual(read(answer([cname(60, "Real.Test")])), { target: "real.test", ttl: 60 });
  assert.deepEqual(read(answer([target(1, 98, 0xc0, 14)])), { target: "b.test", ttl: 60 });
  const otherOwner = cname(60, "b.test");
  otherOwner[1] = 14;
  assert.deepEqual(read(answer([otherOwner, a(1, "10.0.0.1"), cname(7, "c.test")])), { target: "c.test", ttl: 7 });
  assert.equal(read(answer([otherOwner])), "none");
  const shouted = answer([cname(60, "b.test")]);
  shouted[13] = 65;
  assert.deepEqual(read(shouted), { target: "b.test", ttl: 60 });
  const long = cname(60, "b.test");
  long[6] = 0x80;
  assert.deepEqual(read(answer([long])), { target: "b.test", ttl: 0 }, "RFC 2181 section 8");
  assert.deepEqual(read(answer([cname(60, "b.test")], 0x8380)), { target: "b.test", ttl: 60 }, "cut off after it");
});

test("an answer without the alias is told from a failure", () => {
  assert.equal(read(answer([])), "none");
  assert.equal(read(answer([], 0x8183)), "none");
  assert.equal(read(answer([], 0x8182)), "failed");
  assert.equal(read(answer([], 0x8185)), "failed");
});

for (const [kind, bytes] of Object.entries(UNUSABLE)) {
  test(`no answer: ${kind}`, () => assert.equal(read(bytes), undefined));
}

test("bytes of all kinds end nothing", () => {
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.concat([GOOD, randomBytes(randomInt(20))]);
    for (let n = randomInt(1, 6); n > 0; n--) bytes[randomInt(6, bytes.length)] = randomInt(256);
    read(bytes.subarray(0, randomInt(bytes.length)));
  }
});
