import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CHUNKED_DONE, ChunkedDecoder, DATA, ERROR, MORE } from "../../../src/wire/http1/chunked.ts";
import { HeaderList } from "../../../src/wire/http1/header_list.ts";
import { everySplit } from "../../support/splits.ts";

interface Decoded {
  code: number;
  body: string;
  /** Bytes of the framing consumed, once over. */
  consumed: number;
  trailers: string[];
}

function decode(bytes: Buffer, cuts: readonly number[], limit?: number): Decoded {
  const decoder = new ChunkedDecoder();
  const trailers = new HeaderList();
  decoder.reset(trailers, limit);
  let body = "";
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    const lent = Buffer.concat([Buffer.from("5\r\n"), bytes.subarray(from, to), Buffer.from("5\r\n")]);
    const end = 3 + to - from;
    let at = 3;
    for (;;) {
      const code = decoder.next(lent, at, end);
      if (code === DATA) {
        assert.ok(decoder.dataStart >= at && decoder.dataEnd > decoder.dataStart && decoder.dataEnd <= end);
        body += lent.toString("latin1", decoder.dataStart, decoder.dataEnd);
        at = decoder.pos;
        if (at < end) continue;
        break;
      }
      if (code === MORE) break;
      const consumed = code === CHUNKED_DONE ? from + decoder.pos - 3 : -1;
      const names = Array.from({ length: trailers.count }, (_, i) => `${trailers.key(i)}=${trailers.value(i)}`);
      return { code, body, consumed, trailers: names };
    }
    lent.fill("f");
    from = to;
  }
  return { code: MORE, body, consumed: -1, trailers: [] };
}

const BODIES: readonly [string, number, string?, string[]?][] = [
  ["5\r\nhello\r\n0\r\n\r\n", CHUNKED_DONE, "hello"],
  ["5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\nGET /", CHUNKED_DONE, "hello world"],
  ["0a\r\n0123456789\r\n000\r\n\r\n", CHUNKED_DONE, "0123456789"],
  ['A ; x="y"\r\n0123456789\r\n0;last\r\n\r\n', CHUNKED_DONE, "0123456789"],
  ["0\r\nA: b\r\nC:d\r\n\r\nrest", CHUNKED_DONE, "", ["a=b", "c=d"]],
  ["3\r\n\r\n0\r\n0\r\n\r\n", CHUNKED_DONE, "\r\n0"],
  ["", MORE],
  ["5", MORE],
  ["5\r\nhel", MORE, "hel"],
  ["5\r\nhello\r\n0\r\n", MORE, "hello"],
  ["\r\n", ERROR],
  ["g\r\n", ERROR],
  ["-5\r\nhello", ERROR],
  ["+5\r\nhello", ERROR],
  [" 5\r\nhello", ERROR],
  ["0x5\r\nhello", ERROR],
  ["5\nhello", ERROR],
  ["5\rhello", ERROR],
  ["5\r\r\nhello", ERROR],
  ["5;a\nhello", ERROR],
  ["5;a\0\r\nhello", ERROR],
  ["5\r\nhello!\r\n", ERROR, "hello"],
  ["5\r\nhello\n0\r\n\r\n", ERROR, "hello"],
  ["5\r\nhello\r0\r\n\r\n", ERROR, "hello"],
  ["5\r\nhello0\r\n\r\n", ERROR, "hello"],
  ["fffffffffffffffff\r\n", ERROR],
  ["10000000000000000\r\n", ERROR],
  ["20000000000000\r\n", ERROR],
  [`${"0".repeat(5000)}1\r\n`, ERROR],
  [`1;${"x".repeat(5000)}\r\n`, ERROR],
  ["0\r\n\n", ERROR],
  ["0\r\nA: b\n\r\n", ERROR],
  ["0\r\nA: b\r\r\n", ERROR],
  ["0\r\n\rX", ERROR],
  ["0\r\nA b: c\r\n\r\n", ERROR],
  ["0\r\n: c\r\n\r\n", ERROR],
];

test("bodies good and bad, in whatever pieces they come", () => {
  for (const [text, code, body = "", trailers = []] of BODIES) {
    const bytes = Buffer.from(text, "latin1");
    const whole = decode(bytes, []);
    assert.deepEqual([whole.code, whole.body, whole.trailers], [code, body, trailers], JSON.stringify(text));
    if (bytes.length > 4000) continue;
    for (const cuts of everySplit(bytes)) {
      const pieces = decode(bytes, cuts);
      assert.deepEqual(pieces, whole, `${JSON.stringify(text)} cut at ${cuts}`);
    }
  }
});

