import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DONE, INVALID, NEED_MORE, NO_HEAD, ResponseHead } from "../../../src/wire/http1/response_head.ts";
import { everySplit, type Fed, feedPieces } from "../../support/splits.ts";

function fresh(size = 4096): ResponseHead {
  const head = new ResponseHead();
  head.reset(size);
  return head;
}

function snapshot(head: ResponseHead): unknown {
  const { headers, status, statusLine, version, contentLength, chunked, connectionClose, error, ignored } = head;
  const fields: string[][] = [];
  for (let i = 0; i < headers.count; i++) fields.push([headers.name(i), headers.key(i), headers.value(i)]);
  return { fields, status, statusLine, version, contentLength, chunked, connectionClose, error, ignored };
}

function feed(head: ResponseHead, bytes: Buffer, cuts: readonly number[] = []): Fed {
  const parser = {
    feed: (lent: Buffer, start: number, end: number) => head.feed(lent, start, end),
    consumed: () => head.end,
    seen: () => snapshot(head),
  };
  return feedPieces(parser, bytes, cuts);
}

function parse(text: string, size = 4096): { code: number; head: ResponseHead } {
  const head = fresh(size);
  const bytes = Buffer.from(text, "latin1");
  return { code: head.feed(bytes, 0, bytes.length), head };
}

const OK = "HTTP/1.1 200 OK\r\n";

/** An answer, what becomes of it and, where it is refused, the sentence. */
const ANSWERS: readonly [string, number, string?][] = [
  [`${OK}\r\n`, DONE],
  [`${OK}Content-Length: 5\r\nConnection: keep-alive\r\n\r\nhello`, DONE],
  [`${OK}Transfer-Encoding: CHUNKED\r\n\r\n`, DONE],
  ["HTTP/1.1 200\r\n\r\n", DONE],
  ["HTTP/1.0 403.7 Forbidden\n\n", DONE],
  ["HTTP/1.1   404   x y\r\n\r\n", DONE],
  ["HTTP/2.0 200 OK\r\n\r\n", DONE],
  ["HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: x\r\n\r\n", DONE],
  [`${OK}X: a\x01b\r\r\nHTTP/1.1 200 again\r\nNo-Colon\r\na b\r\n\r\n`.replace("a b\r\n", ""), DONE],
  [`${OK}X_y: 1\r\nServer: a\r\nserver: b\r\nExpires: 0\r\nExpires: 1\r\n\r\n`, DONE],
  [OK, NEED_MORE],
  ["HTT", NEED_MORE],
  ["hello\n", NO_HEAD, "upstream sent no valid HTTP/1.0 header"],
  ["HTTP/0.9 200 OK\r\n", NO_HEAD],
  ["HTTP/1.1 20x OK\r\n", NO_HEAD],
  ["HTTP/1.1 2000 OK\r\n", NO_HEAD],
  ["HTTP/1.1 200 OK\rX", NO_HEAD],
  ["HTTP/1.1\r\n", NO_HEAD],
  ["\r\nHTTP/1.1 200 OK\r\n\r\n", NO_HEAD],
  [`${OK} folded\r\n\r\n`, INVALID, 'upstream sent invalid header: "\\x20..."'],
  [`${OK}A b: c\r\n\r\n`, INVALID, 'upstream sent invalid header: "A\\x20..."'],
  [`${OK}: c\r\n\r\n`, INVALID, 'upstream sent invalid header: "\\x3a..."'],
  [`${OK}A: b\0\r\n\r\n`, INVALID, 'upstream sent invalid header: "A: b\\x00..."'],
  [`${OK}A: b\rc\r\n\r\n`, INVALID],
  [`${OK}Content-Length: -1\r\n\r\n`, INVALID, 'upstream sent invalid "Content-Length" header: "Content-Length: -1"'],
  [
    `${OK}Content-Length: 1\r\ncontent-length: 1\r\n\r\n`,
    INVALID,
    'upstream sent duplicate header line: "content-length: 1", previous value: "Content-Length: 1"',
  ],
  [
    `${OK}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`,
    INVALID,
    'upstream sent "Content-Length" and "Transfer-Encoding" headers at the same time',
  ],
  [
    `${OK}Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n`,
    INVALID,
    'upstream sent "Content-Length" and "Transfer-Encoding" headers at the same time',
  ],
  [`${OK}Transfer-Encoding: gzip\r\n\r\n`, INVALID, 'upstream sent unknown "Transfer-Encoding": "gzip"'],
  [`${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`, INVALID],
  ["HTTP/1.0 103 Early Hints\r\n\r\n", INVALID, "upstream sent HTTP/1.0 response with early hints"],
];

