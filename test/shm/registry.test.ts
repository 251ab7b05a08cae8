import assert from "node:assert/strict";
import { test } from "node:test";
import { directive } from "../../src/config/directives.ts";
import { defineDirectives } from "../../src/config/schema.ts";
import { readScopes } from "../../src/config/scopes.ts";
import { ConfigError, type Directive } from "../../src/config/types.ts";
import { declareZone, NewZones, openZone, type ZoneWanted } from "../../src/shm/registry.ts";
import { adoptZone, makeZone, Zone, type ZoneKind } from "../../src/shm/zone.ts";
import { libc } from "../../src/sys/libc.ts";
import { ended, startProcess } from "../support/sharing.ts";

const KIND: ZoneKind = { name: "test", version: 1 };
const OTHER: ZoneKind = { name: "other", version: 1 };
const root = () => readScopes({ files: [], directives: [] }, [defineDirectives("none", { none: NONE })]);
const NONE = directive({ in: ["main"], args: [0, 0], syntax: "", doc: "", initial: () => 0, read: () => 0 });
const at: Directive = { name: "zone", args: [], file: "nginx.conf", line: 3 };

function errorOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof ConfigError ? String(error) : assert.fail(String(error));
  }
  return "";
}

test("a zone has one size and one use, whoever names it first", () => {
  const scope = root();
  const named = declareZone(at, scope, KIND, "one", 0);
  assert.equal(declareZone(at, scope, KIND, "one", 65536), named);
  assert.equal(named.size, 65536);
  assert.equal(declareZone(at, scope, KIND, "one", 0), named);
  assert.equal(
    errorOf(() => declareZone(at, scope, KIND, "one", 32768)),
    'the size 32768 of shared memory zone "one" conflicts with already declared size 65536 in nginx.conf:3',
  );
  assert.equal(
    errorOf(() => declareZone(at, scope, OTHER, "one", 65536)),
    'the shared memory zone "one" is already declared for a different use in nginx.conf:3',
  );
});

const WANTED: ZoneWanted = { kind: KIND, name: "one", size: 64 };

test("a reload keeps a zone of the same kind, name and size, and writes nothing into it while it is tried", () => {
  const first = new NewZones({});
  first.take(WANTED).words[0] = 1;
  const second = new NewZones(first.handles);
  const blank = second.take(WANTED);
  assert.equal(blank.words[0], 0);
  blank.words[0] = 2;
  assert.equal(second.take(WANTED), blank);
  const kept = openZone(second.handles, WANTED);
  assert.equal(kept.words[0], 1);
  assert.ok(kept.same(openZone(first.handles, WANTED)) && !kept.same(blank));
  for (const changed of [{ kind: OTHER }, { kind: { name: "test", version: 2 } }, { name: "two" }, { size: 128 }]) {
    const third = new NewZones(second.handles);
    third.take({ ...WANTED, ...changed });
    assert.equal(openZone(third.handles, { ...WANTED, ...changed }).words[0], 0);
  }
});

test("a zone that changes its size takes over what it is told to", () => {
  const first = new NewZones({});
  first.take(WANTED).words[0] = 7;
  const grown: ZoneWanted = { ...WANTED, size: 128, migrate: (old, fresh) => fresh.words.set(old.words) };
  assert.equal(new NewZones(first.handles).take(grown).words[0], 7);
});

test("a zone is not kept under another key", () => {
  const keyed = (text: string): ZoneWanted => ({
    ...WANTED,
    key: { text, refusal: (before) => `uses "${text}" while previously "${before}"` },
  });
  const first = new NewZones({});
  first.take(keyed("$a"));
  new NewZones(first.handles).take(keyed("$a"));
  assert.equal(
    errorOf(() => new NewZones(first.handles).take(keyed("$b"))),
    'uses "$b" while previously "$a"',
  );
  new NewZones(first.handles).take({ ...keyed("$b"), size: 128 });
});

test("memory of another kind, version or size is not opened", () => {
  const { handle } = makeZone(KIND, "one", 4096);
  assert.equal(new Zone(handle).bytes.length, 4096);
  for (const wrong of [
    { kind: OTHER },
    { kind: { name: "test", version: 2 } },
    { size: 2 ** 32 + 4096 },
    { size: 8 },
  ]) {
    assert.throws(() => new Zone({ ...handle, ...wrong }), /not what it should be/);
  }
});

test("a size that no machine has is refused with a sentence", () => {
  assert.match(
    errorOf(() => new NewZones({}).take({ ...WANTED, size: 2 ** 53 })),
    /^there is no memory for the 9007199254740992 bytes of shared memory zone "one"/,
  );
});

test("two processes see the same zone", async (t) => {
  const zone = makeZone(KIND, "one", 16);
  await ended(startProcess(t, new URL("./zone_process.ts", import.meta.url), { zones: [zone] }));
  assert.deepEqual([...zone.words], [0, 1, 0, 0]);
});

test("a zone that another master has left is taken over if it is what it should be", () => {
  const { handle, words } = makeZone(KIND, "one", 16);
  words[1] = 7;
  assert.ok("fd" in handle.memory);
  const { memory, ...description } = handle;
  const again = () => libc().dup(memory.fd);
  const taken = adoptZone(description, again());
  assert.ok(taken !== undefined && "fd" in taken.memory && taken.memory.fd >= 0);
  assert.equal(new Zone(taken).words[1], 7);
  assert.ok(new Zone(taken).same(new Zone(handle)));
  for (const wrong of [{ kind: OTHER }, { kind: { name: "test", version: 2 } }, { size: 8 }, { size: 8192 }]) {
    assert.equal(adoptZone({ ...description, ...wrong }, again()), undefined);
  }
});
