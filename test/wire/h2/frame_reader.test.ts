/** Frames in whatever pieces they come. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FrameReader } from "../../../src/wire/h2/frame_reader.ts";
import { DATA, FLAG, frameHead, PING, PREFACE, SETTINGS } from "../../../src/wire/h2/frames.ts";

/** What a reader tells, one line each; pieces of DATA joined. */
function read(pieces: readonly Buffer[]): string[] {
  const told: string[] = [];
  let data = "";
  const reader = new FrameReader();
  const handler = {
    onFrame(length: number, type: number, flags: number, stream: number) {
      told.push(`frame ${length} ${type} ${flags} ${stream}`);
      return true;
    },
    onPayload(payload: Buffer) {
      told.push(`payload ${payload.toString("latin1")}`);
      return true;
    },
    onFrameData(piece: Buffer, last: boolean) {
      data += piece.toString("latin1");
      if (last) told.push(`data ${data}`);
      if (last) data = "";
      return true;
    },
    onBadPadding() {
      told.push("bad padding");
      return false;
    },
    onBadPreface() {
      told.push("bad preface");
      return false;
    },
  };
  for (const piece of pieces) reader.read(piece, handler);
  told.push(reader.incomplete ? "incomplete" : "complete");
  return told;
}

function bytes(...parts: string[]): Buffer {
  return Buffer.from(parts.join(""), "latin1");
}

test("any split of the bytes reads the same", () => {
  const stream = bytes(
    PREFACE,
    frameHead(0, SETTINGS, 0, 0),
    frameHead(5, DATA, 0, 1),
    "hello",
    frameHead(8, DATA, FLAG.PADDED, 1),
    "\x03data...",
    frameHead(4, DATA, FLAG.PADDED, 1),
    "\x03...",
    frameHead(0, DATA, FLAG.END_STREAM, 1),
    frameHead(8, PING, 0, 0),
    "12345678",
  );
  const whole = read([stream]);
  assert.deepEqual(whole, [
    "frame 0 4 0 0",
    "payload ",
    "frame 5 0 0 1",
    "data hello",
    "frame 8 0 8 1",
    "data data",
    "frame 4 0 8 1",
    "data ",
    "frame 0 0 1 1",
    "data ",
    "frame 8 6 0 0",
    "payload 12345678",
    "complete",
  ]);
  for (let at = 1; at < stream.length; at++) {
    assert.deepEqual(read([stream.subarray(0, at), stream.subarray(at)]), whole);
  }
  assert.deepEqual(read([...stream].map((byte) => Buffer.from([byte]))), whole);
});

test("a preface that is none, and padding longer than its frame", () => {
  assert.deepEqual(read([bytes("GET / HTTP/1.1\r\n\r\n        ")]).slice(0, 1), ["bad preface"]);
  assert.deepEqual(read([bytes(PREFACE, frameHead(3, DATA, FLAG.PADDED, 1), "\x03..")])[1], "bad padding");
  assert.deepEqual(read([bytes(PREFACE, frameHead(0, DATA, FLAG.PADDED, 1))])[1], "bad padding");
});
