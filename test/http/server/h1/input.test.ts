import assert from "node:assert/strict";
import { test } from "node:test";
import { H1Input, type InputOwner, NOT_NOW } from "../../../../src/http/server/h1/input.ts";
import { FakeStream } from "./fake_stream.ts";

/** Takes all it is offered while it is willing, and remembers where the bytes were. */
class Owner implements InputOwner {
  willing = true;
  most = Number.POSITIVE_INFINITY;
  taken = "";
  ends = 0;
  readonly memories = new Set<ArrayBufferLike>();

  take(bytes: Buffer, at: number, end: number): number {
    this.memories.add(bytes.buffer);
    if (!this.willing) return NOT_NOW;
    const to = Math.min(end, at + this.most);
    this.taken += bytes.latin1Slice(at, to);
    return to;
  }

  clientEnded(): void {
    this.ends++;
  }
}

function setUp(): { stream: FakeStream; owner: Owner; input: H1Input } {
  const stream = new FakeStream();
  const owner = new Owner();
  return { stream, owner, input: new H1Input(stream, owner) };
}

/** As a stream gives them: the memory is overwritten afterwards. */
function give(input: H1Input, text: string): void {
  const lent = Buffer.from(text, "latin1");
  input.receive(lent);
  lent.fill("x");
}

test("bytes that nobody takes are kept in order, and copied seldom", () => {
  const { owner, input } = setUp();
  const all = "GET /next HTTP/1.1\r\n".repeat(1000);
  owner.willing = false;
  for (const byte of all) give(input, byte);
  assert.ok(owner.memories.size <= 20, `${owner.memories.size} times`);
  assert.ok(input.waiting);
  owner.willing = true;
  input.readOn();
  assert.equal(owner.taken, all);
  assert.ok(!input.waiting);
});

test("what was taken from the front stays away when more comes", () => {
  const { owner, input } = setUp();
  owner.willing = false;
  give(input, "abc");
  give(input, "def");
  input.skim({ skim: (_bytes, at) => at + 2 });
  give(input, "ghi".repeat(5));
  owner.willing = true;
  owner.most = 4;
  input.readOn();
  assert.equal(owner.taken, `cdef${"ghi".repeat(5)}`);
});

test("no more is read while much is waiting, and again once it was taken", () => {
  const { stream, owner, input } = setUp();
  owner.willing = false;
  give(input, "a".repeat(16 * 1024 - 1));
  assert.equal(stream.paused, false);
  give(input, "a");
  assert.equal(stream.paused, true);
  owner.willing = true;
  input.readOn();
  assert.equal(stream.paused, false);
});

test("an owner that wants nothing to be read has its way, whatever was taken", () => {
  const { stream, owner, input } = setUp();
  owner.take = (_bytes, _at, end) => {
    input.pause();
    return end;
  };
  give(input, "abc");
  assert.equal(stream.paused, true);
  input.readOn();
  assert.equal(stream.paused, true);
  input.resume();
  assert.equal(stream.paused, false);
});

test("the client's end is told at once, and again when what it sent before was looked at", () => {
  const { owner, input } = setUp();
  owner.willing = false;
  give(input, "abc");
  input.end();
  assert.equal(owner.ends, 1);
  assert.ok(input.halfClosed && !input.exhausted);
  owner.willing = true;
  input.readOn();
  assert.equal(owner.ends, 2);
  assert.ok(input.exhausted);
});
