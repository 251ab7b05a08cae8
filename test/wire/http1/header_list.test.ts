import assert from "node:assert/strict";
import { test } from "node:test";
import { FIELD, FieldScanner } from "../../../src/wire/http1/field_scan.ts";
import { HeaderList } from "../../../src/wire/http1/header_list.ts";
import { fieldByKey, fieldKey, knownField, knownNames } from "../../../src/wire/http1/known_fields.ts";

function list(...fields: string[]): HeaderList {
  const headers = new HeaderList();
  for (const field of fields) {
    const [name, value] = field.split("=");
    headers.append(name, value);
  }
  return headers;
}

function shown(headers: HeaderList): string[] {
  return Array.from({ length: headers.count }, (_, i) => `${headers.names[i]}/${headers.keys[i]}=${headers.values[i]}`);
}

test("fields are found, joined, replaced and removed by key", () => {
  const headers = list("A=1", "Set-Cookie=x", "a=2", "Other=3", "SET-COOKIE=y");
  assert.equal(headers.get("a"), "1");
  assert.equal(headers.get("none"), undefined);
  assert.equal(headers.has("other"), true);
  assert.deepEqual(headers.getAll("a"), ["1", "2"]);
  assert.equal(headers.join("a"), "1, 2");
  assert.equal(headers.join("none"), undefined);
  headers.set("a", "9");
  assert.deepEqual(shown(headers), ["a/a=9", "Set-Cookie/set-cookie=x", "Other/other=3", "SET-COOKIE/set-cookie=y"]);
  assert.equal(headers.remove("set-cookie"), 2);
  assert.deepEqual(shown(headers), ["a/a=9", "Other/other=3"]);
  headers.set("New", "n");
  headers.removeAt(0);
  assert.deepEqual(shown(headers), ["Other/other=3", "New/new=n"]);
  headers.clear();
  assert.equal(headers.get("other"), undefined);
  headers.append("B", "1");
  assert.deepEqual(shown(headers), ["B/b=1"]);
  headers.release();
  assert.deepEqual([headers.count, headers.names.length], [0, 0]);
});

test("every known name is found in every casing, by the scanner's hash", () => {
  for (const name of knownNames()) {
    for (const cased of [name, name.toLowerCase(), name.toUpperCase()]) {
      const bytes = Buffer.from(`${cased}: v\r\n`);
      const scanner = new FieldScanner(false);
      assert.equal(scanner.next(bytes, 0, bytes.length), FIELD);
      const known = knownField(bytes, scanner.nameStart, scanner.nameEnd, scanner.hash);
      if (cased === name || cased === name.toLowerCase()) assert.equal(known?.name, cased);
      const field = known ?? fieldByKey(cased.toLowerCase());
      assert.equal(field?.key, name.toLowerCase(), cased);
      if (field === undefined) continue;
      assert.equal(fieldKey(cased), field.key);
    }
  }
});

test("a name that is nearly known is not", () => {
  for (const name of ["Hos", "Hostt", "H\x4fsu", "hos\x14", "Content_Length", "x-unknown"]) {
    const bytes = Buffer.from(name, "latin1");
    let hash = 0;
    for (const byte of Buffer.from("host")) hash = (Math.imul(hash, 31) + byte) | 0;
    assert.equal(knownField(bytes, 0, bytes.length, hash), undefined, name);
  }
});