test("answers good and bad, in whatever pieces they come", () => {
  for (const [text, code, error] of ANSWERS) {
    const bytes = Buffer.from(text, "latin1");
    const whole = feed(fresh(), bytes);
    assert.equal(whole.code, code, JSON.stringify(text));
    if (error !== undefined) assert.equal(parse(text).head.error, error);
    for (const cuts of everySplit(bytes)) {
      assert.deepEqual(feed(fresh(), bytes, cuts), whole, `${JSON.stringify(text)} cut at ${cuts}`);
    }
  }
});

test("what a proxy needs is at hand", () => {
  const { code, head } = parse(
    "HTTP/1.1 404 Not  Here\r\nserver: x\r\nDate: now\r\nContent-Type: text/html\r\nETag: e\r\nContent-Length: 7\r\n" +
      "Set-Cookie: a\r\nSet-Cookie: b\r\nX-Accel-Redirect: /in\r\nConnection: Close\r\nDate: then\r\n\r\n",
  );
  assert.equal(code, DONE);
  assert.deepEqual([head.status, head.statusLine, head.version], [404, "404 Not  Here", 1001]);
  assert.deepEqual(
    ["server", "date", "content-type", "etag"].map((key) => head.headers.get(key)),
    ["x", "now", "text/html", "e"],
  );
  assert.deepEqual([head.contentLength, head.connectionClose, head.setCookieAt], [7, true, 5]);
  assert.equal(head.xAccelRedirect, "/in");
  assert.deepEqual(head.headers.getAll("date"), ["now"]);
  assert.deepEqual(head.ignored, [
    'upstream sent duplicate header line: "Date: then", previous value: "Date: now", ignored',
  ]);
  head.reset(4096);
  const next = Buffer.from("HTTP/1.0 204 No\r\n\r\n");
  assert.equal(head.feed(next, 0, next.length), DONE);
  assert.deepEqual([head.ignored, head.contentLength, head.setCookieAt], [undefined, -1, -1]);
  assert.equal(head.connectionClose, true);
});

test("an informational answer is followed by the final one", () => {
  const head = fresh();
  const first = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
  const bytes = Buffer.from(`${first}${OK}Content-Length: 0\r\n\r\n`);
  assert.equal(head.feed(bytes, 0, bytes.length), DONE);
  assert.deepEqual([head.status, head.end], [103, first.length]);
  head.reset(4096);
  assert.equal(head.feed(bytes, head.end, bytes.length), DONE);
  assert.deepEqual([head.status, head.end, head.contentLength], [200, bytes.length, 0]);
});

test("an answer without a head is all body, what came before included", () => {
  const head = fresh();
  const first = Buffer.from("..HTTP/1.");
  assert.equal(head.feed(first, 2, first.length), NEED_MORE);
  first.fill("X");
  const second = Buffer.from("!x and more");
  assert.equal(head.feed(second, 1, second.length), NO_HEAD);
  assert.equal(`${head.prefix}${second.subarray(head.end)}`, "HTTP/1.x and more");
  assert.deepEqual([head.version, head.status], [9, 200]);
});

