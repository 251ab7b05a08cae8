import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, symlinkSync, unlinkSync } from "node:fs";
import { test } from "node:test";
import { glob } from "../../src/config/glob.ts";
import { NGINX } from "../support/reference_nginx.ts";
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

test("includes the files nginx includes, in its order", {
  skip: NGINX === undefined && "nginx is not installed",
}, () => {
  unlinkSync(`${directory}broken.conf`);
  for (const [pattern] of CASES) {
    if (!/[*?[]/.test(pattern)) continue;
    const main = write(directory, "main", `events {}\ninclude '${pattern.replaceAll("\\", "\\\\")}';\n`);
    const args = ["-T", "-q", "-e", "/dev/null", "-p", directory, "-c", main, "-g", `pid ${directory}pid;`];
    const { stdout, stderr } = spawnSync(NGINX ?? "", args, { encoding: "latin1", timeout: 10_000 });
    const read = [...stdout.matchAll(/^# configuration file (.*):$/gm)].map(([, path]) => path);
    const found = glob(directory + pattern);
    if (found.some((path) => existsSync(`${path}/.`))) continue;
    assert.deepEqual(read, [main, ...found], `${pattern}: ${stderr}`);
  }
});
