import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { test } from "node:test";
import { encodeQuestion, readAnswer, TYPE_AAAA } from "../../src/wire/dns.ts";
import { a, cname } from "../support/dns.ts";
import { answer, GOOD, QUESTION, target, UNUSABLE } from "./dns_messages.ts";

const read = (bytes: Buffer) => readAnswer(bytes, QUESTION, "a.test");
/** The answer with its addresses as text. */
const facts = (bytes: Buffer) => {
  const found = read(bytes);
  return found && { ...found, addresses: found.addresses.map((address) => address.join(".")) };
};
const NOTHING = {
  code: 0,
  truncated: false,
  addresses: [],
  services: [],
  cname: undefined,
  ttl: Number.POSITIVE_INFINITY,
};
const alias = (name: string, ttl: number) => ({ ...NOTHING, cname: name, ttl });

test("the CNAME of the name is read, with pointers, in whatever case, among other records", () => {
  assert.deepEqual(facts(answer([cname(60, "Real.Test")])), alias("real.test", 60));
  assert.deepEqual(facts(answer([target(1, 98, 0xc0, 14)])), alias("b.test", 60));
  const otherOwner = cname(60, "b.test");
  otherOwner[1] = 14;
  assert.equal(read(answer([otherOwner, cname(7, "c.test")]))?.cname, "c.test");
  assert.equal(read(answer([otherOwner]))?.cname, undefined);
  const shouted = answer([cname(60, "b.test")]);
  shouted[13] = 65;
  assert.deepEqual(facts(shouted), alias("b.test", 60));
});

test("all addresses are read, with the least TTL of them and of the CNAMEs before them", () => {
  assert.deepEqual(facts(answer([a(9, "10.0.0.1"), a(8, "10.0.0.2")])), {
    ...NOTHING,
    addresses: ["10.0.0.1", "10.0.0.2"],
    ttl: 8,
  });
  const followed = a(60, "10.0.0.1");
  followed[1] = QUESTION.length + 12; // the target's name
  assert.deepEqual(facts(answer([cname(7, "b.test"), followed])), {
    ...NOTHING,
    addresses: ["10.0.0.1"],
    cname: "b.test",
    ttl: 7,
  });
  const otherClass = a(1, "10.0.0.1");
  otherClass[5] = 3;
  const otherType = a(1, "10.0.0.1");
  otherType[3] = 16;
  assert.deepEqual(facts(answer([otherClass, otherType])), NOTHING);
  const long = a(60, "10.0.0.1");
  long[6] = 0x80;
  assert.equal(read(answer([long]))?.ttl, 0, "RFC 2181 section 8");
  assert.equal(read(answer(Array.from({ length: 1000 }, () => a(1, "10.0.0.1"))))?.addresses.length, 256);
});

test("an address of type AAAA has 16 bytes", () => {
  const question = encodeQuestion("a.test", TYPE_AAAA);
  const record = (size: number) => {
    const bytes = Buffer.concat([a(5, "10.0.0.1").subarray(0, 12), Buffer.alloc(size, 1)]);
    bytes[3] = TYPE_AAAA;
    bytes[11] = size;
    const whole = Buffer.concat([question, bytes]);
    whole.writeUInt16BE(0x8180, 2);
    whole.writeUInt16BE(1, 6);
    return readAnswer(whole, question, "a.test")?.addresses;
  };
  assert.deepEqual(record(16), [Buffer.alloc(16, 1)]);
  for (const size of [0, 4, 15, 17]) assert.equal(record(size), undefined);
});

test("the response code is read", () => {
  for (const code of [0, 1, 5, 15]) assert.deepEqual(facts(answer([], 0x8180 | code)), { ...NOTHING, code });
});

test("of a truncated answer what is left is read", () => {
  assert.deepEqual(facts(answer([], 0x8380)), { ...NOTHING, truncated: true });
  const cut = answer([cname(60, "b.test"), a(5, "10.0.0.1")], 0x8380).subarray(0, -2);
  assert.deepEqual(facts(cut), { ...alias("b.test", 60), truncated: true });
});

for (const [kind, bytes] of Object.entries(UNUSABLE)) {
  test(`no answer: ${kind}`, () => assert.equal(read(bytes), undefined));
}

test("no answer: an address of another length", () => {
  const five = Buffer.concat([a(5, "10.0.0.1"), Buffer.alloc(1)]);
  five[11] = 5;
  assert.equal(read(answer([five])), undefined);
});

test("bytes of all kinds end nothing", () => {
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.concat([GOOD, randomBytes(randomInt(20))]);
    for (let n = randomInt(1, 6); n > 0; n--) bytes[randomInt(6, bytes.length)] = randomInt(256);
    read(bytes.subarray(0, randomInt(bytes.length)));
  }
});

test("a chain of pointers as long as a datagram costs little", () => {
  const PAIRS = 4000;
  const chain = Buffer.alloc(PAIRS * 2);
  for (let i = 1; i < PAIRS; i++) chain.writeUInt16BE(0xc000 | (QUESTION.length + 12 + (i - 1) * 2), i * 2);
  const first = Buffer.concat([a(5, "10.0.0.1").subarray(0, 12), chain]);
  first[3] = 16;
  first.writeUInt16BE(chain.length, 10);
  const last = cname(5, "b.test");
  last.writeUInt16BE(0xc000 | (QUESTION.length + 12 + (PAIRS - 1) * 2), 0);
  assert.deepEqual(facts(answer([first, last])), { ...NOTHING, ttl: 5 });
});
