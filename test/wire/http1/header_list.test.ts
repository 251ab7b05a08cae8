import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FIELD, FieldScanner, SPAN } from "../../../src/wire/http1/field_scan.ts";
import { FieldSet } from "../../../src/wire/http1/field_set.ts";
import { HeaderList } from "../../../src/wire/http1/header_list.ts";
import * as known from "../../../src/wire/http1/known_fields.ts";
import { DONE, RequestHead } from "../../../src/wire/http1/request_head.ts";
import { LIMITS } from "./limits.ts";

function list(...fields: string[]): HeaderList {
  const headers = new HeaderList();
  for (const field of fields) {
    const [name, value] = field.split("=");
    headers.append(name, value);
  }
  return headers;
}

function shown(headers: HeaderList): string[] {
  return Array.from({ length: headers.count }, (_, i) => `${headers.name(i)}/${headers.key(i)}=${headers.value(i)}`);
}

test("fields are found, joined, replaced and removed by key", () => {
  const headers = list("A=1", "Set-Cookie=x", "a=2", "Other=3", "SET-COOKIE=y");
  assert.equal(headers.get("a"), "1");
  assert.equal(headers.get("none"), undefined);
  assert.equal(headers.has("other"), true);
  assert.deepEqual(headers.getAll("a"), ["1", "2"]);
  assert.equal(headers.join("a"), "1, 2");
  assert.equal(headers.join("none"), undefined);
  headers.set("a", "9");
  assert.deepEqual(shown(headers), ["a/a=9", "Set-Cookie/set-cookie=x", "Other/other=3", "SET-COOKIE/set-cookie=y"]);
  assert.equal(headers.remove("set-cookie"), 2);
  assert.deepEqual(shown(headers), ["a/a=9", "Other/other=3"]);
  headers.set("New", "n");
  headers.remove("a");
  assert.deepEqual(shown(headers), ["Other/other=3", "New/new=n"]);
  headers.clear();
  assert.equal(headers.get("other"), undefined);
  headers.append("B", "1");
  assert.deepEqual(shown(headers), ["B/b=1"]);
  headers.release();
  assert.deepEqual([headers.count, headers.lines()], [0, ""]);
});

/** The fields of a request's head; `lines` have their ends. */
function parsed(t: TestContext, ...lines: string[]): HeaderList {
  const head = new RequestHead(LIMITS);
  const bytes = Buffer.from(`GET / HTTP/1.0\r\n${lines.join("")}\r\n`, "latin1");
  assert.equal(head.feed(bytes, 0, bytes.length), DONE);
  // The bytes are lent: what is made of them later must not depend on them.
  bytes.fill(0);
  t.assert.equal(head.fields.headers.count, lines.length);
  return head.fields.headers;
}

test("lines that need no change come out as they were, others in one form", (t) => {
  const headers = parsed(
    t,
    "A: 1\r\n",
    "b:2\r\n",
    "C:  3 \r\n",
    "D: 4\n",
    "Accept: */*\r\n",
    "e: \r\n",
    "F\r\n",
    "G: \x80\t\r\n",
  );
  const all = ["A: 1", "b: 2", "C: 3", "D: 4", "Accept: */*", "e: ", "F: ", "G: \x80\t"];
  assert.equal(headers.lines(), all.map((line) => `${line}\r\n`).join(""));
  for (let from = 0; from < all.length; from++) {
    for (let to = from; to <= all.length; to++) {
      const left = new FieldSet(all.slice(from, to).map((line) => line.slice(0, line.indexOf(":")).toLowerCase()));
      const rest = [...all.slice(0, from), ...all.slice(to)];
      assert.equal(headers.lines(left), rest.map((line) => `${line}\r\n`).join(""), `${from}..${to}`);
    }
  }
});

test("what Connection names is left out, and what was added or set comes out with the rest", (t) => {
  const headers = parsed(
    t,
    "Connection: close, X-Hop\r\n",
    "x-hop: 1\r\n",
    "Accept: a\r\n",
    "X-Own: b\r\n",
    "Accept: c\r\n",
  );
  assert.equal(headers.lines(new FieldSet(["connection"])), "Accept: a\r\nX-Own: b\r\nAccept: c\r\n");
  headers.append("Added", "d\r\ne");
  headers.set("accept", "f");
  assert.equal(headers.lines(new FieldSet(["connection"])), "accept: f\r\nX-Own: b\r\nAdded: d  e\r\n");
  headers.remove("x-own");
  assert.deepEqual(shown(headers).slice(2), ["accept/accept=f", "Added/added=d  e"]);
});

