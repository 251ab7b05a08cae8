import assert from "node:assert/strict";
import { test } from "node:test";
import { buildSockets } from "../../../../src/http/conf/addresses.ts";
import { buildHttp } from "../../../../src/http/conf/build.ts";
import { defineModule } from "../../../../src/http/conf/module.ts";
import { httpProgram, httpScope } from "../../../../src/http/conf/program.ts";
import { httpModules } from "../../../../src/http/conf/registry.ts";
import { DONE, OK } from "../../../../src/http/core/codes.ts";
import { COUNTER } from "../../../../src/http/core/counters.ts";
import { discardBody } from "../../../../src/http/core/discard_body.ts";
import { finalizeRequest, sendHeader, sendText } from "../../../../src/http/core/engine.ts";
import { addBodyFilter, BODY_FILTER, FLUSH, LAST, passBody } from "../../../../src/http/core/filters.ts";
import type { Request } from "../../../../src/http/core/request.ts";
import { readBody } from "../../../../src/http/core/request_body.ts";
import type { BodyFilter } from "../../../../src/http/core/types.ts";
import { H1Connection } from "../../../../src/http/server/h1/connection.ts";
import type { Closable, ConnectionHost } from "../../../../src/http/server/types.ts";
import type { Cycle } from "../../../../src/runtime/cycle.ts";
import { coreDirectives, eventsDirectives } from "../../../../src/runtime/directives.ts";
import { makeZone } from "../../../../src/shm/zone.ts";
import { whole } from "../../../../src/sys/sliced.ts";
import { Deadline, setDeadline } from "../../../../src/sys/timers.ts";
import { headText } from "../../../../src/wire/head_text.ts";
import { loadConfig, workspace, write } from "../../../config/workspace.ts";
import { everySplit } from "../../../support/splits.ts";
import { waitFor } from "../../../support/wait.ts";
import { FakeStream } from "./fake_stream.ts";

/** A connection over a stream of the test's own: the same bytes in every split have to come to the same. */

const read = defineModule({
  name: "test_read",
  directives: {
    test_read: {
      in: ["location"],
      args: [0, 0],
      syntax: "",
      doc: "Answers with the request's body.",
      initial: () => false,
      read: () => true,
    },
  },
  content: ({ test_read }) => {
    if (!test_read) return undefined;
    return (request) => {
      readBody(request, (whole) => {
        const body = whole.body?.memory()?.toString("latin1") ?? "";
        finalizeRequest(whole, sendText(whole, 200, headText("text/plain"), `[${body}]`));
      });
      return DONE;
    };
  },
});

/** What the test does with a request of /held, whose body and answer are in its hands. */
let held: (request: Request) => void = () => {};

const hold = defineModule({
  name: "test_hold",
  directives: {
    test_hold: {
      in: ["location"],
      args: [0, 0],
      syntax: "",
      doc: "Leaves the request to the test.",
      initial: () => false,
      read: () => true,
    },
  },
  content: ({ test_hold }) => {
    if (!test_hold) return undefined;
    return (request) => {
      held(request);
      return DONE;
    };
  },
});

const CONFIG = `events {} http { server { listen 127.0.0.1:1; server_name one; client_max_body_size 20;
  location / { return 200 "$request_uri"; } location /read { test_read; } location /missing { return 404; }
  location /held { test_hold; client_body_timeout 20ms; }
  location /linger { lingering_close always; lingering_time 0; return 200 "$request_uri"; }
  location /slow { test_hold; limit_rate 10; } } }`;

function makeHost(): ConnectionHost & { readonly words: Int32Array } {
  const directory = workspace();
  const modules = [...httpModules, read, hold];
  const program = httpProgram({ modules: [], tables: [], open: () => () => ({ stop() {} }) });
  const tables = [coreDirectives, eventsDirectives, ...program.directives, read.directives, hold.directives];
  const confFile = write(directory, "nginx.conf", CONFIG);
  const { root } = loadConfig({ confFile, confPrefix: directory }, tables);
  const scope = httpScope(root);
  assert.ok(scope !== undefined);
  const cycle: Cycle = {
    data: {
      generation: 1,
      directives: [],
      prefix: directory,
      confPrefix: directory,
      errorLog: `${directory}error.log`,
      zones: {},
      hosts: {},
    },
    root,
    zone: ({ kind, name, size }) => makeZone(kind, name, size),
    path: (path) => directory + path,
  };
  const [{ serves }] = buildSockets(whole(buildHttp(scope, cycle, modules as Parameters<typeof buildHttp>[2])), cycle);
  const words = new Int32Array(COUNTER.words);
  const open = new Set<Closable>();
  return {
    config: serves[0],
    exiting: false,
    counters: words,
    words,
    waits: () => {},
    opened: (connection) => open.add(connection),
    closed: (connection) => open.delete(connection),
    replaced: () => {},
  };
}

