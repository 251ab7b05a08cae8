import assert from "node:assert/strict";
import { test } from "node:test";
import { discardBody } from "../../../../src/http/core/discard_body.ts";
import { finalizeRequest, sendText } from "../../../../src/http/core/engine.ts";
import type { Request } from "../../../../src/http/core/request.ts";
import { readBody } from "../../../../src/http/core/request_body.ts";
import { Deadline, setDeadline } from "../../../../src/sys/timers.ts";
import { headText } from "../../../../src/wire/head_text.ts";
import { answers, opened, POST, receive, whenHeld } from "./harness.ts";

test("a read's chunks reach whoever reads the body in one piece, however small they are", () => {
  const pieces: string[] = [];
  let request: Request | undefined;
  whenHeld((taken) => {
    request = taken;
    taken.bodySink = {
      onBody(bytes) {
        pieces.push(bytes.toString("latin1"));
      },
      onBodyEnd() {
        pieces.push("end");
        finalizeRequest(taken, sendText(taken, 200, headText("text/plain"), "read"));
      },
      onBodyError() {},
    };
    taken.exchange.startBody(taken);
  });
  const stream = opened();
  const head = "POST /held HTTP/1.1\r\nHost: one\r\nTransfer-Encoding: chunked\r\n\r\n";
  const framed = Array.from("0123456789", (digit) => `1\r\n${digit}\r\n`).join("");
  receive(stream, `${head}${framed}1`);
  assert.deepEqual(pieces, ["0123456789"]);
  receive(stream, `\r\na\r\n9;x=y\r\nbcdefghij\r\n0\r\n\r\nGET /a HTTP/1.1\r\nHost: one\r\n\r\n`);
  assert.deepEqual(pieces, ["0123456789", "abcdefghij", "end"]);
  assert.equal(request?.length, head.length + framed.length + "1\r\na\r\n9;x=y\r\nbcdefghij\r\n0\r\n\r\n".length);
  assert.deepEqual(answers(stream.written), ["200 read", "200 /a"]);
  stream.destroy();
});

test("a body that is dropped after its beginning was read has no deadline while the answer is made", async () => {
  let request: Request | undefined;
  whenHeld((taken) => {
    request = taken;
    taken.bodySink = {
      onBody() {
        discardBody(taken);
      },
      onBodyEnd() {},
      onBodyError() {},
    };
    taken.exchange.startBody(taken);
  });
  const stream = opened();
  receive(stream, `${POST}ab`);
  await new Promise<void>((resolve) => setDeadline(new Deadline<undefined>(undefined, () => resolve()), 60));
  assert.ok(request !== undefined && !request.finalized);
  finalizeRequest(request, sendText(request, 200, headText("text/plain"), "late"));
  assert.deepEqual(answers(stream.written), ["200 late"]);
  receive(stream, "cdeGET /a HTTP/1.1\r\nHost: one\r\n\r\n");
  assert.deepEqual(answers(stream.written), ["200 late", "200 /a"]);
  stream.destroy();
});

test("what follows of a dropped body is read, so that a client that sends first gets to the answer", () => {
  let request: Request | undefined;
  whenHeld((taken) => {
    request = taken;
  });
  const stream = opened();
  receive(stream, POST.replace("Content-Length: 5", "Transfer-Encoding: chunked"));
  receive(stream, "9c40\r\n");
  assert.equal(stream.paused, false, "a little is kept, so that the client's end is seen");
  receive(stream, "c".repeat(20_000));
  assert.equal(stream.paused, true, "nobody wants the body yet");
  assert.ok(request !== undefined);
  discardBody(request);
  assert.equal(stream.paused, false);
  receive(stream, "cd");
  assert.equal(stream.paused, false);
  stream.destroy();
});

test("the end of a client amid a body that is dropped does not take its answer away", () => {
  let request: Request | undefined;
  whenHeld((taken) => {
    request = taken;
    discardBody(taken);
  });
  const stream = opened();
  receive(stream, `${POST}ab`);
  stream.handler.onEnd(stream);
  assert.ok(request !== undefined && !request.finalized);
  finalizeRequest(request, sendText(request, 200, headText("text/plain"), "all"));
  assert.deepEqual(answers(stream.written), ["200 all"]);
  stream.destroy();
});

test("a body in many small pieces takes no more memory than in one", () => {
  let request: Request | undefined;
  whenHeld((taken) => {
    request = taken;
    readBody(taken, () => {});
    assert.ok(taken.body !== undefined);
  });
  const stream = opened();
  receive(stream, POST.replace("/held", "/slow").replace("5", "20"));
  for (let i = 0; i < 20; i++) receive(stream, String.fromCharCode(0x61 + i));
  assert.equal(request?.body?.data.at(1), undefined, "not a buffer for each byte");
  assert.equal(request?.body?.memory()?.toString("latin1"), "abcdefghijklmnopqrst");
  stream.destroy();
});
