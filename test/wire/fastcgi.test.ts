import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  beginRequest,
  END,
  ERR,
  INVALID,
  MORE,
  OUT,
  OUT_END,
  param,
  params,
  RecordReader,
  STDIN_STREAM,
} from "../../src/wire/fastcgi.ts";
import { record } from "./fastcgi_record.ts";

const MAX_CONTENT = 65_535;

interface Read {
  out: string;
  err: string;
  /** What came, in order, each once: `out end`, `end 0`, the error. */
  events: string[];
  /** Bytes behind the end of the request. */
  after: string;
}

/** Reads pieces to the end of the request, to an error, or to the last byte. */
function read(pieces: readonly string[], reader = new RecordReader()): Read {
  const result: Read = { out: "", err: "", events: [], after: "" };
  let over = false;
  for (const piece of pieces) {
    const bytes = Buffer.from(piece, "latin1");
    for (let at = 0; !over; at = reader.pos) {
      const code = reader.next(bytes, at, bytes.length);
      assert.ok(reader.pos >= at && reader.pos <= bytes.length);
      const data = bytes.toString("latin1", reader.dataStart, reader.dataEnd);
      if (code === MORE) {
        assert.equal(reader.pos, bytes.length);
        break;
      }
      if (code === OUT) result.out += data;
      else if (code === ERR) result.err += reader.left === 0 ? `${data}|` : data;
      else if (code === OUT_END) result.events.push("out end");
      else {
        result.events.push(code === END ? `end ${reader.protocolStatus}` : reader.error);
        assert.ok(code === END || code === INVALID);
        over = true;
      }
    }
    if (over) result.after += bytes.toString("latin1", result.after === "" ? reader.pos : 0);
    if (over) break;
  }
  return result;
}

const DONE = "\0\0\0\0\0\0\0\0";

test("a response, an error stream and the end, with and without padding", () => {
  const answer = record(7, "warning", 1) + record(6, "Status: 200\r\n\r\n", 5) + record(6, "body") + record(6, "", 3);
  assert.deepEqual(read([`${answer}${record(3, DONE, 7)}next`]), {
    out: "Status: 200\r\n\r\nbody",
    err: "warning|",
    events: ["out end", "end 0"],
    after: "next",
  });
});

test("the request is over with the last byte of its last record's padding", () => {
  const answer = record(3, DONE, 4);
  for (let cut = 0; cut < answer.length; cut++) assert.deepEqual(read([answer.slice(0, cut)]).events, []);
  assert.deepEqual(read([answer]).events, ["end 0"]);
  assert.deepEqual(read([record(3, "")]).events, ["end -1"], "an end that says nothing");
  assert.deepEqual(read([record(3, "\0\0\0\x09\x02\0\0\0")]).events, ["end 2"]);
  assert.deepEqual(read([record(3, `\0\0\0\0\x03${"x".repeat(60_000)}`, 255)]).events, ["end 3"]);
});

test("a connection serves one response after another", () => {
  const reader = new RecordReader();
  for (let i = 0; i < 3; i++) {
    reader.reset();
    const { out, events } = read([record(6, `answer ${i}`, 2) + record(3, DONE)], reader);
    assert.equal(out, `answer ${i}`);
    assert.deepEqual(events, ["end 0"]);
  }
});

test("another version, type or id is refused at the byte that says so, in nginx's words", () => {
  const refused = (bytes: string, at: number, error: string) => {
    const reader = new RecordReader();
    const buffer = Buffer.from(bytes, "latin1");
    assert.equal(reader.next(buffer, 0, at), MORE);
    assert.equal(reader.next(buffer, at, at + 1), INVALID, error);
    assert.equal(reader.error, error);
    assert.equal(reader.pos, at);
  };
  refused("HTTP/1.1 200 OK\r\n", 0, "upstream sent unsupported FastCGI protocol version: 72");
  // What only a web server sends, and management records.
  for (const type of [0, 1, 2, 4, 5, 8, 9, 10, 11, 255])
    refused(record(type, "x"), 1, `upstream sent invalid FastCGI record type: ${type}`);
  refused(record(6, "x", 0, 0x0201), 2, "upstream sent unexpected FastCGI request id high byte: 2");
  refused(record(6, "x", 0, 0), 3, "upstream sent unexpected FastCGI request id low byte: 0");
  refused(record(6, "x", 0, 2), 3, "upstream sent unexpected FastCGI request id low byte: 2");
  assert.deepEqual(read([record(6, "one") + record(6, "two", 0, 2)]), {
    out: "one",
    err: "",
    events: ["upstream sent unexpected FastCGI request id low byte: 2"],
    after: "\x02\0\x03\0\xaatwo",
  });
});

