/** Frames of the cluster's protocol: bytes in any pieces, and bytes that are none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { commonVersion, encodeFrame, type Frame, FrameReader, type ReceivedFrame } from "../../src/wire/cluster.ts";
import { everySplit } from "../support/splits.ts";

const SIGNATURE = Buffer.alloc(32, 7);
const sign = (): Buffer => SIGNATURE;

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const frame: fc.Arbitrary<Frame> = fc.record({
  version: fc.nat({ max: 255 }),
  oldest: fc.nat({ max: 255 }),
  newest: fc.nat({ max: 255 }),
  kind: fc.nat({ max: 255 }),
  run: u64,
  number: u64,
  time: fc.maxSafeNat(),
  echoRun: u64,
  echoNumber: u64,
  body: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
});

function fieldsOf({ body, signed: _signed, signature, ...rest }: ReceivedFrame) {
  assert.deepEqual(signature, SIGNATURE);
  return { ...rest, body: body.toString("hex") };
}

/** Reads bytes in pieces that are lent: each is overwritten after the call. */
function readPieces(bytes: Buffer, cuts: readonly number[], reader = new FrameReader()): ReceivedFrame[] {
  const frames: ReceivedFrame[] = [];
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    const lent = Buffer.from(bytes.subarray(from, to));
    frames.push(...reader.read(lent));
    lent.fill(0xee);
    from = to;
  }
  return frames;
}

test("frames are read as they were written, in whatever pieces they come", () => {
  fc.assert(
    fc.property(
      fc.array(frame, { minLength: 1, maxLength: 4 }),
      fc.array(fc.nat(), { maxLength: 200 }),
      (all, cuts) => {
        const bytes = Buffer.concat(all.map((one) => encodeFrame(one, sign)));
        const places = [...new Set(cuts.map((cut) => cut % bytes.length))].sort((a, b) => a - b);
        const read = readPieces(bytes, places).map(fieldsOf);
        assert.deepEqual(
          read,
          all.map(({ body, ...rest }) => ({ ...rest, body: body.toString("hex") })),
        );
      },
    ),
  );
});

test("two frames, split everywhere and byte by byte", () => {
  const head = { version: 1, oldest: 1, newest: 1, kind: 1, run: 1n, number: 2n, time: 3, echoRun: 4n, echoNumber: 5n };
  const bodies = ["", "some body"];
  const bytes = Buffer.concat(bodies.map((body) => encodeFrame({ ...head, body: Buffer.from(body) }, sign)));
  for (const cuts of everySplit(bytes)) {
    const reader = new FrameReader();
    const frames = readPieces(bytes, cuts, reader);
    assert.deepEqual(
      frames.map(({ body }) => body.toString()),
      bodies,
    );
    assert.deepEqual([reader.pending, reader.error], [0, undefined]);
  }
});

test("what is signed is all but the signature", () => {
  fc.assert(
    fc.property(frame, (one) => {
      const bytes = encodeFrame(one, sign);
      const [{ signed }] = new FrameReader().read(bytes);
      assert.deepEqual(signed, bytes.subarray(0, -32));
    }),
  );
});

test("another protocol is known by its first bytes, a message that is too long by its head", () => {
  const reader = new FrameReader();
  assert.deepEqual(reader.read(Buffer.from("GE")), []);
  assert.equal(reader.error, undefined);
  reader.read(Buffer.from("T / HTTP/1.0\r\n\r\n"));
  assert.equal(reader.error, "is not of the cluster's protocol");
  assert.deepEqual(reader.read(Buffer.from("more")), []);

  const head = { version: 1, oldest: 1, newest: 1, kind: 1, run: 1n, number: 2n, time: 3, echoRun: 4n, echoNumber: 5n };
  const bytes = encodeFrame({ ...head, body: Buffer.alloc(101) }, sign);
  const strict = new FrameReader(100);
  assert.deepEqual(strict.read(bytes.subarray(0, 52)), []);
  assert.equal(strict.error, "has 101 bytes, which is too long");
  assert.equal(new FrameReader(101).read(bytes).length, 1);
});

test("a message of 4 MiB in small pieces is put together, and a longer one is refused before it has come", () => {
  const head = { version: 1, oldest: 1, newest: 1, kind: 1, run: 1n, number: 2n, time: 3, echoRun: 4n, echoNumber: 5n };
  const body = Buffer.alloc(4 * 1024 * 1024, "a body ");
  const bytes = encodeFrame({ ...head, body }, sign);
  const cuts = Array.from({ length: Math.floor(bytes.length / 1460) }, (_, i) => (i + 1) * 1460);
  const [read] = readPieces(bytes, cuts);
  assert.ok(read.body.equals(body));
  const longer = new FrameReader();
  longer.read(encodeFrame({ ...head, body: Buffer.alloc(4 * 1024 * 1024 + 1) }, sign).subarray(0, 60));
  assert.match(longer.error ?? "", /too long/);
});

test("bytes at random, and frames with changed bytes, are no exception", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (random, magic) => {
      const bytes = Buffer.from(random);
      if (magic) Buffer.from("HFC").copy(bytes);
      const reader = new FrameReader(200);
      const cuts = bytes.length > 2 ? [1, bytes.length >> 1] : [];
      for (const { body } of readPieces(bytes, cuts, reader)) assert.ok(body.length <= 200);
      assert.ok(reader.pending <= bytes.length);
    }),
    { numRuns: 2000 },
  );
});

test("two versions speak the newest that both understand", () => {
  assert.equal(commonVersion({ oldest: 1, newest: 1 }), 1);
  assert.equal(commonVersion({ oldest: 1, newest: 2 }), 1);
  assert.equal(commonVersion({ oldest: 2, newest: 3 }), undefined);
});
