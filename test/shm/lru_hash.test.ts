import assert from "node:assert/strict";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { LruHash } from "../../src/shm/lru_hash.ts";
import { makeZone, type Zone } from "../../src/shm/zone.ts";
import { ended, kill, startProcess } from "../support/sharing.ts";
import { afterDeath, Death, dyingView } from "./dying_zone.ts";

const PAGE = 4096;

function newZone(size = 12 * PAGE): Zone {
  return makeZone({ name: "test", version: 1 }, "lru", size);
}

/** Adds an entry that holds a number, or gives the one that there is another; false where there is no memory. */
function put(hash: LruHash, key: string, number: number, bytes = 8): boolean {
  const known = hash.find(key);
  if (known !== undefined) hash.touch(known);
  const entry = known ?? hash.insert(key, bytes);
  if (entry === undefined) return false;
  hash.zone.words[hash.value(entry)] = number;
  return true;
}

/** Keys and numbers, the one used last at the end. */
function contents(hash: LruHash): [string, number][] {
  const found: [string, number][] = [];
  for (let entry = hash.oldest; entry !== undefined; entry = hash.newer(entry)) {
    assert.equal(hash.find(hash.key(entry)), entry);
    found.push([hash.key(entry), hash.zone.words[hash.value(entry)]]);
  }
  assert.equal(found.length, hash.size);
  return found;
}

function clear(hash: LruHash): void {
  for (let entry = hash.oldest; entry !== undefined; entry = hash.oldest) hash.remove(entry);
}

/** With everything removed there is room for as much as there was at first. */
function checkNothingLost(hash: LruHash): void {
  const room = (): number => {
    clear(hash);
    let count = 0;
    while (put(hash, `room ${count}`, 0, 1000)) count++;
    clear(hash);
    return count;
  };
  assert.equal(room(), roomIn(hash.zone.size));
}

const rooms = new Map<number, number>();
function roomIn(size: number): number {
  let room = rooms.get(size);
  if (room !== undefined) return room;
  const hash = new LruHash(newZone(size));
  for (room = 0; put(hash, `room ${room}`, 0, 1000); ) room++;
  rooms.set(size, room);
  return room;
}

const keys = fc.oneof(
  fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)), maxLength: 9 }),
  fc.integer({ min: 0, max: 5000 }).map((length) => "x".repeat(length)),
);
const steps = fc.array(
  fc.record({
    what: fc.constantFrom("put", "put", "put", "remove", "grow", "expire"),
    key: keys,
    number: fc.nat(),
    bytes: fc.constantFrom(8, 16, 300),
  }),
  { maxLength: 100 },
);

test("it holds what was put into it, in the order of use", () => {
  fc.assert(
    fc.property(steps, (run) => {
      const hash = new LruHash(newZone());
      const model = new Map<string, number>();
      for (const { what, key, number, bytes } of run) {
        const entry = hash.find(key);
        assert.equal(entry !== undefined, model.has(key));
        if (what === "put") {
          if (!put(hash, key, number, bytes)) continue;
          model.delete(key);
          model.set(key, number);
        } else if (what === "expire") {
          const [oldest] = model.keys();
          if (hash.oldest === undefined) continue;
          assert.equal(hash.key(hash.oldest), oldest);
          hash.remove(hash.oldest);
          model.delete(oldest);
        } else if (entry !== undefined && what === "remove") {
          hash.remove(entry);
          model.delete(key);
        } else if (entry !== undefined && bytes > hash.valueBytes(entry)) {
          const grown = hash.grow(entry, bytes);
          if (grown === undefined) continue;
          assert.equal(hash.valueBytes(grown), bytes);
          const old = model.get(key) ?? -1;
          model.delete(key);
          model.set(key, old);
        }
      }
      assert.deepEqual(contents(hash), [...model]);
      checkNothingLost(hash);
    }),
  );
});

test("another process's view of the zone holds the same", () => {
  const zone = newZone();
  const one = new LruHash(zone);
  put(one, "a", 1);
  const other = new LruHash(zone);
  put(other, "b", 2);
  assert.deepEqual(contents(one), [
    ["a", 1],
    ["b", 2],
  ]);
});