const records = fc.array(
  fc.oneof(
    fc.tuple(
      fc.constantFrom(6, 7),
      fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((c) => String.fromCharCode(c)) }),
      fc.nat(255),
    ),
    // The longest there are, and empty ones.
    fc.tuple(fc.constantFrom(6, 7), fc.constantFrom("", "x".repeat(MAX_CONTENT)), fc.constantFrom(0, 255)),
  ),
  { maxLength: 6 },
);

test("any split of the bytes reads the same", () => {
  fc.assert(
    fc.property(records, fc.nat(2), fc.array(fc.nat(), { maxLength: 12 }), (list, ending, cuts) => {
      const sent = list.map(([type, content, padding]) => record(type, content, padding)).join("");
      const end = [record(3, DONE, 3), record(9, "?"), ""][ending];
      const answer = `${sent}${end}`;
      const whole = read([answer]);
      assert.equal(whole.out, list.map(([type, content]) => (type === 6 ? content : "")).join(""));
      const marks = [...new Set(cuts.map((cut) => cut % (answer.length + 1)))].sort((a, b) => a - b);
      const pieces = [0, ...marks].map((mark, i) => answer.slice(mark, marks[i] ?? answer.length));
      assert.deepEqual({ ...read(pieces), after: "" }, { ...whole, after: "" });
    }),
    { numRuns: 300 },
  );
});

test("any bytes at all: every call goes on, or ends it", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 }), (pieces) => {
      read(pieces.map((piece) => Buffer.from(piece).toString("latin1")));
      // Most of the above ends at the first byte: the same behind a header that announces all it can.
      read([
        record(6, "").replace(/\0\0\0.$/s, "\xff\xff\xff\0"),
        ...pieces.map((p) => Buffer.from(p).toString("latin1")),
      ]);
    }),
  );
});

test("a request begins, has its parameters, and its body in records", () => {
  assert.equal(beginRequest(false), "\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0");
  assert.equal(beginRequest(true), "\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0");
  assert.equal(params(""), "\x01\x04\0\x01\0\0\0\0");
  assert.equal(param("A", ""), "\x01\0A");
  assert.equal(param("n".repeat(127), "v".repeat(128)).slice(0, 5), "\x7f\x80\0\0\x80");
  assert.equal(param("A", "v".repeat(0x012345)).slice(0, 5), "\x01\x80\x01\x23\x45");
  const body = "hello";
  const { before, after, end } = STDIN_STREAM;
  assert.equal(
    before(5) + body + after(5, false) + end,
    "\x01\x05\0\x01\0\x05\x03\0hello\0\0\0" + "\x01\x05\0\x01\0\0\0\0",
  );
  assert.equal(after(5, false) + end, after(5, true));
  assert.equal(after(8, false), "");
  assert.equal(before(MAX_CONTENT).slice(4, 7), "\xff\xff\x01");
});

test("parameters too long for a record go on in the next, and come out whole", () => {
  fc.assert(
    fc.property(fc.constantFrom(0, 1, 8, MAX_CONTENT - 1, MAX_CONTENT, MAX_CONTENT + 1, 200_000), (length) => {
      const pairs = "p".repeat(length);
      // Read as what they would be on the response's stream: the records have the same form.
      const { out, events } = read([params(pairs).replaceAll("\x01\x04\0\x01", "\x01\x06\0\x01")]);
      assert.equal(out, pairs);
      assert.deepEqual(events, ["out end"]);
    }),
  );
});