/** A CGI response, and its status line or the sentence it is refused with. */
const CGI: readonly [string, string][] = [
  ["\r\n", "200 OK"],
  ["Content-Type: text/html\n\n", "200 OK"],
  ["Status: 404 Not Found\r\nX: y\r\n\r\n", "404 Not Found"],
  ["X: y\r\nStatus: 204\r\n\r\n", "204"],
  ["Location: /a\r\n\r\n", "302 Moved Temporarily"],
  ["Location: /a\r\nStatus: 301 There\r\n\r\n", "301 There"],
  ["HTTP/1.1 500 Oops\r\nStatus: 200\r\n\r\n", "200"],
  ["Status: 200\r\nStatus: 500\r\n\r\n", "200"],
  ["Status: OK\r\n\r\n", 'upstream sent invalid status "OK"'],
  ["Status: 20\r\n\r\n", 'upstream sent invalid status "20"'],
  ["no header\r\n\r\n", 'upstream sent invalid header: "no\\x20..."'],
  ["Content-Length: x\r\n\r\n", 'upstream sent invalid "Content-Length" header: "Content-Length: x"'],
  [`X: ${"x".repeat(100)}`, "upstream sent too big header"],
];

test("a CGI response has its status in a field, at every split", () => {
  heads("cgi", CGI);
});

test("a response of uwsgi or SCGI may have a status line, whose status holds, at every split", () => {
  heads("either", [
    ...CGI.filter(([text]) => !text.startsWith("HTTP")),
    ["HTTP/1.1 500 Oops\r\nStatus: 200\r\n\r\n", "500 Oops"],
    ["HTTP/1.0 404 Not Found\n\n", "404 Not Found"],
    ["HTTP: x\r\nStatus: 201 Made\r\n\r\n", "201 Made"],
    // A line of fields that begins with "HTTP/" is left out: IIS sends status lines among them.
    ["HTTP/1.1 x\r\n\r\n", "200 OK"],
  ]);
});

function heads(form: "cgi" | "either", cases: readonly [string, string][]): void {
  const head = new ResponseHead(form);
  for (const [text, expected] of cases) {
    const bytes = Buffer.from(text);
    for (const cuts of everySplit(bytes)) {
      head.reset(64);
      const { code, consumed } = feed(head, bytes, cuts);
      // A code alone has no text of its own.
      assert.equal(code === DONE ? (head.statusLine ?? `${head.status}`) : head.error, expected, text);
      if (code !== DONE) continue;
      assert.equal(consumed, bytes.length);
      assert.equal(head.status, Number(expected.slice(0, 3)));
    }
  }
}

test("a head may fill the buffer and no more", () => {
  const text = `${OK}X: ${"y".repeat(60)}\r\n\r\n`;
  for (const [size, code] of [
    [text.length, DONE],
    [text.length - 1, INVALID],
    [20, INVALID],
  ]) {
    const bytes = Buffer.from(text);
    for (const cuts of everySplit(bytes)) assert.equal(feed(fresh(size), bytes, cuts).code, code);
  }
  assert.equal(parse(`HTTP/1.1 200 ${"x".repeat(100)}`, 64).head.error, "upstream sent too big header");
});

test("any bytes: ends, throws nothing, same in any pieces", () => {
  const token = fc.constantFrom(
    ..."HTTP/1.1 200 OK\r\n|HTTP/1.0 |200|\r\n|\n|\r|:| |\t|Content-Length: 5|Transfer-Encoding: chunked|X: y|\0|HTTP/".split(
      "|",
    ),
  );
  fc.assert(
    fc.property(fc.array(token, { maxLength: 20 }), fc.array(fc.nat(100), { maxLength: 4 }), (tokens, places) => {
      const bytes = Buffer.from(OK + tokens.join(""), "latin1");
      const cuts = [...new Set(places)].filter((at) => at > 0 && at < bytes.length).sort((a, b) => a - b);
      assert.deepEqual(feed(fresh(), bytes, cuts), feed(fresh(), bytes));
    }),
    { numRuns: 2000 },
  );
});
