import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isObject, type Json, type JsonObject, mergePatch, type Patched } from "../../src/session/zone/merge.ts";

/** Merge patches whose members have versions. */

const NONE = { floor: 0, at: new Map<string, number>() };
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe("a patch that is based on the newest version is RFC 7396's", () => {
  const cases: readonly (readonly [JsonObject, JsonObject, JsonObject])[] = [
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
    [{ a: { b: 1 } }, { a: {} }, { a: { b: 1 } }],
    [{ a: 1 }, { a: {} }, { a: {} }],
    [{ a: { b: 1 } }, { a: null }, {}],
  ];
  for (const [before, patch, after] of cases) {
    test(`${JSON.stringify(before)} with ${JSON.stringify(patch)}`, () => {
      const { data, conflicts } = mergePatch(before, NONE, patch, 1, 2);
      assert.deepEqual([plain(data), conflicts], [after, []]);
    });
  }
});

test("a member named __proto__ is one like others", () => {
  const patch: JsonObject = JSON.parse('{"__proto__":{"polluted":true},"constructor":1}');
  const { data } = mergePatch({}, NONE, patch, 0, 1);
  assert.equal(JSON.stringify(data), '{"__proto__":{"polluted":true},"constructor":1}');
  assert.equal(Reflect.get({}, "polluted"), undefined);
});

test("two who did not know of one another are both right where they changed different members", () => {
  const first = mergePatch({ cart: {} }, NONE, { cart: { apple: 1 } }, 1, 2);
  const second = mergePatch(first.data, first.stamps, { cart: { pear: 1 } }, 1, 3);
  assert.deepEqual([plain(second.data), second.conflicts], [{ cart: { apple: 1, pear: 1 } }, []]);
});

test("an old copy overwrites nothing newer, nor brings back what was removed", () => {
  const first = mergePatch({ a: 1, b: 1, c: { d: 1 } }, NONE, { a: 2, b: null, c: null }, 5, 6);
  const late = mergePatch(first.data, first.stamps, { a: 9, b: 9, c: { d: 9 }, "x/y~": 9, z: 9 }, 5, 7);
  assert.deepEqual([plain(late.data), late.conflicts], [{ a: 2, "x/y~": 9, z: 9 }, ["/a", "/b", "/c"]]);
});

const json = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom<Json>(null, 1, "text"),
    fc.array(fc.constantFrom<Json>(1, 2), { maxLength: 2 }),
    fc.dictionary(fc.constantFrom("a", "b", "c", "__proto__"), tie("value"), { maxKeys: 3 }),
  ),
})).value;
const object = json.filter((value): value is JsonObject => isObject(value));

function rfc7396(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const merged = new Map<string, Json>(isObject(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) merged.delete(name);
    else merged.set(name, rfc7396(merged.get(name), value));
  }
  return fromEntries(merged);
}

/** As Object.fromEntries, which makes `__proto__` a member too. */
function fromEntries(entries: Iterable<readonly [string, Json]>): JsonObject {
  return Object.fromEntries(entries);
}

const sorted = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value), (_, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.entries(inner).sort(([one], [other]) => (one < other ? -1 : 1))
      : inner,
  );

test("without competition any patch is RFC 7396's", () => {
  fc.assert(
    fc.property(object, fc.array(object, { maxLength: 4 }), (start, patches) => {
      let state: Pick<Patched, "data" | "stamps"> = { data: start, stamps: { floor: 1, at: new Map() } };
      let expected: Json = start;
      for (const [i, patch] of patches.entries()) {
        const merged = mergePatch(state.data, state.stamps, patch, i + 1, i + 2);
        assert.deepEqual(merged.conflicts, []);
        expected = rfc7396(expected, patch);
        assert.deepEqual(sorted(merged.data), sorted(expected));
        state = merged;
      }
    }),
  );
});

test("what was written after a version stays when a patch that is based on it comes late", () => {
  fc.assert(
    fc.property(object, object, object, (start, newer, late) => {
      const first = mergePatch(start, { floor: 1, at: new Map() }, newer, 1, 2);
      const second = mergePatch(first.data, first.stamps, late, 1, 3);
      for (const [path, value] of leavesOf(newer))
        assert.deepEqual(valueAt(second.data, path), valueAt(first.data, path) ?? value);
    }),
  );
});

/** The members that a patch sets to something that is no object. */
function* leavesOf(
  patch: JsonObject,
  path: readonly string[] = [],
): Generator<readonly [readonly string[], Json | undefined]> {
  for (const [name, value] of Object.entries(patch)) {
    if (isObject(value)) yield* leavesOf(value, [...path, name]);
    else yield [[...path, name], value === null ? undefined : value];
  }
}

function valueAt(value: Json, path: readonly string[]): Json | undefined {
  let at: Json | undefined = value;
  for (const name of path) at = isObject(at) && Object.hasOwn(at, name) ? at[name] : undefined;
  return at;
}

test("a patch of very many members takes no more than its length", () => {
  // Each looked for among all others, it would take half a minute.
  const patch = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`k${i}`, i]));
  const { data, stamps, conflicts } = mergePatch({}, NONE, patch, 0, 5);
  assert.equal(Object.keys(data).length, 100_000);
  assert.deepEqual([stamps.floor, stamps.at.size, conflicts], [5, 0, []]);
});