const host = makeHost();

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

function answers(text: string): string[] {
  if (text === "") return [];
  return text.split(/(?=HTTP\/1\.1 \d)/).map((answer) => {
    const body = answer.slice(answer.indexOf("\r\n\r\n") + 4);
    return `${answer.slice(9, 12)} ${body.startsWith("<html>") ? "page" : body}`.trim();
  });
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

function opened(): FakeStream {
  const stream = new FakeStream();
  stream.handler = new H1Connection(stream, host);
  return stream;
}

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

function receive(stream: FakeStream, text: string): void {
  stream.handler.onData(stream, Buffer.from(text, "latin1"));
}

const POST = "POST /held HTTP/1.1\r\nHost: one\r\nContent-Length: 5\r\n\r\n";

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
  held = (request) => {
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
  };
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

test("a read's chunks reach whoever reads the body in one piece, however small they are", () => {
  const pieces: string[] = [];
  let request: Request | undefined;
  held = (taken) => {
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
  };
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
  held = (taken) => {
    request = taken;
    taken.bodySink = {
      onBody() {
        discardBody(taken);
      },
      onBodyEnd() {},
      onBodyError() {},
    };
    taken.exchange.startBody(taken);
  };
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
  held = (taken) => {
    request = taken;
  };
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
  held = (taken) => {
    request = taken;
    discardBody(taken);
  };
  const stream = opened();
  receive(stream, `${POST}ab`);
  stream.handler.onEnd(stream);
  assert.ok(request !== undefined && !request.finalized);
  finalizeRequest(request, sendText(request, 200, headText("text/plain"), "all"));
  assert.deepEqual(answers(stream.written), ["200 all"]);
  stream.destroy();
});

test("limit_rate ends where a tunnel begins", () => {
  const got: string[] = [];
  const tunnel = {
    onClientData(bytes: Buffer) {
      got.push(bytes.toString("latin1"));
    },
    onClientEnd() {},
    onClientDrain() {},
  };
  held = (request) => {
    request.response.status = 101;
    assert.equal(sendHeader(request), OK);
    request.exchange.flush();
    request.exchange.tunnel?.start(request, tunnel);
    request.exchange.tunnel?.write(Buffer.from("tunnel"));
  };
  const stream = opened();
  receive(stream, "GET /slow HTTP/1.1\r\nHost: one\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nfirst");
  assert.match(stream.written, /^HTTP\/1\.1 101 .*\r\n\r\ntunnel$/s);
  assert.deepEqual(got, ["first"]);
  stream.destroy();
});

test("a tunnel that cannot take what came first is not read further", () => {
  let request: Request | undefined;
  held = (taken) => {
    request = taken;
  };
  const stream = opened();
  receive(stream, "GET /held HTTP/1.1\r\nHost: one\r\n\r\nfirst");
  assert.ok(request !== undefined);
  const { tunnel } = request.exchange;
  assert.ok(tunnel !== undefined);
  tunnel.start(request, {
    onClientData() {
      tunnel.pause();
    },
    onClientEnd() {},
    onClientDrain() {},
  });
  assert.equal(stream.paused, true);
  tunnel.resume();
  assert.equal(stream.paused, false);
  stream.destroy();
});

test("a body in many small pieces takes no more memory than in one", () => {
  let request: Request | undefined;
  held = (taken) => {
    request = taken;
    readBody(taken, () => {});
    assert.ok(taken.body !== undefined);
  };
  const stream = opened();
  receive(stream, POST.replace("/held", "/slow").replace("5", "20"));
  for (let i = 0; i < 20; i++) receive(stream, String.fromCharCode(0x61 + i));
  assert.equal(request?.body?.data.at(1), undefined, "not a buffer for each byte");
  assert.equal(request?.body?.memory()?.toString("latin1"), "abcdefghijklmnopqrst");
  stream.destroy();
});