test("what follows the body stays where it is, and an empty rest is no error", () => {
  const decoder = new ChunkedDecoder();
  decoder.reset();
  const bytes = Buffer.from("0\r\n\r\nGET / HTTP/1.1\r\n");
  assert.equal(decoder.next(bytes, 0, bytes.length), CHUNKED_DONE);
  assert.equal(decoder.pos, 5);
  assert.equal(decoder.over, true);
  assert.equal(decoder.next(bytes, 5, bytes.length), CHUNKED_DONE);
  assert.equal(decoder.pos, 5);
});

test("the chunks of one read come out as one range, and what follows it is left alone", () => {
  const data = Buffer.from(Array.from({ length: 10_000 }, (_, i) => i % 251));
  for (const size of [1, 2, 15, 16, 33, 300]) {
    const framed: Buffer[] = [];
    for (let at = 0; at < data.length; at += size) {
      const chunk = data.subarray(at, at + size);
      framed.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from("\r\n"));
    }
    const rest = "0\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    const bytes = Buffer.concat([...framed, Buffer.from(rest)]);
    const decoder = new ChunkedDecoder();
    decoder.reset();
    assert.equal(decoder.next(bytes, 0, bytes.length), DATA);
    assert.ok(bytes.subarray(decoder.dataStart, decoder.dataEnd).equals(data), `chunks of ${size}`);
    const at = decoder.pos;
    assert.equal(bytes.toString("latin1", at), rest.slice("0\r\n".length), `chunks of ${size}`);
    assert.equal(decoder.next(bytes, at, bytes.length), CHUNKED_DONE);
    assert.equal(bytes.toString("latin1", decoder.pos), "GET / HTTP/1.1\r\n\r\n");
  }
});

test("the data of a single chunk stays where it is", () => {
  const text = "400\r\n".concat("x".repeat(1024), "\r\n");
  const bytes = Buffer.from(text);
  const decoder = new ChunkedDecoder();
  decoder.reset();
  assert.equal(decoder.next(bytes, 0, bytes.length), DATA);
  assert.deepEqual([decoder.dataStart, decoder.dataEnd, decoder.pos], [5, 1029, 1031]);
  assert.equal(bytes.toString("latin1"), text);
});

test("a range ends with the chunk that does not fit into the room there is", () => {
  const bytes = Buffer.from("6\r\nabcdef\r\n10\r\n0123456789abcdef\r\n3\r\nxyz\r\n");
  const decoder = new ChunkedDecoder();
  for (const end of [bytes.length, bytes.indexOf("0123") + 1]) {
    const lent = Buffer.from(bytes);
    decoder.reset();
    assert.equal(decoder.next(lent, 0, end, 21), DATA);
    assert.deepEqual([decoder.chunkStart - decoder.dataStart, decoder.chunkSize], [6, 16]);
    assert.ok(decoder.pos <= bytes.indexOf("xyz"));
  }
  decoder.reset();
  assert.equal(decoder.next(bytes, 0, bytes.length, 25), DATA);
  assert.equal(decoder.dataEnd - decoder.dataStart, 25);
});

test("an error stays one", () => {
  const decoder = new ChunkedDecoder();
  decoder.reset();
  const bytes = Buffer.from("x0\r\n\r\n");
  assert.equal(decoder.next(bytes, 0, bytes.length), ERROR);
  assert.equal(decoder.next(bytes, 1, bytes.length), ERROR);
});

test("trailers are bounded", () => {
  const bytes = Buffer.from(`0\r\nA: ${"b".repeat(100)}\r\n\r\n`);
  assert.equal(decode(bytes, [], bytes.length - 3).code, CHUNKED_DONE);
  assert.equal(decode(bytes, [], bytes.length - 4).code, ERROR);
});

test("any chunks come out as they went in", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 8 }),
      fc.array(fc.nat(300), { maxLength: 6 }),
      (chunks, places) => {
        const text = (chunk: Uint8Array) => Buffer.from(chunk).toString("latin1");
        const framed = chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${text(chunk)}\r\n`).join("");
        const bytes = Buffer.from(`${framed}0\r\n\r\n`, "latin1");
        const cuts = [...new Set(places)].filter((at) => at > 0 && at < bytes.length).sort((a, b) => a - b);
        const { code, body, consumed } = decode(bytes, cuts);
        assert.deepEqual([code, body, consumed], [CHUNKED_DONE, chunks.map(text).join(""), bytes.length]);
      },
    ),
  );
});

test("any bytes: ends and throws nothing", () => {
  const token = fc.constantFrom(..."0|1|5|a|f|\r\n|\r|\n|;|x|hello| |A: b|\0".split("|"));
  fc.assert(
    fc.property(fc.array(token, { maxLength: 30 }), fc.array(fc.nat(60), { maxLength: 4 }), (tokens, places) => {
      const bytes = Buffer.from(tokens.join(""), "latin1");
      const cuts = [...new Set(places)].filter((at) => at > 0 && at < bytes.length).sort((a, b) => a - b);
      assert.deepEqual(decode(bytes, cuts), decode(bytes, []));
    }),
    { numRuns: 3000 },
  );
});
