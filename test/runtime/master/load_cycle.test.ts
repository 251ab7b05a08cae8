import assert from "node:assert/strict";
import { test } from "node:test";
import type { Program } from "../../../src/runtime/application.ts";
import { buildCycle } from "../../../src/runtime/build_cycle.ts";
import { loadConfiguration, validateCycle } from "../../../src/runtime/master/load_cycle.ts";
import { openZone } from "../../../src/shm/registry.ts";
import type { ZoneKind } from "../../../src/shm/zone.ts";
import { makePrefix } from "../../support/holdfast.ts";

const KIND: ZoneKind = { name: "test", version: 1 };

/** Writes the number of the generation into a zone that keeps its size, and one that grows. */
const program: Program = {
  directives: [],
  configureArguments: [],
  hosts: () => [],
  *build(cycle) {
    yield;
    const { generation } = cycle.data;
    for (const size of [4, 4 * generation]) {
      const { words } = cycle.zone({
        kind: KIND,
        name: size === 4 ? "kept" : "grown",
        size,
        migrate: (old, fresh) => fresh.words.set(old.words),
      });
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
  const kept = openZone(data.zones, { kind: KIND, name: "kept", size: 4 }).words;
  assert.deepEqual([...kept], [1]);
  const next = (await validateCycle(program, paths, loaded, data)).cycle;
  assert.deepEqual([...kept], [1]);
  assert.equal(next.data.zones["test kept"], data.zones["test kept"]);
  await buildCycle(program, next.data);
  assert.deepEqual([...kept], [2]);
});
