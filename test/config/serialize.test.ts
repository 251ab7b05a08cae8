import assert from "node:assert/strict";
import { test } from "node:test";
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
  for (let at: Directive | undefined = step.value[1]; at !== undefined; at = at.block?.[0]) depth++;
  assert.equal(depth, deep);
});
