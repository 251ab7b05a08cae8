import assert from "node:assert/strict";
import { test } from "node:test";
import { BROKEN, COMMAND, FAULT, Parser, TEXT } from "../../../../src/http/modules/ssi/parser.ts";
import { everySplit } from "../../../support/splits.ts";

type Found = string | readonly string[];

/** What a page has: text, commands with their parameters, and errors. */
function parse(pieces: readonly string[], valueLength = 12): Found[] {
  const parser = new Parser(valueLength);
  const found: Found[] = [];
  const text = (more: string): void => {
    const last = found.at(-1);
    if (typeof last === "string") found[found.length - 1] = last + more;
    else if (more !== "") found.push(more);
  };
  for (const piece of pieces) {
    parser.at = 0;
    while (parser.at < piece.length) {
      switch (parser.next(piece)) {
        case TEXT:
          text(parser.prefix + piece.slice(parser.start, parser.end));
          break;
        case COMMAND:
          found.push([parser.command, ...parser.params.flatMap(({ key, value }) => [key, value])]);
          break;
        case FAULT:
          found.push(["error", parser.error]);
          break;
        case BROKEN:
          found.push(["end of error"]);
      }
    }
  }
  text(parser.rest());
  return found;
}

function cut(page: string, cuts: readonly number[]): string[] {
  return [...cuts, page.length].map((to, i) => page.slice(i === 0 ? 0 : cuts[i - 1], to));
}

const PAGES: readonly (readonly [page: string, found: readonly Found[]])[] = [
  ['a<!--#echo var="x" -->b', ["a", ["echo", "var", "x"], "b"]],
  ['<!--#set var = \'a"b\' value="c\\"d" \r\n-->', [["set", "var", 'a"b', "value", 'c\\"d']]],
  ["<!--# \t else-->", [["else"]]],
  ["<<!-<!--<!-- no --><!--x<!--#endif --><", ["<<!-<!--<!-- no --><!--x", ["endif"], "<"]],
  ["<!---#no<!-", ["<!---#no<!-"]],
  ['<!--#echo var="x" --x>-->y', [["error", 'unexpected "x" symbol in "echo" SSI command'], ["end of error"], "y"]],
  ["<!--#echo var='x'--->z-->", [["error", 'unexpected "-" symbol in "echo" SSI command'], ["end of error"]]],
  [
    "<!--#echo var-->y",
    [["error", 'unexpected "-" symbol after "var" parameter in "echo" SSI command'], ["end of error"], "y"],
  ],
  [
    "<!--#echo var x='a'-->",
    [["error", 'unexpected "x" symbol after "var" parameter in "echo" SSI command'], ["end of error"]],
  ],
  [
    "<!--#echo var= x-->",
    [["error", 'unexpected "x" symbol before value of "var" parameter in "echo" SSI command'], ["end of error"]],
  ],
  [
    "<!--#echo var='x'y-->",
    [["error", 'unexpected "y" symbol after "x" value of "var" parameter in "echo" SSI command'], ["end of error"]],
  ],
  ["<!--#echo var='123456789012'-->", [["echo", "var", "123456789012"]]],
  [
    "<!--#echo var='1234567890123'-->",
    [["error", 'too long "1234567890123..." value of "var" parameter in "echo" SSI command'], ["end of error"]],
  ],
  [
    "<!--#echo var='12345678901\\'-->",
    [["error", 'too long "12345678901\\\'..." value of "var" parameter in "echo" SSI command'], ["end of error"]],
  ],
  [`<!--#${"c".repeat(33)} -->`, [["error", `the "${"c".repeat(33)}..." SSI command is too long`], ["end of error"]]],
  [
    `<!--#a ${"p".repeat(33)}='' -->`,
    [["error", `too long "${"p".repeat(33)}..." parameter in "a" SSI command`], ["end of error"]],
  ],
  ['text<!--#echo var="never ends', ["text"]],
];

test("a page is the same however it is cut into pieces", () => {
  for (const [page, expected] of PAGES) {
    for (const cuts of everySplit(Buffer.from(page))) {
      assert.deepEqual(parse(cut(page, cuts)), expected, `${page} cut at ${cuts}`);
    }
  }
});

test("no more parameters are kept than it takes to say that they are too many", () => {
  const parser = new Parser(12);
  const begin = "<!--#echo";
  assert.notEqual(parser.next(begin), COMMAND);
  const param = " a='b'";
  for (let i = 0; i < 1000; i++) {
    parser.at = 0;
    parser.next(param);
  }
  parser.at = 0;
  assert.equal(parser.next(" -->"), COMMAND);
  assert.equal(parser.params.length, 17);
});

test("bytes before a command, or before what may become one, are skipped", () => {
  const parser = new Parser(12);
  const skipped = (text: string, from = 0) => parser.skip(Buffer.from(text), from);
  assert.equal(skipped("no command"), 10);
  assert.equal(skipped("a <!-- b <!--#c"), 9);
  assert.equal(skipped("a <!--"), 2);
  assert.equal(skipped("<!--#a b<", 5), 8);
  assert.equal(skipped("<!-", 1), 3);
  parser.next("<!");
  assert.equal(skipped("--#"), 0);
});
