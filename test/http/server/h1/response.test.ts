import assert from "node:assert/strict";
import { test } from "node:test";
import { OK } from "../../../../src/http/core/codes.ts";
import { COUNTER } from "../../../../src/http/core/counters.ts";
import { finalizeRequest, sendHeader } from "../../../../src/http/core/engine.ts";
import { addBodyFilter, BODY_FILTER, FLUSH, LAST, passBody } from "../../../../src/http/core/filters.ts";
import type { Request } from "../../../../src/http/core/request.ts";
import type { BodyFilter } from "../../../../src/http/core/types.ts";
import { H1Connection } from "../../../../src/http/server/h1/connection.ts";
import { host, opened, receive, whenHeld } from "./harness.ts";

test("a client that is done with sending still gets the rest of the answer", async () => {
  const stream = opened();
  stream.queued = 10;
  receive(stream, "GET /a HTTP/1.0\r\n\r\n");
  assert.match(stream.written, / 200 /);
  stream.handler.onEnd(stream);
  assert.equal(stream.closed, false, "ten bytes are still to be sent");
  stream.drain();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(stream.closed, true);
});

for (const asynchronous of [false, true]) {
  test(`a response is over when its bytes have left, not when they are ${asynchronous ? "being sent" : "queued"}`, () => {
    const stream = opened();
    stream.asynchronous = asynchronous;
    host.words.fill(0);
    host.words[COUNTER.waiting] = 1;
    stream.queued = 10;
    receive(stream, "GET /a HTTP/1.1\r\nHost: one\r\n\r\nGET /b HTTP/1.1\r\nHost: one\r\n\r\n");
    const connection = stream.handler;
    assert.ok(connection instanceof H1Connection);
    assert.equal(connection.idle, false);
    assert.equal(connection.sent, stream.written.length - 10);
    assert.equal(host.words[COUNTER.writing], 1);
    assert.equal(host.words[COUNTER.requests], 1, "the next request waits");
    connection.shutdown();
    assert.equal(stream.closed, false);
    stream.drain();
    assert.equal(connection.sent, stream.written.length);
    assert.match(stream.written, /\/b$/);
    stream.destroy();
  });
}

/** Makes `times` of each byte, one after the other as they are taken. */
class Multiplier implements BodyFilter {
  readonly place: number;
  private readonly times: number;
  private kept = "";
  private last = 0;

  constructor(place: number, times: number) {
    this.place = place;
    this.times = times;
  }

  push(request: Request, bytes: Uint8Array | string, flags: number, next: number): boolean {
    this.kept += (typeof bytes === "string" ? bytes : Buffer.from(bytes).toString("latin1")).replace(/./g, (byte) =>
      byte.repeat(this.times),
    );
    this.last |= flags;
    return (request.buffered & (1 << this.place)) === 0 && this.drain(request, next);
  }

  drain(request: Request, next: number): boolean {
    let more = true;
    while (more && this.kept !== "") {
      const [byte] = this.kept;
      this.kept = this.kept.slice(1);
      more = passBody(request, next, byte, FLUSH | (this.kept === "" ? this.last : 0));
    }
    if (this.kept === "") request.buffered &= ~(1 << this.place);
    else request.buffered |= 1 << this.place;
    return more;
  }
}

test("what a filter keeps until the client takes it leaves in order, and the request is over when all has left", () => {
  const asked: string[] = [];
  whenHeld((request) => {
    request.response.status = 200;
    request.response.contentLength = 12;
    addBodyFilter(request, new Multiplier(BODY_FILTER.gzip, 2));
    addBodyFilter(request, {
      place: BODY_FILTER.range_body,
      push: (r, bytes, flags, next) => passBody(r, next, bytes, flags),
    });
    addBodyFilter(request, new Multiplier(BODY_FILTER.sub, 2));
    assert.deepEqual(
      request.bodyFilters.map(({ place }) => place),
      [BODY_FILTER.range_body, BODY_FILTER.sub, BODY_FILTER.gzip],
    );
    assert.equal(sendHeader(request), OK);
    request.onWritable = () => {
      asked.push("more");
      assert.equal(passBody(request, 0, "c", LAST), false);
      finalizeRequest(request, OK);
    };
    assert.equal(passBody(request, 0, "a", 0), true);
    stream.room = false;
    assert.equal(passBody(request, 0, "b", 0), false);
  });
  const stream = opened();
  receive(stream, "GET /held HTTP/1.1\r\nHost: one\r\n\r\n");
  const body = () => stream.written.slice(stream.written.indexOf("\r\n\r\n") + 4);
  assert.equal(body(), "aaaab");
  const connection = stream.handler;
  assert.ok(connection instanceof H1Connection);
  for (let taken = body().length; taken < 12; taken++) {
    assert.equal(connection.idle, false);
    assert.equal(asked.length, taken <= 8 ? 0 : 1);
    stream.handler.onDrain(stream);
    assert.equal(body(), "aaaabbbbcccc".slice(0, taken + 1));
  }
  stream.drain();
  assert.equal(connection.idle, true);
  stream.destroy();
});
