import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { breaches, floorOf, importsOf, modulesIn } from "../../scripts/floors.ts";

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
      { from: "node:fs", line: 1 },
      { from: "./a.ts", line: 2 },
      { from: "./b.ts", line: 5 },
      { from: "./c.ts", line: 6 },
      { from: "./d.ts", line: 7 },
      { from: "./e.ts", line: 8 },
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

describe("floors", () => {
  it("places files by their folder", () => {
    assert.equal(floorOf("src/net/stream.ts"), 0);
    assert.equal(floorOf("src/http/request.ts"), 1);
    assert.equal(floorOf("src/http/modules/access.ts"), 2);
    assert.equal(floorOf("src/health/probes/tcp.ts"), 2);
    assert.equal(floorOf("src/main.ts"), 4);
    assert.equal(floorOf("src/version.ts"), 0);
    assert.equal(floorOf("src/attic/old.ts"), undefined);
  });

  it("lets a file import from its own floor and below", () => {
    assert.deepEqual(breaches("src/http/request.ts", 'import { a } from "../net/stream.ts";'), []);
    assert.deepEqual(breaches("src/http/request.ts", 'import { a } from "../upstream/peer.ts";'), []);
    assert.deepEqual(breaches("src/http/request.ts", 'import fs from "node:fs";'), []);
  });

  it("refuses an import from above, types included", () => {
    assert.deepEqual(breaches("src/net/tcp.ts", '\nimport type { R } from "../http/request.ts";'), [
      "src/net/tcp.ts:2: imports src/http/request.ts, which is on a higher floor",
    ]);
  });

  it("lets only the registry import a module", () => {
    const source = 'import { access } from "./modules/access.ts";';
    assert.deepEqual(breaches("src/http/registry.ts", source), []);
    assert.equal(breaches("src/http/phases.ts", source).length, 1);
    assert.deepEqual(breaches("src/http/modules/map.ts", 'import { x } from "./access.ts";'), [
      "src/http/modules/map.ts:1: imports src/http/modules/access.ts; only src/http/registry.ts may import a module",
    ]);
  });

  it("lets the files of one module import each other", () => {
    assert.deepEqual(breaches("src/http/modules/proxy.ts", 'import { x } from "./proxy/headers.ts";'), []);
    assert.deepEqual(breaches("src/http/modules/proxy/headers.ts", 'import { x } from "./body.ts";'), []);
    assert.equal(breaches("src/http/modules/proxy/headers.ts", 'import { x } from "../map.ts";').length, 1);
  });

  it("takes a file for a part of the registered module that its name begins with", () => {
    const modules = modulesIn('import { proxy } from "./modules/proxy.ts";');
    const cookie = "src/http/modules/proxy_cookie.ts";
    assert.deepEqual(breaches("src/http/modules/proxy.ts", 'import { x } from "./proxy_cookie.ts";', modules), []);
    assert.deepEqual(breaches(cookie, 'import { x } from "./proxy_redirect.ts";', modules), []);
    assert.equal(breaches(cookie, 'import { x } from "./map.ts";', modules).length, 1);
    assert.equal(breaches("src/http/phases.ts", 'import { x } from "./modules/proxy_cookie.ts";', modules).length, 1);
  });

  it("refuses folders without a floor and files outside src", () => {
    assert.match(breaches("src/attic/old.ts", "")[0], /stands on no floor/);
    assert.match(breaches("src/net/tcp.ts", 'import "../../test/support/x.ts";')[0], /outside src/);
  });
});
