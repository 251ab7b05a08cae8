import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { A, encodeQuery, parseAnswer } from "../../src/net/dns_message.ts";

/** An answer to a query for a.test with these bytes as its records. */
function answer(count: number, records: Buffer, flags = 0x8180): Buffer {
  const query = encodeQuery(7, "a.test", A) ?? Buffer.alloc(0);
  query.writeUInt16BE(flags, 2);
  query.writeUInt16BE(count, 6);
  return Buffer.concat([query, records]);
}

const record = (type: number, ttl: number, data: Buffer): Buffer => {
  const head = Buffer.from([0xc0, 0x0c, 0, type, 0, 1, 0, 0, 0, 0, 0, data.length]);
  head.writeInt32BE(ttl, 6);
  return Buffer.concat([head, data]);
};

test("addresses, the least lifetime, and the name of a CNAME", () => {
  const both = Buffer.concat([
    record(5, 30, Buffer.from("\x01B\xc0\x0e", "latin1")),
    record(1, 90, Buffer.from([10, 0, 0, 1])),
  ]);
  const parsed = parseAnswer(answer(2, both));
  assert.ok(typeof parsed !== "string");
  assert.deepEqual(
    [parsed.id, parsed.name, parsed.addresses, parsed.cname, parsed.ttl],
    [7, "a.test", ["10.0.0.1"], "b.test", 30],
  );
  const negative = parseAnswer(answer(1, record(1, -1, Buffer.from([10, 0, 0, 1]))));
  assert.ok(typeof negative !== "string" && negative.ttl === 0);
});

test("what is no answer is refused in nginx's words", () => {
  assert.match(String(parseAnswer(answer(1, Buffer.alloc(0), 0x0100))), /^invalid UDP DNS response 7 fl:0100$/);
  assert.equal(parseAnswer(answer(1, record(1, 1, Buffer.alloc(3)))), "invalid A record in DNS response");
  assert.equal(parseAnswer(answer(1, record(28, 1, Buffer.alloc(16)))), "unexpected AAAA record in DNS response");
  assert.equal(parseAnswer(answer(2, record(1, 1, Buffer.alloc(4)))), "short DNS response");
  const loop = record(5, 1, Buffer.from([0xc0, 36]));
  assert.equal(parseAnswer(answer(1, loop)), "compression pointers loop in DNS response");
});

test("names that cannot be asked for", () => {
  for (const name of ["", ".", "a..b", "a.", `${"x".repeat(64)}.test`, `${"x.".repeat(130)}test`]) {
    assert.equal(encodeQuery(0, name, A), undefined, name);
  }
});

test("hostile bytes are answered or refused, never thrown at", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(5), (tail, count) => {
      parseAnswer(Buffer.from(tail));
      parseAnswer(answer(count, Buffer.from(tail)));
    }),
    { numRuns: 3000 },
  );
});
