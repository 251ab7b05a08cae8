import assert from "node:assert/strict";
import { openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Request } from "../../../src/http/core/request.ts";
import { TempFile } from "../../../src/http/core/temp_file.ts";
import { nextTurn } from "../../../src/http/files/file_turns.ts";
import type { BodyCoding, RequestCoding, UpstreamTarget } from "../../../src/http/upstream/protocol.ts";
import { RequestSender, type SenderOwner } from "../../../src/http/upstream/request_sender.ts";
import { SlabQueue } from "../../../src/net/slabs.ts";
import { STDIN_STREAM } from "../../../src/wire/fastcgi.ts";
import { makePrefix } from "../../support/holdfast.ts";

/** A connection that takes everything and remembers it. */
class Connection implements SenderOwner {
  readonly sending = false;
  readonly unsent = 0;
  readonly awaitsHead = true;
  written = "";
  armed = 0;
  requestSent = false;

  write(bytes: Uint8Array | string): boolean {
    this.written += typeof bytes === "string" ? bytes : Buffer.from(bytes).latin1Slice();
    return true;
  }
  cork(): void {}
  uncork(): boolean {
    return true;
  }
  arm(ms: number): void {
    this.armed = ms;
  }
  disarm(): void {
    this.armed = 0;
  }
  onRequestSent(): void {
    this.requestSent = true;
  }
  startBody(): void {}
  finalize(): void {}
  onFault(error: unknown): void {
    throw error;
  }
}

/** Bytes of files that are read in a turn of the event loop (file_turns.ts). */
const TURN = 1024 * 1024;
/** The most a FastCGI record holds. */
const MAX_CONTENT = 65_535;
const SEND_TIMEOUT = 60_000;

/** A sender with a request whose body is `body`, in memory or a file, or comes later, or for which `text` is sent. */
function sending(body?: Buffer | { readonly file: TempFile; readonly length: number }, text?: string) {
  const data = new SlabQueue();
  const file = body === undefined || Buffer.isBuffer(body) ? undefined : body.file;
  if (Buffer.isBuffer(body)) data.push(body);
  let paused = false;
  const request = {
    body: body === undefined ? undefined : { data, length: body.length, file, memory: () => data.whole() },
    preread: undefined,
    bodyEnded: body !== undefined,
    discardBody: false,
    exchange: {
      pauseBody: () => {
        paused = true;
      },
      resumeBody: () => {
        paused = false;
      },
    },
  };
  const target = { head: "head", body: text, settings: { passRequestBody: true, sendTimeout: SEND_TIMEOUT } };
  const connection = new Connection();
  const sender = new RequestSender(connection);
  sender.reset({
    request: request as unknown as Request,
    target: target as unknown as UpstreamTarget,
    kept: undefined,
  });
  return { sender, connection, paused: () => paused };
}

/** Heads as they are, and bodies in that framing. */
function coded(coding: BodyCoding | undefined): RequestCoding {
  return { requestHead: (head) => head, bodyCoding: () => coding };
}

/** HTTP/2's framing, as far as flow control goes: `[length:bytes]`, `[length!bytes]` the last, and no more than the window has room for. */
class Windowed implements BodyCoding {
  window = 0;
  get room(): number {
    return Math.min(this.window, 4);
  }
  before(length: number, last: boolean): string {
    this.window -= length;
    return `[${length}${last ? "!" : ":"}`;
  }
  after(): string {
    return "]";
  }
  readonly end = "[end]";
  readonly none = "[none]";
}

test("a body larger than FastCGI's records is cut into as many as it takes", () => {
  const body = Buffer.alloc(MAX_CONTENT + 10, "x");
  const coding: BodyCoding = { ...STDIN_STREAM, room: MAX_CONTENT };
  const { sender, connection } = sending(body);
  sender.send(coded(coding));
  let expected = "head";
  // Memory holds a body in pieces of 64 KiB, one byte more than a record takes.
  for (const length of [MAX_CONTENT, 1, 9]) {
    expected += STDIN_STREAM.before(length) + "x".repeat(length) + STDIN_STREAM.after(length, length === 9);
  }
  assert.equal(connection.written, expected);
  assert.equal(expected.endsWith(STDIN_STREAM.end), true);
  assert.equal(connection.requestSent, true);
});

