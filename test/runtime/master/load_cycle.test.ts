import assert from "node:assert/strict";
import { test } from "node:test";
import type { Program } from "../../../src/runtime/application.ts";
import { buildCycle } from "../../../src/runtime/build_cycle.ts";
import { loadConfiguration, validateCycle } from "../../../src/runtime/master/load_cycle.ts";
import { makePrefix } from "../../support/holdfast.ts";

/** Writes the number of the generation into a zone that keeps its size, and one that grows. */
const program: Program = {
  directives: [],
  configureArguments: [],
  hosts: () => [],
  *build(cycle) {
    yield;
    const { generation } = cycle.data;
    for (const bytes of [4, 4 * generation]) {
      const words = new Int32Array(
        cycle.zone(`zone ${bytes === 4 ? "kept" : "grown"}`, bytes, (old, fresh) => {
          new Int32Array(fresh).set(new Int32Array(old));
        }),
      );
      words[0] = generation;
    }
    return {
      listeners: [],
      logFiles: [],
      directories: [],
      serve: () => assert.fail(),
      check: () => assert.fail(),
    };
  },
};

test("a cycle that is validated and not taken leaves the zones in force as they are", async (t) => {
  const prefix = makePrefix(t, { "conf/nginx.conf": "events {}" });
  const paths = {
    prefix: `${prefix}/`,
    confPrefix: `${prefix}/conf/`,
    confFile: `${prefix}/conf/nginx.conf`,
    errorLog: "",
  };
  const loaded = loadConfiguration(program, paths, undefined);
  const { data } = (await validateCycle(program, paths, loaded, undefined)).cycle;
  const kept = new Int32Array(data.zones["zone kept"]);
  assert.deepEqual([...kept], [1]);
  const next = (await validateCycle(program, paths, loaded, data)).cycle;
  assert.deepEqual([...kept], [1]);
  assert.equal(next.data.zones["zone kept"], data.zones["zone kept"]);
  await buildCycle(program, next.data);
  assert.deepEqual([...kept], [2]);
});
