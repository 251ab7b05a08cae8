import assert from "node:assert/strict";
import { symlinkSync } from "node:fs";
import { test } from "node:test";
import { glob } from "../../src/config/glob.ts";
import { workspace, write } from "./workspace.ts";

const directory = workspace();
const NAMES = [
  "a.conf",
  "b.conf",
  "B.conf",
  "c-d.conf",
  ".hidden.conf",
  "a*b.conf",
  "[x].conf",
  "sub/a.conf",
  "sub/.b.conf",
];
for (const name of [...NAMES, "other/b.conf", "other/A.conf", "z]", "d1", "d2", "dx"]) write(directory, name, "");
symlinkSync("nowhere", `${directory}broken.conf`);

const CASES: readonly (readonly [pattern: string, found: readonly string[]])[] = [
  ["*.conf", ["B.conf", "[x].conf", "a*b.conf", "a.conf", "b.conf", "broken.conf", "c-d.conf"]],
  ["?.conf", ["B.conf", "a.conf", "b.conf"]],
  [".*.conf", [".hidden.conf"]],
  ["?hidden.conf", []],
  ["[.]hidden.conf", []],
  ["[ab].conf", ["a.conf", "b.conf"]],
  ["[!a].conf", ["B.conf", "b.conf"]],
  ["[^a-z].conf", ["B.conf"]],
  ["[[:upper:]].conf", ["B.conf"]],
  [
    "[[:lower:]0-9]*",
    ["a*b.conf", "a.conf", "b.conf", "broken.conf", "c-d.conf", "d1", "d2", "dx", "other", "sub", "z]"],
  ],
  ["d[[:digit:]]", ["d1", "d2"]],
  ["d[1-]", ["d1"]],
  ["z[]]", ["z]"]],
  ["a\\*b*", ["a*b.conf"]],
  ["\\[*", ["[x].conf"]],
  ["a[", []],
  ["*/a.conf", ["sub/a.conf"]],
  ["*/*.conf", ["other/A.conf", "other/b.conf", "sub/a.conf"]],
  ["sub/../[ab].conf", ["sub/../a.conf", "sub/../b.conf"]],
  ["su?/missing.conf", []],
  ["missing/*", []],
  ["a.conf/*", []],
];

for (const [pattern, found] of CASES) {
  test(pattern, () =>
    assert.deepEqual(
      glob(directory + pattern),
      found.map((name) => directory + name),
    ),
  );
}
