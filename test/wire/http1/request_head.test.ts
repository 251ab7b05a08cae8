import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { RequestLimits } from "../../../src/wire/http1/request_fields.ts";
import { DONE, NEED_MORE, RequestHead } from "../../../src/wire/http1/request_head.ts";
import { everySplit, type Fed, feedPieces } from "../../support/splits.ts";
import { LIMITS } from "./limits.ts";
import { NASTY } from "./nasty_requests.ts";

function fresh(limits: RequestLimits = LIMITS): RequestHead {
  const head = new RequestHead(limits);
  head.begin(limits);
  return head;
}

function feed(head: RequestHead, bytes: Buffer, cuts: readonly number[] = []): Fed {
  return feedPieces(
    {
      feed: (lent, start, end) => head.feed(lent, start, end),
      consumed: () => head.end,
      seen: () => snapshot(head),
    },
    bytes,
    cuts,
  );
}

function namesOf({ fields: { headers } }: RequestHead): string[] {
  return Array.from({ length: headers.count }, (_, i) => headers.name(i));
}

function keysOf({ fields: { headers } }: RequestHead): string[] {
  return Array.from({ length: headers.count }, (_, i) => headers.key(i));
}

function snapshot(head: RequestHead): unknown {
  const { headers } = head.fields;
  const fields: string[][] = [];
  for (let i = 0; i < headers.count; i++) fields.push([headers.name(i), headers.key(i), headers.value(i)]);
  const { method, requestLine, rawUri, complex, argsAt, extAt, plus, version, scheme } = head;
  const { error, length } = head;
  const { host, port, contentLength, chunked, connectionType, expect, ignored } = head.fields;
  return structuredClone({
    ...{
      fields,
      method,
      rawUri,
      complex,
      argsAt,
      extAt,
      plus,
      version,
      scheme,
      host,
      port,
      ignored,
      length,
      expect,
    },
    ...{ contentLength, chunked, connectionType },
    // An error may be noticed before the rest of its line has come.
    ...(error === "" ? { requestLine } : { error }),
  });
}

function parse(text: string, limits: RequestLimits = LIMITS): { code: number; head: RequestHead } {
  const head = fresh(limits);
  const bytes = Buffer.from(text, "latin1");
  return { code: head.feed(bytes, 0, bytes.length), head };
}

test("a usual request", () => {
  const text =
    "GET /a/b.html?x=1&y=%20 HTTP/1.1\r\nHost: Example.COM:8080\r\nuser-agent: curl/8\r\nACCEPT: */*\r\n" +
    "X-Own-Field:  v  v \r\nCookie: a=1\r\nCookie: b=2\r\nConnection: Keep-Alive\r\nContent-Length: 12\r\n\r\nbody";
  const { code, head } = parse(text);
  assert.equal(code, DONE);
  assert.equal(head.end, text.length - 4);
  assert.equal(head.length, head.end);
  assert.equal(head.method, "GET");
  assert.equal(head.requestLine, "GET /a/b.html?x=1&y=%20 HTTP/1.1");
  assert.equal(head.rawUri, "/a/b.html?x=1&y=%20");
  assert.deepEqual([head.complex, head.argsAt, head.extAt, head.plus], [0, 10, 5, false]);
  assert.deepEqual(
    [head.fields.host, head.fields.port, head.fields.headers.get("host")],
    ["example.com", 8080, "Example.COM:8080"],
  );
  assert.deepEqual([head.fields.contentLength, head.fields.chunked, head.fields.connectionType], [12, false, 2]);
  assert.equal(head.fields.headers.get("x-own-field"), "v  v");
  assert.deepEqual(namesOf(head).slice(0, 4), ["Host", "user-agent", "ACCEPT", "X-Own-Field"]);
  assert.deepEqual(keysOf(head).slice(0, 4), ["host", "user-agent", "accept", "x-own-field"]);
  assert.deepEqual(head.fields.headers.getAll("cookie"), ["a=1", "b=2"]);
  assert.equal(head.fields.headers.join("cookie"), "a=1; b=2");
});

test("the next request on the same parser sees nothing of the last", () => {
  const head = fresh();
  const first = Buffer.from(
    "POST /+?q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
  );
  const second = Buffer.from("GET / HTTP/1.0\r\n\r\n");
  const both = Buffer.concat([first, second]);
  assert.equal(head.feed(both, 0, both.length), DONE);
  assert.equal(head.end, first.length);
  assert.deepEqual([head.fields.chunked, head.fields.expect, head.plus], [true, "100-continue", true]);
  head.clear();
  head.begin(LIMITS);
  assert.equal(head.feed(both, first.length, both.length), DONE);
  assert.equal(head.end, both.length);
  const clean = fresh();
  clean.feed(second, 0, second.length);
  assert.deepEqual(snapshot(head), snapshot(clean));
});

