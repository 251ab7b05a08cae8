import assert from "node:assert/strict";
import { test } from "node:test";
import { LongBlock } from "../../src/config/long_block.ts";
import { HalfSealedBlock, SealedBlock } from "../../src/config/sealed_block.ts";
import { deserializingDirectives, serializeDirectives } from "../../src/config/serialize.ts";
import type { Directive } from "../../src/config/types.ts";
import { whole } from "../../src/sys/sliced.ts";
import { parse, workspace, write } from "./workspace.ts";

const directory = workspace();

test("what arrives is what was sent: blocks, empty ones, includes, any byte", () => {
  write(directory, "one.conf", "c d;\n");
  const { directives } = parse(
    directory,
    'a;\nb "x\\ny \xff" {\n e { }\n include one.conf;\n f { g { h; } } i;\n}\nj { }\n',
    "k l;",
  );
  const parts = serializeDirectives(directives);
  assert.deepEqual(whole(deserializingDirectives(structuredClone(parts))), directives);
  assert.deepEqual(whole(deserializingDirectives(serializeDirectives([]))), []);
});

test("a large configuration arrives in many small parts, whatever its blocks", () => {
  const locations = Array.from({ length: 500 }, (_, i) => `location /${i} { a; b c; d { e; } }`).join("\n");
  const deep = 5000;
  const text = `http {\n${locations}\n}\n${"x {".repeat(deep)}${"}".repeat(deep)}`;
  const { directives } = parse(directory, text);
  const parts = serializeDirectives(directives);
  assert.ok(parts.length > 20, `${parts.length} parts`);
  assert.ok(parts.every((part) => part.length < 20_000));
  let turns = 0;
  const work = deserializingDirectives(parts);
  let step = work.next();
  for (; step.done !== true; step = work.next()) turns++;
  assert.equal(turns, parts.length - 1);
  assert.deepEqual(step.value[0], directives[0]);
  let depth = 0;
  for (let at: Directive | undefined = step.value[1]; at !== undefined; at = [...(at.block ?? [])][0]) depth++;
  assert.equal(depth, deep);
});

test("a sealed block arrives as text, and is read each time it is looked into", () => {
  const text = `a { b 1 "2"; if (c) { d; } }\ne { f; }\ng { h { i; } }`;
  const { directives } = parse(directory, text);
  const [one, , three] = directives;
  const [inner] = three.block ?? [];
  const parts = structuredClone(serializeDirectives(directives, { whole: new Set([one, inner]), half: new Set() }));
  const arrived = whole(deserializingDirectives(parts));
  const isSealed = (at: Directive): boolean => at.block instanceof SealedBlock;
  assert.deepEqual(arrived.map(isSealed), [true, false, false]);
  assert.ok([...(arrived[2].block ?? [])].every(isSealed));
  const opened = (list: Iterable<Directive>): Directive[] =>
    [...list].map((at) => (at.block === undefined ? at : { ...at, block: opened(at.block) }));
  for (let i = 0; i < 2; i++) assert.deepEqual(opened(arrived), directives);
});

test("of a half sealed block, what is open arrives as it is, and the sealed blocks in it as one text", () => {
  const { directives } = parse(directory, `a { b { c; } d 1; e { f; } g { h { i; } } j; }\nk;`);
  const [a] = directives;
  const [b, , e] = a.block ?? [];
  const parts = structuredClone(serializeDirectives(directives, { whole: new Set([b, e]), half: new Set([a]) }));
  const [arrived, k] = whole(deserializingDirectives(parts));
  assert.deepEqual(k, directives[1]);
  const { block } = arrived;
  assert.ok(block instanceof HalfSealedBlock);
  const names = (list: Iterable<Directive>) => [...list].map(({ name }) => name);
  assert.deepEqual(names(block.open), ["d", "g", "j"]);
  assert.deepEqual(names(block), ["d", "g", "j", "b", "e"]);
  assert.deepEqual(block.open[1], [...(a.block ?? [])][3]);
  assert.ok([...block.sealed].every((at) => at.block instanceof SealedBlock));
});

test("a block of very many lines arrives as their text, once for all that have it", () => {
  const many = 5000;
  const lines = Array.from(
    { length: many },
    (_, i) => `10.0.${i} "v ${i}";${i % 7 === 0 ? "\n# comment\n" : "\n"}`,
  ).join("");
  write(directory, "many.conf", lines);
  write(directory, "few.conf", "first a;\n\n second b;\n");
  const text = `geo {\n include few.conf; include many.conf;\n last c; }\ngeo {\n include many.conf; include many.conf; }\n`;
  const { directives } = parse(directory, `${text}map {\n${lines} nested { a; }\n}\n`);
  const [one, two, three] = directives;
  assert.ok(one.block instanceof LongBlock && two.block instanceof LongBlock && Array.isArray(three.block));
  assert.deepEqual([one.block.length, two.block.length, three.block.length], [many + 3, 2 * many, many + 1]);
  const first = [...one.block];
  assert.deepEqual(first[1], { name: "second", args: ["b"], file: `${directory}few.conf`, line: 3 });
  assert.deepEqual(first[2], { name: "10.0.0", args: ["v 0"], file: `${directory}many.conf`, line: 1 });
  assert.deepEqual(first.at(-1), { name: "last", args: ["c"], file: `${directory}nginx.conf`, line: 3 });
  const parts = serializeDirectives(directives);
  assert.ok(parts.join("").length < 5 * lines.length, "the text of the file is there once");
  const arrived = whole(deserializingDirectives(structuredClone(parts)));
  for (const [i, { block }] of directives.entries())
    assert.deepEqual([...(arrived[i].block ?? [])], [...(block ?? [])]);
});
