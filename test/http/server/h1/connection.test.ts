import assert from "node:assert/strict";
import { test } from "node:test";
import { COUNTER } from "../../../../src/http/core/counters.ts";
import { H1Connection } from "../../../../src/http/server/h1/connection.ts";
import { everySplit } from "../../../support/splits.ts";
import { waitFor } from "../../../support/wait.ts";
import { FakeStream } from "./fake_stream.ts";
import { answers, host, opened, receive } from "./harness.ts";

/** The same bytes in every split have to come to the same. */

interface Outcome {
  readonly answers: string;
  readonly over: boolean;
  readonly counters: readonly number[];
}

/** Feeds the pieces, in buffers that are overwritten afterwards: bytes are only lent. */
async function exchange(bytes: Buffer, cuts: readonly number[]): Promise<Outcome> {
  const stream = new FakeStream();
  host.words.fill(0);
  stream.handler = new H1Connection(stream, host);
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    const lent = Buffer.from(bytes.subarray(from, to));
    if (!stream.closed) stream.handler.onData(stream, lent);
    lent.fill("X");
    from = to;
  }
  const over = stream.ended || (await new Promise<boolean>((resolve) => setImmediate(() => resolve(stream.closed))));
  assert.equal(stream.paused && !over, false, "nobody waits for anything, so reading goes on");
  const { reading, writing, requests } = COUNTER;
  const counters = [reading, writing, requests].map((counter) => host.words[counter]);
  stream.destroy();
  assert.deepEqual(
    [reading, writing, COUNTER.waiting].map((counter) => host.words[counter]),
    [0, 0, 0],
  );
  return { answers: stream.written.replace(/^Date: .*\r\n/gm, ""), over, counters };
}

/** What is sent, the answers, and whether the connection is over after them. */
const CASES: readonly (readonly [name: string, sent: string, answers: readonly string[], over: boolean])[] = [
  ["one", "GET /a HTTP/1.1\r\nHost: one\r\n\r\n", ["200 /a"], false],
  ["two", "GET /a HTTP/1.1\r\nHost: one\r\n\r\nGET /b HTTP/1.1\r\nHost: one\r\n\r\n", ["200 /a", "200 /b"], false],
  ["two with LF alone", "GET /a HTTP/1.1\nHost: one\n\n\nGET /b HTTP/1.1\nHost: one\n\n", ["200 /a", "200 /b"], false],
  ["closing", "GET /a HTTP/1.1\r\nHost: one\r\nConnection: close\r\n\r\nGET /b", ["200 /a"], true],
  ["HTTP/1.0", "GET /a HTTP/1.0\r\n\r\n", ["200 /a"], true],
  [
    "bodies read",
    "POST /read HTTP/1.1\r\nHost: one\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: one\r\n\r\n",
    ["200 [abc]", "200 /b"],
    false,
  ],
  [
    "chunks read",
    "POST /read HTTP/1.1\r\nHost: one\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: 1\r\n\r\nGET /b HTTP/1.1\r\nHost: one\r\n\r\n",
    ["200 [abcde]", "200 /b"],
    false,
  ],
  [
    "bodies dropped",
    "POST /a HTTP/1.1\r\nHost: one\r\nContent-Length: 3\r\n\r\nabcPOST /missing HTTP/1.1\r\nHost: one\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: one\r\n\r\n",
    ["200 /a", "404 page", "200 /b"],
    false,
  ],
  [
    "expecting",
    "POST /read HTTP/1.1\r\nHost: one\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    ["100", "200 [ok]"],
    false,
  ],
  ["too large", "POST /read HTTP/1.1\r\nHost: one\r\nContent-Length: 21\r\n\r\n", ["413 page"], true],
  [
    "too large in chunks",
    "POST /read HTTP/1.1\r\nHost: one\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n01234567890123456789\r\n1\r\nx\r\n0\r\n\r\n",
    ["413 page"],
    true,
  ],
  [
    "bad chunk",
    "POST /read HTTP/1.1\r\nHost: one\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: one\r\n\r\n",
    ["400 page"],
    true,
  ],
  ["bad line", "GET /\x01 HTTP/1.1\r\nHost: one\r\n\r\nGET /b HTTP/1.1\r\nHost: one\r\n\r\n", ["400 page"], true],
  ["no Host", "GET / HTTP/1.1\r\n\r\n", ["400 page"], true],
  [
    "two lengths",
    "POST / HTTP/1.1\r\nHost: one\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxGET /b HTTP/1.1\r\nHost: one\r\n\r\n",
    ["400 page"],
    true,
  ],
];

