import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { test } from "node:test";
import { LAUNCHER } from "../support/holdfast.ts";

test("bin/holdfast runs the built file only while nothing it was made from has changed", (t) => {
  const home = mkdtempSync(join(tmpdir(), "holdfast-test-"));
  t.after(() => rmSync(home, { recursive: true, force: true }));
  const at = (path: string) => join(home, path);
  const put = (path: string, text: string) => {
    mkdirSync(dirname(at(path)), { recursive: true });
    writeFileSync(at(path), text);
  };
  let now = 1_000_000_000;
  const touch = (...paths: string[]) => {
    now++;
    for (const path of paths) utimesSync(at(path), now, now);
  };
  const ran = () =>
    execFileSync(at("bin/holdfast"), { env: { ...process.env, HOLDFAST_NODE: process.execPath }, encoding: "latin1" });

  mkdirSync(at("bin"));
  copyFileSync(LAUNCHER, at("bin/holdfast"));
  put("src/main.ts", 'process.stdout.write("source");');
  put("src/http/gone.ts", "");
  put("scripts/build.mjs", "");
  put("package.json", "{}");
  assert.equal(ran(), "source");

  put("dist/holdfast.mjs", 'process.stdout.write("built");');
  const sources = ["src", "src/main.ts", "src/http", "src/http/gone.ts", "scripts/build.mjs", "package.json"];
  const build = () => {
    touch(...sources);
    touch("dist/holdfast.mjs");
    assert.equal(ran(), "built");
  };
  for (const path of ["src/main.ts", "src/http/gone.ts", "scripts/build.mjs", "package.json"]) {
    build();
    touch(path);
    assert.equal(ran(), "source", path);
  }
  build();
  rmSync(at("src/http/gone.ts"));
  assert.equal(ran(), "source", "after a file was removed");
});

test("bin/holdfast finds the Node that was installed for it, also where npm has taken the link to it away", (t) => {
  const home = mkdtempSync(join(tmpdir(), "holdfast-test-"));
  t.after(() => rmSync(home, { recursive: true, force: true }));
  const platform = `node-${process.platform}-${process.arch}`;
  const folder = join(home, "scripts/node/node_modules", platform, "bin");
  for (const one of ["bin", "src", folder]) mkdirSync(resolve(home, one), { recursive: true });
  copyFileSync(LAUNCHER, join(home, "bin/holdfast"));
  writeFileSync(join(home, "src/main.ts"), "process.stdout.write(process.argv0);");
  symlinkSync(process.execPath, join(folder, "node"));
  const env = { PATH: "/usr/bin:/bin" };
  assert.equal(execFileSync(join(home, "bin/holdfast"), { env, encoding: "latin1" }), join(folder, "node"));
});
