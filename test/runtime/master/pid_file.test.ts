import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { removePidFile, writePidFile } from "../../../src/runtime/master/pid_file.ts";
import { makePrefix } from "../../support/holdfast.ts";

test("a pid file is removed by its own process, not by one that leaves after its successor has come", (t) => {
  const path = join(makePrefix(t), "holdfast.pid");
  writePidFile(path);
  assert.equal(readFileSync(path, "latin1"), `${process.pid}\n`);
  writeFileSync(path, `${process.pid + 1}\n`);
  assert.equal(removePidFile(path), undefined);
  assert.equal(existsSync(path), true);
  writePidFile(path);
  assert.equal(removePidFile(path), undefined);
  assert.equal(existsSync(path), false);
});
