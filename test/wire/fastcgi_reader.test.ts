import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FastcgiReader } from "../../src/wire/fastcgi_reader.ts";
import { BROKEN, DATA, HEAD, INVALID, LAST, MORE, OVER } from "../../src/wire/http1/response_reader.ts";
import { record } from "./fastcgi_record.ts";

const END = record(3, "\0".repeat(8), 3);
const OVER_RECORDS = record(6, "", 5) + END;

interface Read {
  readonly status: number;
  readonly body: string;
  readonly stderr: string;
  /** The last code, OVER also where the last piece came with it; and whether the connection's close would complete the answer. */
  readonly code: number;
  readonly completes: boolean;
  readonly error: string;
}

/** Reads an answer as a connection does, which comes in these pieces. */
function read(pieces: readonly string[], keepConn = false, headRequest = false): Read {
  let stderr = "";
  const reader = new FastcgiReader(keepConn, (text) => {
    stderr += text;
    return text.includes("caught");
  });
  reader.begin(256);
  let body = "";
  let head = true;
  let code = MORE;
  for (const piece of pieces) {
    const bytes = Buffer.from(piece, "latin1");
    let at = 0;
    if (head) {
      code = reader.readHead(bytes, 0);
      if (code === MORE) continue;
      if (code !== HEAD) break;
      head = false;
      reader.frame(headRequest);
      code = MORE;
      at = reader.pos;
    }
    // Every call goes on, or ends the answer.
    while (at < bytes.length) {
      code = reader.readBody(bytes, at);
      if (code === DATA || code === LAST) {
        assert.ok(reader.dataStart >= at && reader.dataEnd <= bytes.length && reader.dataStart <= reader.dataEnd);
        body += bytes.toString("latin1", reader.dataStart, reader.dataEnd);
      }
      if (code !== DATA) break;
      assert.ok(reader.pos > at && reader.pos <= bytes.length);
      at = reader.pos;
    }
    if (code !== MORE && code !== DATA) break;
    code = MORE;
  }
  const { error } = reader;
  return {
    status: head ? 0 : reader.head.status,
    body,
    stderr,
    code: code === LAST ? OVER : code,
    completes: !head && reader.endsWithConnection(),
    error,
  };
}

function cut(text: string, marks: readonly number[]): string[] {
  const sorted = [...new Set(marks.map((mark) => mark % (text.length + 1)))].sort((a, b) => a - b);
  return [0, ...sorted].map((mark, i) => text.slice(mark, sorted[i] ?? text.length));
}

const HEAD_TEXT = "Status: 201 Made\r\nX: y\r\n\r\n";

test("an answer is the same in whatever records and pieces it comes", () => {
  const marks = fc.array(fc.nat(), { maxLength: 10 });
  fc.assert(
    fc.property(marks, marks, fc.nat(255), fc.boolean(), (inRecords, inPieces, padding, keepConn) => {
      const records = cut(`${HEAD_TEXT}the body`, inRecords)
        .filter((content) => content !== "")
        .map((content) => record(7, "e", padding) + record(6, content, padding));
      const got = read(cut(records.join("") + OVER_RECORDS, inPieces), keepConn);
      const { status, body, code, stderr } = got;
      assert.deepEqual({ status, body, code }, { status: 201, body: "the body", code: OVER });
      assert.equal(stderr, "e".repeat(records.length));
    }),
    { numRuns: 300 },
  );
});

