import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { breaches, cyclesAcrossFolders, cyclesOfValues, importsOf, layerOf } from "../../scripts/floors.ts";

describe("importsOf", () => {
  it("finds every form of import with its line", () => {
    const source = [
      'import fs, { readFileSync } from "node:fs";',
      'import type { A } from "./a.ts";',
      "import {",
      "  b,",
      '} from "./b.ts";',
      'export * from "./c.ts";',
      "import './d.ts';",
      'const e = await import("./e.ts");',
    ].join("\n");
    assert.deepEqual(importsOf(source), [
      { from: "node:fs", type: false, line: 1 },
      { from: "./a.ts", type: true, line: 2 },
      { from: "./b.ts", type: false, line: 5 },
      { from: "./c.ts", type: false, line: 6 },
      { from: "./d.ts", type: false, line: 7 },
      { from: "./e.ts", type: false, line: 8 },
    ]);
  });

  it("is not misled by comments and strings", () => {
    const source = [
      '// import { a } from "./a.ts";',
      '/* export * from "./b.ts"; */',
      "const text = 'import \"./c.ts\"';",
      'export const from = "./d.ts";',
      'export function g() { return "./e.ts"; }',
    ].join("\n");
    assert.deepEqual(importsOf(source), []);
  });
});

describe("layers", () => {
  it("places files by their folder", () => {
    assert.equal(layerOf("src/sys/libc.ts"), 0);
    assert.equal(layerOf("src/net/node/tcp.ts"), 1);
    assert.equal(layerOf("src/runtime/log/log.ts"), 2);
    assert.equal(layerOf("src/http/core/request.ts"), 3);
    assert.equal(layerOf("src/http/modules/index.ts"), 4);
    assert.equal(layerOf("src/http/modules/access/access.ts"), 4);
    assert.equal(layerOf("src/health/probes/tcp.ts"), 4);
    assert.equal(layerOf("src/main.ts"), 6);
    assert.equal(layerOf("src/version.ts"), 0);
    assert.equal(layerOf("src/attic/old.ts"), undefined);
  });

  it("lets a file import from its own layer and below", () => {
    const file = "src/http/core/request.ts";
    assert.deepEqual(breaches(file, 'import { a } from "../../net/stream.ts";'), []);
    assert.deepEqual(breaches(file, 'import { a } from "../../balancer/peer.ts";'), []);
    assert.deepEqual(breaches(file, 'import fs from "node:fs";'), []);
  });

  it("refuses what of Node few processes need, but for its types", () => {
    const file = "src/wire/h2/request_head.ts";
    assert.deepEqual(breaches(file, 'import { randomBytes } from "node:crypto";'), [
      "src/wire/h2/request_head.ts:1: imports node:crypto, which few processes need; take it from src/sys/builtin.ts",
    ]);
    assert.deepEqual(breaches(file, 'import type { KeyObject } from "node:crypto";'), []);
  });

  it("refuses an import from above, types included", () => {
    assert.deepEqual(breaches("src/net/tcp.ts", '\nimport type { R } from "../runtime/cycle.ts";'), [
      "src/net/tcp.ts:2: imports src/runtime/cycle.ts, which is in a higher layer",
    ]);
  });

  it("lets only the registry import a module", () => {
    const source = 'import { access } from "../modules/access/access.ts";';
    assert.deepEqual(breaches("src/http/conf/registry.ts", source), []);
    assert.equal(breaches("src/http/conf/build.ts", source).length, 1);
    assert.deepEqual(breaches("src/http/modules/map.ts", 'import { x } from "./access/access.ts";'), [
      "src/http/modules/map.ts:1: imports src/http/modules/access/access.ts; only src/http/conf/registry.ts may import a module",
    ]);
  });

  it("takes a module's folder as one", () => {
    const file = "src/http/modules/proxy/cookie.ts";
    assert.deepEqual(breaches(file, 'import { x } from "./proxy.ts";'), []);
    assert.equal(breaches(file, 'import { x } from "../map.ts";').length, 1);
  });

  it("lets the entry start a module's helper thread", () => {
    assert.deepEqual(breaches("src/boot.ts", 'import { x } from "./http/modules/auth_basic/thread.ts";'), []);
  });

  it("refuses what stands nowhere", () => {
    assert.match(breaches("src/attic/old.ts", "")[0], /stands in no layer/);
    assert.match(breaches("src/net/tcp.ts", 'import "../../test/support/x.ts";')[0], /outside src/);
  });
});

describe("cycles", () => {
  it("may stay within a folder", () => {
    const graph = new Map([
      ["src/a/one.ts", ["src/a/two.ts"]],
      ["src/a/two.ts", ["src/a/one.ts", "src/b/three.ts"]],
      ["src/b/three.ts", []],
    ]);
    assert.deepEqual(cyclesAcrossFolders(graph), []);
  });

  it("may not leave it, however long the way round", () => {
    const graph = new Map([
      ["src/a/one.ts", ["src/a/two.ts"]],
      ["src/a/two.ts", ["src/b/three.ts"]],
      ["src/b/three.ts", ["src/c/four.ts"]],
      ["src/c/four.ts", ["src/a/one.ts"]],
    ]);
    assert.deepEqual(cyclesAcrossFolders(graph), [
      "import cycle across folders: src/a/one.ts, src/a/two.ts, src/b/three.ts, src/c/four.ts",
    ]);
  });
  it("may be of nothing but types", () => {
    const graph = new Map([
      ["src/a/one.ts", ["src/a/two.ts"]],
      ["src/a/two.ts", ["src/a/one.ts"]],
      ["src/a/three.ts", ["src/a/one.ts"]],
    ]);
    assert.deepEqual(cyclesOfValues(graph), ["import cycle that is not of types alone: src/a/one.ts, src/a/two.ts"]);
  });
});
