import assert from "node:assert/strict";
import { test } from "node:test";
import type { Directive } from "../../../src/config/types.ts";
import { buildMimeTypes } from "../../../src/http/conf/mime.ts";

function line(name: string, ...args: readonly string[]): Directive {
  return { name, args, file: "/mime.types", line: 1 };
}

test("without a types block nginx knows three", () => {
  const { types } = buildMimeTypes(undefined);
  assert.deepEqual(Object.fromEntries(types), { html: "text/html", gif: "image/gif", jpg: "image/jpeg" });
});

test("a types block replaces them; of an extension given twice the last wins", () => {
  const { types, warnings } = buildMimeTypes([line("text/css", "CSS"), line("text/x", "css", "x"), line("none/none")]);
  assert.deepEqual(Object.fromEntries(types), { css: "text/x", x: "text/x" });
  assert.deepEqual(
    warnings.map(({ message }) => message),
    ['duplicate extension "css", content type: "text/x", previous content type: "text/css"'],
  );
  assert.equal(buildMimeTypes([]).types.size, 0);
});
