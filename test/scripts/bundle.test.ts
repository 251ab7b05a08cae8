import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { bundled } from "../support/holdfast.ts";

const BUNDLE = fileURLToPath(new URL("../../src/bundle.ts", import.meta.url));

test("dist/holdfast.mjs keeps the bytecode of the program beside it, and uses that of no other program", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-test-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const at = (name: string) => join(folder, name);
  copyFileSync(bundled(BUNDLE), at("holdfast.mjs"));
  // V8 would take the bytecode of any program of the same length.
  const program = (word: string) =>
    writeFileSync(
      at("program.js"),
      `(function (module, require) { module.exports.boot = () => require("node:fs").writeSync(1, "${word}"); })\n//${word}`,
    );
  const run = () => execFileSync(process.execPath, [at("holdfast.mjs")], { encoding: "latin1" });
  const written = () => statSync(at("program.cache")).ino;

  program("one");
  assert.equal(run(), "one");
  const first = written();
  assert.equal(run(), "one");
  assert.equal(written(), first, "what is usable is not written again");

  program("two");
  assert.equal(run(), "two");
  assert.ok(readFileSync(at("program.cache"), "latin1").endsWith("//two"));

  writeFileSync(at("program.cache"), "damaged//two");
  assert.equal(run(), "two");
  assert.ok(readFileSync(at("program.cache"), "latin1").length > 100, "what V8 refuses is written again");

  if (process.getuid?.() === 0) return;
  rmSync(at("program.cache"));
  chmodSync(folder, 0o500);
  assert.equal(run(), "two", "who may not write it does without");
  chmodSync(folder, 0o700);
});

test("bytecode stays usable where the program sets flags of V8, and starts threads", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-test-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const at = (name: string) => join(folder, name);
  copyFileSync(bundled(BUNDLE), at("holdfast.mjs"));
  writeFileSync(
    at("program.js"),
    `(function (module, require) {
      module.exports.boot = () => {
        const { isMainThread, Worker } = require("node:worker_threads");
        if (!isMainThread) return;
        require("node:v8").setFlagsFromString("--max-inlined-bytecode-size=920");
        new Worker(process.argv[1]).on("exit", (code) => require("node:fs").writeSync(1, "thread " + code));
      };
    })
//one`,
  );
  const run = () => execFileSync(process.execPath, [at("holdfast.mjs")], { encoding: "latin1" });
  const written = () => statSync(at("program.cache")).ino;
  assert.equal(run(), "thread 0");
  const first = written();
  assert.equal(run(), "thread 0");
  assert.equal(written(), first);
});