test("a nasty request sees nothing of those that the parser read before", () => {
  const head = fresh();
  for (const { raw } of NASTY) {
    const bytes = Buffer.from(raw, "latin1");
    head.clear();
    head.begin(LIMITS);
    head.feed(bytes, 0, bytes.length);
    head.giveUp();
    const clean = fresh();
    clean.feed(bytes, 0, bytes.length);
    clean.giveUp();
    assert.deepEqual([raw, snapshot(head)], [raw, snapshot(clean)]);
  }
});

test("absolute targets, CONNECT and HTTP/0.9", () => {
  const absolute = parse("GET http://User.Example.:81/p?q HTTP/1.1\r\nHost: other\r\n\r\n").head;
  assert.deepEqual([absolute.fields.host, absolute.fields.port, absolute.rawUri], ["user.example", 81, "/p?q"]);
  assert.deepEqual([absolute.scheme, absolute.fields.headers.get("host")], ["http", "other"]);
  const empty = parse("GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n").head;
  assert.deepEqual([empty.rawUri, empty.complex], ["?q", 4]);
  assert.equal(parse("GET http://[::1]:80 HTTP/1.1\r\nHost: h\r\n\r\n").head.rawUri, "/");
  const allowed = parse("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", { ...LIMITS, allowConnect: true });
  assert.deepEqual([allowed.code, allowed.head.fields.host, allowed.head.fields.port], [DONE, "h", 443]);
  assert.equal(parse("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n").code, 405);
  const old = parse("GET /x\r\nHost: a\r\n");
  assert.deepEqual([old.code, old.head.version, old.head.end, old.head.rawUri], [DONE, 9, 8, "/x"]);
});

test("nasty requests get the status of nginx 1.31, in whatever pieces they come", () => {
  for (const { raw, status, error } of NASTY) {
    const bytes = Buffer.from(raw, "latin1");
    const whole = feed(fresh(), bytes);
    assert.equal(whole.code, status, JSON.stringify(raw));
    if (error !== undefined) {
      const head = fresh();
      head.feed(bytes, 0, bytes.length);
      assert.equal(head.error, error);
    }
    for (const cuts of everySplit(bytes)) {
      const pieces = feed(fresh(), bytes, cuts);
      assert.equal(pieces.code, whole.code, `${JSON.stringify(raw)} cut at ${cuts}`);
      assert.equal(pieces.consumed, whole.consumed, `${JSON.stringify(raw)} cut at ${cuts}`);
      assert.deepEqual(pieces.seen, whole.seen, `${JSON.stringify(raw)} cut at ${cuts}`);
    }
  }
});

test("limits on size: the request line, a field line, all of them, their number", () => {
  const line = (length: number) => `GET /${"a".repeat(length - 16)} HTTP/1.1\r\n`;
  const field = (length: number) => `X: ${"b".repeat(length - 5)}\r\n`;
  assert.equal(line(100).length, 100);
  const host = "Host: h\r\n";
  const cases: [string, number, string][] = [
    [`${line(8192)}${host}\r\n`, DONE, ""],
    [`${line(8193)}${host}\r\n`, 414, "client sent too long URI"],
    [line(9000).slice(0, 8191), NEED_MORE, ""],
    [line(9000).slice(0, 8192), 414, "client sent too long URI"],
    [`${line(20)}${host}${field(8192)}\r\n`, DONE, ""],
    [`${line(20)}${host}${field(8193)}\r\n`, 494, "client sent too long header line"],
    [`${line(20)}${host}${field(9000).slice(0, 8192)}`, 494, "client sent too long header line"],
    [`${line(20)}${host}${field(8000).repeat(4)}\r\n`, DONE, ""],
    [`${line(20)}${host}${field(8000).repeat(5)}\r\n`, 494, "client sent too long header line"],
    [`${line(1024)}${field(8192).repeat(4)}`, 494, "client sent too"],
  ];
  for (const [text, status, error] of cases) {
    const bytes = Buffer.from(text);
    const { code, head } = parse(text);
    assert.equal(code, status, text.slice(0, 40) + text.length);
    assert.ok(head.error.startsWith(error), head.error);
    for (const step of [1, 700, 1460, 8191]) {
      const cuts: number[] = [];
      for (let i = step; i < bytes.length; i += step) cuts.push(i);
      assert.equal(feed(fresh(), bytes, cuts).code, status, `${text.length} in steps of ${step}`);
    }
  }
  const many = `GET / HTTP/1.1\r\nHost: h\r\n${"A: b\r\n".repeat(4)}\r\n`;
  assert.equal(parse(many, { ...LIMITS, maxHeaders: 5 }).code, DONE);
  const over = parse(many, { ...LIMITS, maxHeaders: 4 });
  assert.deepEqual([over.code, over.head.error], [494, "client sent too many header lines"]);
});

