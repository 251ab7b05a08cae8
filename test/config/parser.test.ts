import assert from "node:assert/strict";
import { symlinkSync } from "node:fs";
import { describe, test } from "node:test";
import type { Directive } from "../../src/config/types.ts";
import { errorOf, parse, workspace, write } from "./workspace.ts";

const directory = workspace();

/** A directive as nested lists: its words, and a list of lists where it has a block. */
type Outline = (string | Outline[])[];

function outline(directives: readonly Directive[]): Outline[] {
  return directives.map(({ name, args, block }) =>
    block === undefined ? [name, ...args] : [name, ...args, outline([...block])],
  );
}

function words(text: string): Outline[] {
  return outline(parse(directory, text).directives);
}

describe("words", () => {
  const cases: readonly (readonly [what: string, text: string, expected: Outline[]])[] = [
    [
      "words and blocks",
      "a b c;d{e f;}g{}",
      [
        ["a", "b", "c"],
        ["d", [["e", "f"]]],
        ["g", []],
      ],
    ],
    ["white space of four kinds", "a\t b\r\nc ;", [["a", "b", "c"]]],
    ["both quotes", `a "b c" 'd;{}' "it's" 'say "x"';`, [["a", "b c", "d;{}", "it's", 'say "x"']]],
    ["empty quotes", `a "" '';`, [["a", "", ""]]],
    ["quotes within a word are bytes of it", `a b"c d'e;`, [["a", 'b"c', "d'e"]]],
    ["escapes", String.raw`a "\"\\\t\r\n" '\'' \"x\" \;y;`, [["a", '"\\\t\r\n', "'", '"x"', "\\;y"]]],
    ["other backslashes stay", String.raw`a "\.\d\$" ~\.php$;`, [["a", "\\.\\d\\$", "~\\.php$"]]],
    ["an escaped backslash before t", String.raw`a \\t;`, [["a", "\\t"]]],
    ["an escaped space", String.raw`a b\ c;`, [["a", "b\\ c"]]],
    [
      "comments",
      "# x\na b; # c;\nd # e\nf;#",
      [
        ["a", "b"],
        ["d", "f"],
      ],
    ],
    ["a sharp within a word", "a b#c;", [["a", "b#c"]]],
    ["variables in braces", `a \${b}c d\${e} "\${f}" \${g;`, [["a", `\${b}c`, `d\${e}`, `\${f}`, `\${g`]]],
    ["a brace not after a dollar opens a block", "a $b{c d;}", [["a", "$b", [["c", "d"]]]]],
    ["parentheses of if", 'if ($a = "b") { c; }', [["if", "($a", "=", "b", ")", [["c"]]]]],
    ["a regex in quotes", 'location ~ "^/a{2}$" { }', [["location", "~", "^/a{2}$", []]]],
    [
      "odd names in a map",
      'map $a $b { hostnames; volatile; default 1; "~^x{1}" 2; ~*y 3; \\default 4; "" 5; *.a.b 6; }',
      [
        [
          "map",
          "$a",
          "$b",
          [
            ["hostnames"],
            ["volatile"],
            ["default", "1"],
            ["~^x{1}", "2"],
            ["~*y", "3"],
            ["\\default", "4"],
            ["", "5"],
            ["*.a.b", "6"],
          ],
        ],
      ],
    ],
    ["high bytes are kept", 'a "\xc3\xa9" \xff;', [["a", "\xc3\xa9", "\xff"]]],
    ["an empty file", "", []],
    ["a file of comments", "# one\n\n# two", []],
  ];
  for (const [what, text, expected] of cases) test(what, () => assert.deepEqual(words(text), expected));

  test("a directive's line is that of its end", () => {
    const [a, b] = parse(directory, "a\n\n b\n;\n\nc\n{\n d;\n\n}\n").directives;
    assert.equal(a.line, 4);
    assert.equal(b.line, 7);
    assert.equal([...(b.block ?? [])][0].line, 8);
    assert.equal(b.endLine, 10);
  });

  test("lines inside quotes are counted", () => {
    const [, after] = parse(directory, 'a "x\ny\n";\nb;').directives;
    assert.equal(after.line, 4);
  });

  test("a block of ten thousand levels is no trouble", () => {
    const depth = 10_000;
    let [at]: readonly Directive[] = parse(directory, `${"a{".repeat(depth)}${"}".repeat(depth)}`).directives;
    let levels = 0;
    for (; at !== undefined; at = [...(at.block ?? [])][0]) levels++;
    assert.equal(levels, depth);
  });
});

describe("include", () => {
  test("puts what the file holds where it stands, in any block", () => {
    write(directory, "one.conf", "b;\nc { d; }\n");
    const { directives, files } = parse(directory, "a { include one.conf; } map $x $y { include one.conf; }");
    const inner = [["b"], ["c", [["d"]]]];
    assert.deepEqual(outline(directives), [
      ["a", inner],
      ["map", "$x", "$y", inner],
    ]);
    assert.equal([...(directives[0].block ?? [])][0].file, `${directory}one.conf`);
    assert.deepEqual(
      files.map((file) => file.path),
      [`${directory}nginx.conf`, `${directory}one.conf`],
    );
    assert.equal(files[1].text, "b;\nc { d; }\n");
  });

  test("takes absolute paths and paths beside the file", () => {
    write(directory, "deep/two.conf", "x;");
    write(directory, "deep/one.conf", "include deep/two.conf;");
    assert.deepEqual(words(`include ${directory}deep/one.conf;`), [["x"]]);
  });

  test("a pattern that matches nothing is no error", () => {
    assert.deepEqual(words("include none/*.conf;"), []);
  });

  test("a file that includes itself ends as nginx does, out of descriptors", () => {
    const path = write(directory, "self.conf", "include self.conf;");
    assert.equal(
      errorOf(() => parse(directory, "include self.conf;")),
      `open() "${path}" failed (24: Too many open files) in ${path}:1`,
    );
  });

  test("file names are byte strings", () => {
    write(directory, "plain.conf", "x;");
    symlinkSync(`${directory}plain.conf`, Buffer.from(`${directory}\xe9.conf`, "latin1"));
    assert.deepEqual(words("include \xe9.conf;"), [["x"]]);
    assert.deepEqual(words("include \xe9*.conf;"), [["x"]]);
  });

  test("a missing configuration file has no place", () => {
    assert.equal(
      errorOf(() => parse(`${directory}nowhere/../`, "include nowhere/x;")),
      `open() "${directory}nowhere/../nowhere/x" failed (2: No such file or directory) in ${directory}nowhere/../nginx.conf:1`,
    );
  });
});

describe("the -g option", () => {
  test("comes first", () => {
    const { directives, files } = parse(directory, "c d;", "a on;\nb 'x y';");
    assert.deepEqual(outline(directives), [
      ["a", "on"],
      ["b", "x y"],
      ["c", "d"],
    ]);
    assert.equal(directives[1].line, 0);
    assert.equal(files.length, 1);
  });

  test("has no limit on a word's length", () => {
    const long = "x".repeat(10_000);
    assert.deepEqual(outline(parse(directory, "", `a ${long};`).directives), [["a", long]]);
  });
});

test("a tree can be sent to another process", () => {
  const tree = parse(directory, "a { b c; }", "d;");
  assert.deepEqual(structuredClone(tree), tree);
});
