import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CacheIndex, FOUND, FULL, indexKind, SCARCE } from "../../../src/http/cache/cache_index.ts";
import { digestOf } from "../../../src/http/cache/digest.ts";
import { ownerToken } from "../../../src/http/cache/entry_table.ts";
import { makeZone, type Zone } from "../../../src/shm/zone.ts";
import { afterDeath, Death, dyingView } from "../../shm/dying_zone.ts";

const SIZE = 64 * 1024;
const INACTIVE = 600;

function newZone(size = SIZE): Zone {
  return makeZone(indexKind("test"), "one", size);
}

/** Takes the entries out of an index, the oldest first. */
function drain(index: CacheIndex): string[] {
  const digests: string[] = [];
  for (let victim = index.oldest(); victim !== undefined; victim = index.oldest()) {
    digests.push(victim.digest);
    index.evict(victim, false);
  }
  return digests;
}

interface Modelled {
  uses: number;
  blocks: number;
  generation: number;
  identity: number;
  owner: number;
}

const steps = fc.array(
  fc.record({
    what: fc.constantFrom(
      "open",
      "open",
      "commit",
      "drop",
      "claim",
      "release",
      "evict",
      "add",
      "adopt",
      "renew",
      "die",
    ),
    key: fc.nat(12),
    number: fc.integer({ min: 1, max: 1000 }),
  }),
  { maxLength: 150 },
);

test("it knows what it was told, counts blocks, and lets the oldest go first", () => {
  fc.assert(
    fc.property(steps, (run) => {
      const index = new CacheIndex(newZone(), INACTIVE);
      /** The one used last at the end. */
      const model = new Map<string, Modelled>();
      const made = (digest: string): Modelled => {
        const entry = model.get(digest) ?? { uses: 0, blocks: 0, generation: 0, identity: 0, owner: 0 };
        model.set(digest, entry);
        return entry;
      };
      const clear = (entry: Modelled): void => void Object.assign(entry, { blocks: 0, generation: 0, identity: 0 });
      let tokens = 0;
      for (const { what, key, number } of run) {
        const digest = digestOf(String(key));
        const known = model.get(digest);
        const file = { headBytes: number, blocks: number % 7, identity: number };
        if (what === "open") {
          const code = index.open(digest, 3);
          const entry = made(digest);
          entry.uses++;
          model.delete(digest);
          model.set(digest, entry);
          if (entry.generation !== 0) assert.equal(code, FOUND);
          else if (known !== undefined) assert.equal(code, entry.uses >= 3 ? FOUND : SCARCE);
          assert.deepEqual([index.exists, index.generation], [entry.generation !== 0, entry.generation]);
          assert.equal(index.identity, entry.identity);
        } else if (what === "commit") {
          const entry = made(digest);
          entry.generation = index.commit(digest, entry.owner, file);
          Object.assign(entry, { blocks: file.blocks, identity: number, owner: 0 });
        } else if (what === "add") {
          assert.ok(index.add(digest, { ...file, identity: 0 }));
          const entry = made(digest);
          if (entry.generation === 0) {
            entry.blocks = file.blocks;
            entry.generation = index.generationAt(index.place(digest));
          }
        } else if (what === "adopt") {
          const before = known?.generation ?? 0;
          const adopted = index.adopt(digest, before, file);
          const entry = made(digest);
          assert.notEqual(adopted, 0);
          if (before !== 0) assert.equal(adopted, before);
          Object.assign(entry, { generation: adopted, blocks: file.blocks, identity: number });
        } else if (what === "renew") {
          const before = known?.generation ?? 0;
          const renewed = index.renew(digest, before, file);
          assert.equal(renewed !== 0, before !== 0);
          if (known !== undefined && renewed !== 0)
            Object.assign(known, { generation: renewed, blocks: file.blocks, identity: number });
        } else if (what === "drop") {
          // Contents that have been replaced are not what was to be dropped.
          const old = number % 4 === 0 ? -1 : (known?.generation ?? 0);
          assert.equal(index.drop(digest, old), old > 0);
          if (known !== undefined && old !== -1) clear(known);
        } else if (what === "claim") {
          const token = ownerToken(number % 3, ++tokens);
          const entry = made(digest);
          assert.equal(index.claim(digest, token, 0), entry.owner === 0);
          if (entry.owner === 0) entry.owner = token;
        } else if (what === "release") {
          if (known !== undefined) {
            index.release(digest, known.owner);
            known.owner = 0;
          }
        } else if (what === "die") {
          index.forget(number % 3);
          for (const entry of model.values()) if (entry.owner >>> 22 === number % 3) entry.owner = 0;
        } else {
          const victim = index.oldest();
          // Those that are being updated are passed over, and count as used.
          for (const [each, entry] of [...model]) {
            if (entry.owner === 0) break;
            model.delete(each);
            model.set(each, entry);
          }
          const [oldest, entry] = [...model].find(([, { owner }]) => owner === 0) ?? [undefined, undefined];
          assert.equal(victim?.digest, oldest);
          if (victim === undefined || oldest === undefined) continue;
          assert.equal(victim.generation, entry?.generation);
          index.evict(victim, true);
          model.delete(oldest);
        }
        assert.equal(index.table.size, model.size);
        assert.equal(
          index.table.blocks,
          [...model.values()].reduce((sum, { blocks }) => sum + blocks, 0),
        );
      }
      for (const [digest, { owner }] of model) index.release(digest, owner);
      assert.deepEqual(drain(index), [...model.keys()]);
      assert.deepEqual([index.table.size, index.table.blocks], [0, 0]);
    }),
  );
});