test("closed at each byte: complete without an end only between records, or with its length", () => {
  for (const [head, known] of [
    [HEAD_TEXT, false],
    [`Content-Length: 8\r\n${HEAD_TEXT}`, true],
  ] as const) {
    const parts = [record(6, head), record(6, "the "), record(6, "body", 4), record(6, "", 2), END];
    const all = parts.join("");
    const [headEnd, one, two, stdout] = [0, 1, 2, 3].map((n) => parts.slice(0, n + 1).join("").length);
    const padding = 4;
    for (let length = 0; length <= all.length; length++) {
      for (const keepConn of [false, true]) {
        const { completes, code } = read([all.slice(0, length)], keepConn);
        const whole = length >= two - padding;
        const ended = length >= stdout - 2;
        const between = length === headEnd || length === one || (length >= two - padding && length <= two) || ended;
        const expected = length >= headEnd && (known ? whole : keepConn ? ended : between);
        assert.equal(completes, expected, `${length} of ${all.length} bytes, known ${known}, kept ${keepConn}`);
        assert.equal(code === OVER, keepConn ? length === all.length : ended, `over at ${length}`);
      }
    }
  }
});

test("what is mutated is read to an end, and nothing is kept without bound", () => {
  const whole =
    record(7, "warning", 1) + record(6, `Content-Length: 8\r\n${HEAD_TEXT}the `, 7) + record(6, "body") + OVER_RECORDS;
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.array(fc.nat(), { maxLength: 6 }),
      fc.boolean(),
      fc.boolean(),
      (changes, marks, keepConn, headRequest) => {
        const bytes = [...whole];
        for (const [at, byte] of changes) bytes[at] = String.fromCharCode(byte);
        const { code, error, body } = read(cut(bytes.join(""), marks), keepConn, headRequest);
        assert.ok([MORE, OVER, INVALID, BROKEN].includes(code), `${code}`);
        assert.equal(error !== "", code === INVALID || code === BROKEN);
        assert.ok(body.length <= whole.length);
      },
    ),
    { numRuns: 3000 },
  );
});

test("a head may have no more than its buffer, in however many records", () => {
  const pieces = Array.from({ length: 300 }, () => record(6, "X"));
  assert.equal(read(pieces).error, "upstream sent too big header");
  // Errors beside it do not count, and are not kept.
  const errors = Array.from({ length: 300 }, () => record(7, "x".repeat(1000)));
  assert.equal(read([...errors, record(6, HEAD_TEXT) + OVER_RECORDS]).code, OVER);
});

test("an error that is caught before the head refuses the answer, and one behind it does not", () => {
  assert.equal(read([record(7, "caught"), record(6, HEAD_TEXT)]).code, INVALID);
  const { code, body } = read([record(6, `${HEAD_TEXT}a`) + record(7, "caught") + record(6, "b") + OVER_RECORDS]);
  assert.deepEqual([code, body], [OVER, "ab"]);
});

test("the end is told with the last piece where both have come, and nothing is taken from behind another piece", () => {
  const codes = (behind: string, keepConn = true): number[] => {
    const reader = new FastcgiReader(keepConn, () => false);
    reader.begin(256);
    const bytes = Buffer.from(record(6, `${HEAD_TEXT}body`, 3) + behind, "latin1");
    assert.equal(reader.readHead(bytes, 0), HEAD);
    reader.frame(false);
    const found: number[] = [];
    for (let at = reader.pos; at < bytes.length; at = reader.pos) {
      const code = reader.readBody(bytes, at);
      found.push(code);
      if (code !== DATA) break;
    }
    if (found.at(-1) !== DATA) assert.equal(reader.reusable, keepConn && behind.endsWith(OVER_RECORDS));
    return found;
  };
  assert.deepEqual(codes(OVER_RECORDS), [LAST]);
  assert.deepEqual(codes(`${OVER_RECORDS}x`), [LAST]);
  assert.deepEqual(codes(record(6, "", 5)), [DATA], "END_REQUEST is awaited where the connection is kept");
  assert.deepEqual(codes(record(6, "", 5), false), [LAST]);
  assert.deepEqual(codes(record(7, "error") + record(6, "more") + OVER_RECORDS), [DATA, LAST]);
  assert.deepEqual(codes("\x01\x09"), [DATA, INVALID]);
  assert.deepEqual(codes(`${record(7, "error")}\x02`), [DATA, INVALID]);
});
