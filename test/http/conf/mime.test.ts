import assert from "node:assert/strict";
import { test } from "node:test";
import type { Directive } from "../../../src/config/types.ts";
import { buildMimeTypes, DEFAULT_TYPES, extensionOf, mimeType } from "../../../src/http/conf/mime.ts";

function line(name: string, ...args: readonly string[]): Directive {
  return { name, args, file: "/mime.types", line: 1 };
}

test("extensions as nginx finds them", () => {
  assert.equal(extensionOf("/a.html"), "html");
  assert.equal(extensionOf("/a.tar.gz"), "gz");
  assert.equal(extensionOf("/dir.d/file"), "");
  assert.equal(extensionOf("/.profile"), "");
  assert.equal(extensionOf("/a/.profile"), "");
  assert.equal(extensionOf("/a."), "");
  assert.equal(extensionOf("/"), "");
});

test("without a types block nginx knows three", () => {
  const { types } = buildMimeTypes(undefined);
  assert.equal(types, DEFAULT_TYPES);
  assert.equal(mimeType(types, "/x.HTML", "text/plain"), "text/html");
  assert.equal(mimeType(types, "/x.css", "text/plain"), "text/plain");
});

test("a types block replaces them; of an extension given twice the last wins", () => {
  const { types, warnings } = buildMimeTypes([line("text/css", "CSS"), line("text/x", "css", "x"), line("none/none")]);
  assert.equal(mimeType(types, "/a.css", "d"), "text/x");
  assert.equal(mimeType(types, "/a.html", "d"), "d");
  assert.deepEqual(
    warnings.map(({ message }) => message),
    ['duplicate extension "css", content type: "text/x", previous content type: "text/css"'],
  );
  assert.equal(buildMimeTypes([]).types.size, 0);
});