test("keys are compared whole, and no two zones hash alike", () => {
  const hash = new LruHash(newZone());
  const alike = ["", "\0", "\0\0", "a", "a\0", "aaaa", "aaaaa", "aaaab", "\xff\xff\xff\xff", "\xff\xff\xff\xfe"];
  for (const [number, key] of alike.entries()) assert.ok(put(hash, key, number));
  for (const [number, key] of alike.entries()) {
    const entry = hash.find(key);
    assert.ok(entry !== undefined);
    assert.equal(hash.zone.words[hash.value(entry)], number);
  }
  assert.equal(hash.insert("x".repeat(65536), 8), undefined);
});

test("wherever a process dies with the lock held, every other entry is there afterwards", () => {
  const long = "k".repeat(3000);
  const changes: readonly (readonly [string, (hash: LruHash) => unknown, touched: string])[] = [
    ["insert", (hash) => hash.insert("new", 8), "new"],
    ["insert of pages", (hash) => hash.insert(long.repeat(3), 8), long.repeat(3)],
    ["remove", (hash) => hash.remove(hash.find("a") ?? 0), "a"],
    ["remove the last of a page", (hash) => hash.remove(hash.find("m".repeat(900)) ?? 0), "m".repeat(900)],
    ["remove pages", (hash) => hash.remove(hash.find(long) ?? 0), long],
    ["touch", (hash) => hash.touch(hash.find("a") ?? 0), ""],
    ["grow", (hash) => hash.grow(hash.find("a") ?? 0, 600), ""],
  ];
  for (const [name, change, touched] of changes) {
    for (let at = 0, done = false; !done; at++) {
      const zone = newZone();
      const hash = new LruHash(zone);
      for (const [number, key] of ["a", "b", "m".repeat(900), long, "c", "d"].entries()) put(hash, key, number + 1);
      hash.remove(hash.find("c") ?? 0);
      const before = contents(hash).toSorted();
      const { view } = dyingView(zone, at);
      try {
        change(new LruHash(view));
        done = true;
      } catch (error) {
        if (!(error instanceof Death)) throw error;
      }
      const found = new LruHash(afterDeath(zone));
      const others = (all: [string, number][]) => all.filter(([key]) => key !== touched);
      assert.deepEqual(others(contents(found).toSorted()), others(before), `${name}, at write ${at}`);
      for (let number = 0; number < 30; number++) assert.ok(put(found, `more ${number}`, number));
      checkNothingLost(found);
    }
  }
});

test("one who dies while he repairs leaves that to the next", () => {
  for (let at = 0, done = false; !done; at++) {
    const zone = newZone();
    const hash = new LruHash(zone);
    for (const [number, key] of ["a", "b", "e".repeat(2000), "c", "d"].entries()) put(hash, key, number + 1);
    hash.remove(hash.find("c") ?? 0);
    const before = contents(hash);
    const { view } = dyingView(zone, at);
    try {
      new LruHash(afterDeath(view));
      done = true;
    } catch (error) {
      if (!(error instanceof Death)) throw error;
    }
    const found = new LruHash(afterDeath(zone));
    assert.deepEqual(contents(found), before, `at write ${at}`);
    checkNothingLost(found);
  }
});

test("two processes at once lose nothing", async (t) => {
  const zone = newZone(64 * PAGE);
  await Promise.all([0, 1].map((index) => ended(start(t, zone, "hammer", index))));
  const hash = new LruHash(zone);
  let total = 0;
  for (const [, number] of contents(hash)) total += number;
  assert.equal(total, 2 * 20_000);
  checkNothingLost(hash);
});

test("a process that is killed with the lock held leaves a zone in order", async (t) => {
  const zone = newZone(64 * PAGE);
  const dying = start(t, zone, "die", 0);
  await once(dying, "message");
  await kill(dying);
  const hash = new LruHash(zone);
  assert.ok(hash.size > 0);
  for (let number = 0; number < 100; number++) put(hash, `more ${number}`, number);
  contents(hash);
  checkNothingLost(hash);
});

function start(t: TestContext, zone: Zone, what: "hammer" | "die", index: number) {
  const module = new URL("./lru_process.ts", import.meta.url);
  return startProcess(t, module, { zones: [zone], task: { what, index } });
}