test("fields are copied from lists of several heads", (t) => {
  const [one, other] = [parsed(t, "A: 1\r\n", "B: 2\r\n", "Server: x\r\n"), parsed(t, "C: 3\r\n", "D:4\r\n")];
  one.append("Own", "o");
  const headers = new HeaderList();
  for (const [from, at] of [
    [one, 0],
    [one, 1],
    [other, 0],
    [other, 1],
    [one, 3],
    [one, 2],
  ] as const)
    headers.copy(from, at);
  one.clear();
  other.clear();
  assert.equal(headers.lines(), "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nOwn: o\r\nServer: x\r\n");
  assert.deepEqual([headers.get("d"), headers.get("server"), headers.number(5)], ["4", "x", known.SERVER]);
});

test("every known name is found in every casing, by the scanner's hash", () => {
  for (let number = 1; number < known.FIELD_NUMBERS; number++) {
    const name = known.keyOf(number).replace(/(?<=^|-)[a-z]/g, (letter) => letter.toUpperCase());
    for (const cased of [name, name.toLowerCase(), name.toUpperCase()]) {
      const bytes = Buffer.from(`${cased}: v\r\n\r\n`);
      const scanner = new FieldScanner(false);
      assert.equal(scanner.next(bytes, 0, bytes.length), FIELD);
      const found = known.fieldNumber(bytes, scanner.nameStart, scanner.nameEnd, scanner.hash);
      assert.equal(found, number, cased);
      assert.equal(known.numberOf(name.toLowerCase()), number);
      assert.equal(known.fieldKey(cased), name.toLowerCase());
      const spans = new Int32Array(SPAN);
      assert.equal(scanner.usual(bytes, 0, bytes.length, spans, 0, 0), SPAN);
      assert.equal(spans[4], number);
    }
  }
});

test("names are told apart whatever names came in their place before", () => {
  const spans = new Int32Array(4 * SPAN);
  const names = ["Host", "Hosts", "Accept", "Accept-Encoding", "accept", "X-Own", "Age", "Via", "HOST"];
  for (const scanner of [new FieldScanner(false), new FieldScanner(true)]) {
    for (const first of names) {
      for (const second of names) {
        for (const third of names) {
          const bytes = Buffer.from(`${first}: 1\r\n${second}:2\r\n${third}: 3\r\n\r\n`);
          const filled = scanner.usual(bytes, 0, bytes.length, spans, 0, 0);
          assert.equal(filled, 3 * SPAN);
          for (const [i, name] of [first, second, third].entries()) {
            const [start, end, , , number] = spans.subarray(i * SPAN);
            assert.equal(bytes.latin1Slice(start, end), name);
            assert.equal(number, known.numberOf(name.toLowerCase()), `${first} ${second} ${third}`);
          }
        }
      }
    }
  }
});

test("a value ends at its line's end, and at a NUL, wherever in it that is", () => {
  const spans = new Int32Array(4 * SPAN);
  const scanner = new FieldScanner(false);
  for (let length = 0; length < 12; length++) {
    const value = "\x01\x0e\xff vwxyz!".slice(0, length).trimEnd();
    const bytes = Buffer.from(`A: ${value}\r\nB: ${value}\0\r\n`, "latin1");
    assert.equal(scanner.usual(bytes, 0, bytes.length, spans, 0, 0), SPAN);
    assert.equal(bytes.latin1Slice(spans[2], spans[3]), value);
    assert.equal(scanner.pos, value.length + 5);
    scanner.reset();
  }
});

test("the numbers that the code names are those of the table", () => {
  const names = Object.entries(known).filter(([name, value]) => /^[A-Z_]+$/.test(name) && typeof value === "number");
  const others = new Set(["UNKNOWN", "FIELD_NUMBERS", "LOWER"]);
  // A list keeps a number in eight bits, and the last of those says something else.
  assert.ok(known.FIELD_NUMBERS < 255);
  for (const [name, number] of names) {
    if (!others.has(name)) assert.equal(known.numberOf(name.toLowerCase().replaceAll("_", "-")), number, name);
  }
});

test("a name that is nearly known is not", () => {
  for (const name of ["Hos", "Hostt", "H\x4fsu", "hos\x14", "Content_Length", "x-unknown"]) {
    const bytes = Buffer.from(name, "latin1");
    let hash = 0;
    for (const byte of Buffer.from("host")) hash = (Math.imul(hash, 31) + byte) | 0;
    assert.equal(known.fieldNumber(bytes, 0, bytes.length, hash), known.UNKNOWN, name);
  }
});