test("a buffered body waits for room, under proxy_send_timeout, and goes on where it stopped", () => {
  const coding = new Windowed();
  const { sender, connection } = sending(Buffer.from("abcdefgh"));
  coding.window = 5;
  sender.send(coded(coding));
  assert.equal(connection.written, "head[4:abcd][1:e]");
  assert.equal(connection.armed, SEND_TIMEOUT);
  coding.window = 2;
  sender.onDrain();
  assert.equal(connection.written, "head[4:abcd][1:e][2:fg]");
  assert.equal(connection.requestSent, false);
  coding.window = 10;
  sender.onDrain();
  assert.equal(connection.written, "head[4:abcd][1:e][2:fg][1!h]");
  assert.equal(connection.requestSent, true);
  assert.equal(sender.complete, true);
});

test("a text in place of the body goes with the head where there is room, and else waits as a body does", () => {
  const coding = new Windowed();
  coding.window = 4;
  const short = sending(Buffer.from("a body"), "text");
  short.sender.send(coded(coding));
  assert.equal(short.connection.written, "head[4!text]");
  assert.equal(short.sender.complete, true);

  coding.window = 5;
  const { sender, connection } = sending(Buffer.from("a body"), "a text");
  sender.send(coded(coding));
  assert.equal(connection.written, "head[4:a te][1:x]");
  assert.equal(connection.armed, SEND_TIMEOUT);
  coding.window = 4;
  sender.onDrain();
  assert.equal(connection.written, "head[4:a te][1:x][1!t]");
  assert.equal(sender.complete, true);
});

test("a body in a file waits for one turn to be read, however often its server takes more meanwhile", async (t) => {
  const path = join(makePrefix(t), "body");
  writeFileSync(path, Buffer.alloc(8 * TURN));
  const file = new TempFile(path, openSync(path, "r"));
  const { sender, connection } = sending({ file, length: 8 * TURN });
  t.after(() => {
    sender.stop();
    file.close();
  });
  sender.send(coded(undefined));
  for (let i = 0; i < 3; i++) sender.onDrain();
  const before = connection.written.length;
  const other = Promise.withResolvers<number>();
  nextTurn({ onTurn: () => other.resolve(connection.written.length - before), onFault: other.reject });
  const sent = await other.promise;
  assert.ok(sent < 2 * TURN, `${sent} bytes before another's turn`);
});

test("a streamed body that finds no room keeps the client waiting, and its end comes behind it", () => {
  const coding = new Windowed();
  const { sender, connection, paused } = sending();
  coding.window = 3;
  sender.send(coded(coding));
  sender.onBody(Buffer.from("abc"));
  sender.onBody(Buffer.from("def"));
  sender.onBodyEnd();
  assert.equal(connection.written, "head[3:abc]");
  assert.equal(paused(), true);
  assert.equal(connection.armed, SEND_TIMEOUT);
  coding.window = 1;
  sender.onDrain();
  assert.equal(connection.written, "head[3:abc][1:d]");
  coding.window = 9;
  sender.onDrain();
  assert.equal(connection.written, "head[3:abc][1:d][2!ef]");
  assert.equal(sender.complete, true);
});

test("a request may go to another server until a part of a streamed body has been sent", () => {
  const { sender } = sending();
  assert.equal(sender.mayMove(false), true, "nothing was sent");
  sender.send(coded(undefined));
  assert.equal(sender.mayMove(true), false, "what is sent of the body is gone");
  const buffered = sending(Buffer.from("abc")).sender;
  buffered.send(coded(undefined));
  assert.deepEqual([buffered.mayMove(true), buffered.mayMove(false)], [true, false]);
});
