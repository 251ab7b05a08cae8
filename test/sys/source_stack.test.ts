import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { sourceStack } from "../../src/sys/source_stack.ts";

test("a stack of a built file names the places of its source", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-test-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [source, built] = [join(folder, "thrower.ts"), join(folder, "dist", "thrower.mjs")];
  writeFileSync(
    source,
    ["interface Gone {}", "", "export function thrower(gone?: Gone): never {", '  throw new Error("x");', "}"].join(
      "\n",
    ),
  );
  await build({ entryPoints: [source], outfile: built, bundle: true, format: "esm", sourcemap: "external" });
  const { thrower } = await import(pathToFileURL(built).href);
  const error: Error = await new Promise((resolve) => {
    try {
      thrower();
    } catch (thrown) {
      if (thrown instanceof Error) resolve(thrown);
    }
  });
  const [first, second] = sourceStack(error.stack ?? "")
    .split("\n")
    .slice(1);
  assert.match(first, /at thrower \(/);
  assert.ok(first.includes(`${pathToFileURL(source).href}:4:`), first);
  assert.ok(second.includes("source_stack.test.ts"), second);
  assert.equal(sourceStack("at f (/nowhere/else.mjs:1:2)"), "at f (/nowhere/else.mjs:1:2)");
});
