import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { compileRegex } from "../../src/regex/regex.ts";

test("a pattern in use is compiled once, with and without regard to case", () => {
  const regex = compileRegex("^/(a+)$", false);
  const caseless = compileRegex("^/(a+)$", true);
  assert.equal(compileRegex("^/(a+)$", false), regex);
  assert.equal(compileRegex("^/(a+)$", true), caseless);
  assert.notEqual(regex, caseless);
  assert.ok("exec" in regex && regex.test("/a") && !regex.test("/A"));
  assert.ok("exec" in caseless && caseless.test("/A"));
});

test("one that nobody uses any more is collected, and compiled anew when it comes back", async () => {
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  const compiled = new WeakRef(compileRegex("^/(gone)$", false));
  for (let i = 0; i < 20 && compiled.deref() !== undefined; i++) {
    await turn();
    collect();
  }
  assert.equal(compiled.deref(), undefined);
  const again = compileRegex("^/(gone)$", false);
  assert.ok("exec" in again && again.test("/gone"));
});