test("a full index says so, and wants an eighth of it free from then on", () => {
  const index = new CacheIndex(newZone(), INACTIVE);
  let count = 0;
  while (index.open(digestOf(String(count)), 1) !== FULL) count++;
  assert.ok(index.table.crowded);
  const most = count - (count >> 3);
  for (let i = 0; index.table.size >= most; i++) {
    const victim = index.oldest();
    assert.equal(victim?.digest, digestOf(String(i)));
    if (victim !== undefined) index.evict(victim, true);
  }
  assert.ok(!index.table.crowded);
  assert.equal(index.table.evictions, count - most + 1);
  assert.equal(index.open(digestOf("another"), 1) === FULL, false);
});

test("an entry takes less of the zone than nginx's, which takes 128 bytes and 24 for each page", () => {
  for (const size of [2 ** 20, 10 * 2 ** 20]) {
    const index = new CacheIndex(newZone(size), INACTIVE);
    let count = 0;
    while (index.open(digestOf(String(count)), 1) !== FULL) count++;
    assert.ok(count > Math.floor(size / (4096 + 24)) * 32, `${count} entries in ${size} bytes`);
  }
});

test("wherever a process dies with the lock held, the other entries and the blocks of all are right", () => {
  const digests = ["a", "b", "c", "d"].map(digestOf);
  const [, second, , , more] = [...digests, digestOf("new")];
  const file = { headBytes: 100, blocks: 3, identity: 7 };
  const changes: readonly (readonly [string, (index: CacheIndex) => unknown])[] = [
    ["open of a new one", (index) => index.open(more, 1)],
    ["open", (index) => index.open(second, 1)],
    ["commit", (index) => index.commit(second, 0, { ...file, blocks: 9 })],
    ["commit of a new one", (index) => index.commit(more, 0, file)],
    ["drop", (index) => index.drop(second, index.generationAt(index.place(second)))],
    ["claim", (index) => index.claim(second, ownerToken(1, 1), 1000)],
    ["evict", (index) => index.evict({ digest: second, generation: index.generationAt(index.place(second)) }, true)],
  ];
  for (const [name, change] of changes) {
    for (let at = 0, done = false; !done; at++) {
      const zone = newZone();
      const index = new CacheIndex(zone, INACTIVE);
      for (const digest of digests) index.commit(digest, 0, file);
      try {
        change(new CacheIndex(dyingView(zone, at).view, INACTIVE));
        done = true;
      } catch (error) {
        if (!(error instanceof Death)) throw error;
      }
      new CacheIndex(afterDeath(zone), INACTIVE).isClaimed(second);
      const found = new CacheIndex(zone, INACTIVE);
      let blocks = 0;
      for (const digest of [...digests, more]) {
        found.open(digest, 1);
        if (digest !== second && digest !== more) assert.ok(found.exists, `${name}, at write ${at}`);
      }
      found.forget(1);
      for (let victim = found.oldest(); victim !== undefined; victim = found.oldest()) {
        const before = found.table.blocks;
        found.evict(victim, false);
        blocks += before - found.table.blocks;
      }
      assert.deepEqual([found.table.size, found.table.blocks], [0, 0], `${name}, at write ${at}`);
      assert.ok(blocks >= 9);
    }
  }
});

test("the file that a worker was putting in when it died is known afterwards", () => {
  const index = new CacheIndex(newZone(), INACTIVE);
  const digest = digestOf("a");
  index.putIn(digest, 5);
  index.forget(4);
  assert.equal(index.table.size, 0);
  index.forget(5);
  index.open(digest, 1);
  assert.deepEqual([index.exists, index.identity], [true, 0]);
  index.putIn(digest, 5);
  index.commit(digest, 0, { headBytes: 1, blocks: 1, identity: 9 });
  // It died before it looked whether the key had been purged meanwhile.
  index.forget(5);
  index.open(digest, 1);
  assert.deepEqual([index.exists, index.identity], [true, 0]);
  index.putIn(digest, 5);
  const generation = index.commit(digest, 0, { headBytes: 1, blocks: 1, identity: 9 });
  index.putIn("", 5);
  index.forget(5);
  index.open(digest, 1);
  assert.deepEqual([index.identity, index.generation, index.table.blocks], [9, generation, 1]);
});

test("a status keeps the number of the last purge before it, and a file takes its place", () => {
  const index = new CacheIndex(newZone(), INACTIVE);
  const digest = digestOf("a");
  for (const purge of [0, 7, 2 ** 31, 1_795_000_000_123]) {
    index.open(digest, 1);
    index.fail(digest, 0, 0, { status: 503, seconds: 600, purge });
    index.open(digest, 1);
    assert.deepEqual([index.error, index.errorPurge, index.exists, index.table.blocks], [503, purge, false, 0]);
  }
  index.commit(digest, 0, { headBytes: 100, blocks: 2, identity: 9 });
  // Its file is not the one that was removed for the status.
  index.fail(digest, 0, 0, { status: 504, seconds: 600, purge: 7 });
  assert.equal(index.drop(digest, 0), false);
  index.open(digest, 1);
  assert.deepEqual([index.error, index.errorPurge, index.headBytes, index.identity], [0, 0, 100, 9]);
});

test("trouble is told once a minute, by one of all processes", () => {
  const zone = newZone();
  const [one, other] = [new CacheIndex(zone, INACTIVE), new CacheIndex(zone, INACTIVE)];
  assert.deepEqual(
    [one.table.saysTrouble(0), other.table.saysTrouble(0), one.table.saysTrouble(1)],
    [true, false, true],
  );
});