test("names that are not plain are left out, or taken when the configuration says so", () => {
  const text = "GET / HTTP/1.1\r\nHost: h\r\nX_Y: 1\r\nX!Z: 2\r\nOk: 3\r\n\r\n";
  const strict = parse(text).head;
  assert.deepEqual(keysOf(strict), ["host", "ok"]);
  assert.deepEqual(strict.fields.ignored, [
    'client sent invalid header line: "X_Y: 1"',
    'client sent invalid header line: "X!Z: 2"',
  ]);
  const under = parse(text, { ...LIMITS, underscores: true }).head;
  assert.deepEqual(keysOf(under), ["host", "x_y", "ok"]);
  const all = parse(text, { ...LIMITS, ignoreInvalid: false }).head;
  assert.deepEqual(keysOf(all), ["host", "x_y", "x!z", "ok"]);
});

test("the limits of the host's server hold for its fields", () => {
  const head = fresh();
  const limitsOf = (host: string) => (host === "lax" ? { ...LIMITS, underscores: true } : LIMITS);
  const names = (text: string): string[] => {
    head.clear();
    head.begin(LIMITS, limitsOf);
    const bytes = Buffer.from(text);
    assert.equal(head.feed(bytes, 0, bytes.length), DONE);
    return keysOf(head);
  };
  assert.deepEqual(names("GET / HTTP/1.1\r\nHost: lax\r\na_b: 1\r\n\r\n"), ["host", "a_b"]);
  assert.deepEqual(names("GET / HTTP/1.1\r\nHost: strict\r\na_b: 1\r\n\r\n"), ["host"]);
  assert.deepEqual(names("GET http://lax/ HTTP/1.1\r\na_b: 1\r\nHost: lax\r\n\r\n"), ["a_b", "host"]);
});

test("a dripping client costs no more than a quick one", () => {
  const text = `GET / HTTP/1.1\r\nHost: h\r\n${"a\n".repeat(900)}X: ${"y".repeat(8000)}\r\n\r\n`;
  const bytes = Buffer.from(text);
  const head = fresh();
  let code = NEED_MORE;
  // The processor's time: the machine may be busy with other things.
  const started = process.cpuUsage();
  for (let i = 0; i < bytes.length; i++) code = head.feed(bytes, i, i + 1);
  assert.equal(code, DONE);
  assert.ok(process.cpuUsage(started).user < 1_000_000);
});

test("any bytes: ends, throws nothing, reads nothing outside, same in any pieces", () => {
  const token = fc.constantFrom(
    ..."GET |POST |/|//|/../|%2e|%00|?a=b|#| HTTP/1.1| HTTP/1.0|\r\n|\n|\r|Host: a|Host|:| |\t|Content-Length: 5|".split(
      "|",
    ),
    ..."Transfer-Encoding: chunked|Connection: close|X_y: z|http://h|[::1]|:80|\0|\x7f|é|CONNECT |x".split("|"),
  );
  const mostly = fc.array(fc.oneof({ weight: 9, arbitrary: token }, fc.string({ maxLength: 3 })), { maxLength: 30 });
  fc.assert(
    fc.property(mostly, fc.array(fc.nat(200), { maxLength: 4 }), (tokens, places) => {
      const bytes = Buffer.from(`GET / HTTP/1.1\r\n${tokens.join("")}`.slice(tokens.length % 2 ? 16 : 0), "latin1");
      const cuts = [...new Set(places)].filter((at) => at > 0 && at < bytes.length).sort((a, b) => a - b);
      assert.deepEqual(feed(fresh(), bytes, cuts), feed(fresh(), bytes));
    }),
    { numRuns: 3000 },
  );
});

test("fields that only the host's own server has room for, in pieces and at once", () => {
  const small = { ...LIMITS, headerBufferSize: 64, largeBuffers: 1, largeBufferSize: 64 };
  const large = { ...LIMITS, headerBufferSize: 64, largeBuffers: 40, largeBufferSize: 8192 };
  const head = new RequestHead(small);
  head.begin(small, (host) => (host === "large" ? large : small));
  const first = Buffer.from("GET / HTTP/1.1\r\nHost: large\r\n");
  assert.equal(head.feed(first, 0, first.length), NEED_MORE);
  const field = `X: ${"x".repeat(4000)}\r\n`;
  const rest = Buffer.from(`${field.repeat(20)}\r\nrest`);
  assert.equal(head.feed(rest, 0, rest.length), DONE);
  assert.equal(head.end, rest.length - 4);
  assert.equal(head.fields.headers.count, 21);
});