for (const [name, sent, expected, over] of CASES) {
  test(name, async () => {
    const bytes = Buffer.from(sent, "latin1");
    for (const cuts of everySplit(bytes)) {
      const outcome = await exchange(bytes, cuts);
      const where = `cut at ${cuts}`;
      assert.deepEqual(answers(outcome.answers), expected, where);
      assert.equal(outcome.over, over, where);
      const requests = expected.filter((answer) => answer !== "100").length;
      assert.deepEqual(outcome.counters, [0, 0, requests], where);
    }
  });
}

test("a client that leaves before a head, amid one, or amid a body", async () => {
  for (const sent of [
    "",
    "GET /a HT",
    "GET /a HTTP/1.1\r\nHo",
    "POST /read HTTP/1.1\r\nHost: one\r\nContent-Length: 5\r\n\r\nab",
  ]) {
    const stream = new FakeStream();
    host.words.fill(0);
    stream.handler = new H1Connection(stream, host);
    if (sent !== "") stream.handler.onData(stream, Buffer.from(sent));
    stream.handler.onEnd(stream);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(stream.closed, true);
    assert.equal(stream.written, "");
    assert.deepEqual(
      [COUNTER.reading, COUNTER.writing, COUNTER.waiting].map((counter) => host.words[counter]),
      [0, 0, 0],
    );
  }
});

test("client_header_timeout runs from when the connection was accepted, whatever stages came before", async () => {
  const before = new FakeStream();
  const { clientHeaderTimeout } = host.config.defaultServer;
  const stream = new FakeStream();
  const first = new H1Connection(before, host);
  before.handler = first;
  const accepted = Object.assign(first, { startedAt: performance.now() - clientHeaderTimeout });
  stream.handler = new H1Connection(stream, host, accepted);
  await waitFor(() => stream.closed, "the end of the connection");
  assert.equal(before.closed, false);
  before.destroy();
});

test("lingering_time does not cut the answer short", () => {
  const stream = opened();
  stream.queued = 10;
  receive(stream, "GET /linger HTTP/1.0\r\n\r\n");
  receive(stream, "more");
  assert.deepEqual([stream.ended, stream.closed], [false, false]);
  stream.drain();
  assert.deepEqual([stream.ended, stream.closed], [true, true]);
});

test("a HEAD that is refused gets no body, wherever its line turned out invalid", () => {
  for (const rest of ["/ HTTP/3.0", "/ HTTP/1.1x", "/\x01 HTTP/1.1", "x HTTP/1.1", "/%zz HTTP/1.1"]) {
    const stream = opened();
    receive(stream, `HEAD ${rest}\r\nHost: one\r\n\r\n`);
    assert.match(stream.written, /^HTTP\/1.1 (400|505) .*\r\n\r\n$/s);
    stream.destroy();
  }
  const stream = opened();
  receive(stream, "HEAD /\r\n");
  assert.match(stream.written, /^<html>/);
});

test("a path that cannot be decoded outranks what is wrong with the fields", () => {
  for (const [path, status] of [
    ["/", "405"],
    ["/%zz", "400"],
  ]) {
    const stream = opened();
    receive(stream, `TRACE ${path} HTTP/1.1\r\nHost: one\r\n\r\n`);
    assert.equal(stream.written.slice(9, 12), status);
    stream.destroy();
  }
});

test("a connection lingers where bytes came behind the request that closes it", () => {
  const closing = "HTTP/1.1\r\nHost: one\r\nConnection: close\r\n";
  const requests = [
    `GET / ${closing}\r\n`,
    `GET /missing ${closing}\r\n`,
    `GET /%zz ${closing}\r\n`,
    `POST /read ${closing}Content-Length: 4\r\n\r\nbody`,
    `POST /read ${closing}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n`,
    `POST / ${closing}Content-Length: 4\r\n\r\nbody`,
  ];
  for (const request of requests) {
    const alone = opened();
    receive(alone, request);
    assert.equal(alone.ended, false, request);
    const followed = opened();
    receive(followed, `${request}G`);
    assert.equal(followed.ended, true, request);
    followed.destroy();
  }
});
