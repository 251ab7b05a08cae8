/** Header blocks: the examples of RFC 7541, and what must not go through. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HpackDecoder } from "../../../src/wire/h2/hpack_decoder.ts";
import { encodeField } from "../../../src/wire/h2/hpack_encoder.ts";

const LIMITS = { field: 8192, all: 32768 };

function block(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(/\s/g, ""), "hex");
}

/** A field to be kept in the table: as the encoder writes one, with the other pattern. */
function added(name: string, value: string): Buffer {
  const bytes = Buffer.from(encodeField(name, value), "latin1");
  assert.equal(bytes[0], 0);
  bytes[0] = 0x40;
  return bytes;
}

/** The lines of a block, or what is wrong with it. */
function decode(decoder: HpackDecoder, bytes: Buffer, limits = LIMITS): string[] | string {
  const error = decoder.decode(bytes, limits);
  if (error !== undefined) return error.what;
  return decoder.lines.toString("latin1", 0, decoder.length).split("\r\n").slice(0, -1);
}

test("requests of RFC 7541 C.3 and C.4, without and with Huffman's code, over one connection each", () => {
  const expected = [
    [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
    [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"],
    [":method: GET", ":scheme: https", ":path: /index.html", ":authority: www.example.com", "custom-key: custom-value"],
  ];
  const plain = [
    "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
    "8286 84be 5808 6e6f 2d63 6163 6865",
    "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
  ];
  const coded = [
    "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
    "8286 84be 5886 a8eb 1064 9cbf",
    "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
  ];
  for (const blocks of [plain, coded]) {
    const decoder = new HpackDecoder();
    assert.deepEqual(
      blocks.map((hex) => decode(decoder, block(hex))),
      expected,
    );
  }
});

test("entries leave the dynamic table as new ones come, and when the client makes it smaller", () => {
  const decoder = new HpackDecoder();
  assert.deepEqual(decode(decoder, added("first", "1")), ["first: 1"]);
  assert.deepEqual(decode(decoder, Buffer.from([0xbe])), ["first: 1"]);
  const large = "x".repeat(4050);
  assert.deepEqual(decode(decoder, added("second", large)), [`second: ${large}`]);
  assert.deepEqual(decode(decoder, Buffer.from([0xbe])), [`second: ${large}`]);
  assert.equal(decode(decoder, Buffer.from([0xbf])), "no such index");
  const smaller = new HpackDecoder();
  decode(smaller, added("first", "1"));
  assert.deepEqual(decode(smaller, Buffer.from([0x20, 0x82])), [":method: GET"]);
  assert.equal(decode(smaller, Buffer.from([0xbe])), "no such index");
});

test("what is no header block is refused", () => {
  const cases: readonly (readonly [hex: string, sentence: string])[] = [
    ["80", "no such index"],
    ["ff00", "no such index"],
    ["ffffffffffff", "long index"],
    ["3fe21f", "bad size"],
    ["8220", "bad size"],
    ["4000", "no name"],
    ["4001", "end within a string"],
    ["40016105", "end within a string"],
    ["400161810a", "bad code"],
    ["4001617fffff00", "large field"],
    ["4001617fffffff00", "long length"],
  ];
  for (const [hex, sentence] of cases) assert.equal(decode(new HpackDecoder(), block(hex)), sentence, hex);
  const bomb = Buffer.alloc(20, 0xbe);
  const decoder = new HpackDecoder();
  decode(decoder, added("a", "x".repeat(3000)));
  assert.equal(decode(decoder, bomb), "large head");
});

test("what the encoder writes is what the decoder reads", () => {
  const text = fc.string({
    unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
    maxLength: 300,
  });
  const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,200}$/);
  fc.assert(
    fc.property(fc.array(fc.tuple(name, text), { maxLength: 20 }), (fields) => {
      const bytes = Buffer.from(fields.map(([key, value]) => encodeField(key, value)).join(""), "latin1");
      assert.deepEqual(
        decode(new HpackDecoder(), bytes),
        fields.map(([key, value]) => `${key}: ${value}`),
      );
    }),
  );
});

test("strings are in Huffman's code where that is shorter, as RFC 7541 C.4 and C.6 have them", () => {
  assert.equal(
    Buffer.from(encodeField(":authority", "www.example.com"), "latin1").toString("hex"),
    "018cf1e3c2e5f23a6ba0ab90f4ff",
  );
  assert.equal(Buffer.from(encodeField("cache-control", "private"), "latin1").toString("hex"), "0f0985aec3771a4b");
  assert.equal(encodeField("x", "{|}~"), "\0\x01x\x04{|}~");
});

test("any bytes are fields or an error, in bounded memory", () => {
  const decoder = new HpackDecoder();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const result = decode(decoder, Buffer.from(bytes), { field: 100, all: 1000 });
      if (typeof result !== "string") assert.ok(result.join("").length <= 1000 + 2 * result.length);
    }),
    { numRuns: 20_000 },
  );
});
