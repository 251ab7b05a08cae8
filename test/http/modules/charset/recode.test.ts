import assert from "node:assert/strict";
import { test } from "node:test";
import type { Scope } from "../../../../src/config/schema.ts";
import type { Directive } from "../../../../src/config/types.ts";
import { type CharsetTable, namedCharset, readCharsetMap } from "../../../../src/http/modules/charset/charsets.ts";
import { Recoder } from "../../../../src/http/modules/charset/recode.ts";
import { decodeUtf8, INCOMPLETE, INVALID } from "../../../../src/wire/utf8.ts";

const line = (name: string, ...args: readonly string[]): Directive => ({ name, args, file: "f", line: 1 });
const scope = (): Scope => ({
  context: "http",
  directive: line("http"),
  parent: undefined,
  values: new Map(),
  places: new Map(),
  children: [],
  hasChildren: false,
  order: [],
  notes: new Map(),
});

function tables(to: string, ...lines: readonly (readonly [string, string])[]): readonly [CharsetTable, CharsetTable] {
  const block = lines.map(([from, into]) => line(from, into));
  const [one, two] = readCharsetMap({ ...line("charset_map", "one", to), block }, scope());
  return [one.tables.get(two) ?? assert.fail("no table"), two.tables.get(one) ?? assert.fail("no table")];
}

/** What a body becomes that comes in the pieces given. */
function recoded(table: CharsetTable, ...pieces: readonly (string | Uint8Array)[]): string {
  const recoder = new Recoder(table);
  return Buffer.concat(pieces.map((piece) => recoder.recode(piece))).toString("latin1");
}

const utf8 = (text: string): string => Buffer.from(text).toString("latin1");

test("bytes become bytes, what is not in the map a question mark", () => {
  const [there, back] = tables("two", ["80", "C0"], ["58", "59"]);
  assert.equal(recoded(there, "aX\x80\x81"), "aY\xc0?");
  assert.equal(recoded(back, Buffer.from("aY\xc0\x80", "latin1")), "aX\x80?");
});

test("bytes become UTF-8 and come back, however the body is cut", () => {
  const [there, back] = tables("utf-8", ["A4", "E282AC"], ["E9", "c3a9"]);
  assert.equal(recoded(there, "1\xa4, caf\xe9 \xff"), utf8("1€, café ?"));
  const text = utf8("1€, café — é日 𝄞!");
  const expected = "1\xa4, caf\xe9 &#8212; \xe9&#26085; &#119070;!";
  for (let first = 0; first <= text.length; first++) {
    for (let second = first; second <= text.length; second++) {
      const pieces = [text.slice(0, first), text.slice(first, second), text.slice(second)];
      assert.equal(recoded(back, ...pieces), expected, `${first}, ${second}`);
    }
  }
});

test("what is no UTF-8 becomes question marks, a character cut short at the end is dropped", () => {
  const [, back] = tables("utf-8", ["A4", "E282AC"]);
  assert.equal(recoded(back, "a\xff\x80\xc0b"), "a???b");
  assert.equal(recoded(back, "a\xe2\x82"), "a");
  assert.equal(recoded(back, "\xe0\x80\x80."), "?.");
  assert.equal(recoded(back, "\xf7\xbf\xbf\xbf."), "?.");
  // The longest that a short input can become.
  assert.equal(recoded(back, utf8("߿߿߿")), "&#2047;&#2047;&#2047;");
});

test("a sequence is read as nginx reads it", () => {
  const read = (text: string) => ({ ...decodeUtf8(Buffer.from(text, "latin1"), 0, text.length) });
  assert.deepEqual(read("\xc3\xa9"), { code: 0xe9, end: 2 });
  assert.deepEqual(read("\xe2\x82"), { code: INCOMPLETE, end: 0 });
  assert.deepEqual(read("\xe2A\x82"), { code: INVALID, end: 2 });
  assert.deepEqual(read("\x80"), { code: INVALID, end: 1 });
  assert.deepEqual(read("\xf4\x90\x80\x80"), { code: INVALID, end: 4 });
});

test("mistakes in charset_map are refused in nginx's words", () => {
  const refused = (args: readonly string[], lines: readonly Directive[], message: string | RegExp, at = scope()) => {
    assert.throws(() => readCharsetMap({ ...line("charset_map", ...args), block: lines }, at), { message });
  };
  refused(["a", "A"], [], '"charset_map" between the same charsets "a" and "A"');
  refused(["UTF-8", "a"], [], '"charset_map" with "utf-8" charset should be given in the second column');
  refused(["a", "b"], [line("80")], "invalid parameters number");
  refused(["a", "b"], [line("100", "1")], 'invalid value "100"');
  refused(["a", "b"], [line("80", "xx")], 'invalid value "xx"');
  for (const wrong of ["41", "E282A", "E282AC80", "E282", "F09D849E", ""]) {
    refused(["a", "utf-8"], [line("80", wrong)], `invalid value "${wrong}"`);
  }
  const known = scope();
  readCharsetMap({ ...line("charset_map", "a", "b"), block: [] }, known);
  refused(["B", "a"], [], 'duplicate "charset_map" between "B" and "a"', known);
  const at = line("charset", "b");
  assert.equal(namedCharset(known, at, "B"), namedCharset(known, at, "b"));
});
