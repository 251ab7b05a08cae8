import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Slab } from "../../src/shm/slab.ts";
import { makeZone } from "../../src/shm/zone.ts";

const PAGE = 4096;

function newSlab(size: number) {
  const zone = makeZone({ name: "test", version: 1 }, "slab", size);
  const slab = new Slab(zone, 5);
  slab.format();
  return { slab, words: zone.words };
}

/** Pieces that were given out: the bytes asked for, by word. */
type Pieces = Map<number, number>;

/** Every piece lies within the zone and holds what was written into it, so none lies over another. */
function checkPieces(words: Int32Array, pieces: Pieces): void {
  for (const [slot, bytes] of pieces) {
    assert.ok(slot > 0 && slot % 2 === 0 && slot + Math.ceil(bytes / 4) <= words.length, `${bytes} bytes at ${slot}`);
    for (let at = slot; at < slot + Math.ceil(bytes / 4); at++) assert.equal(words[at], slot);
  }
}

function take({ slab, words }: ReturnType<typeof newSlab>, pieces: Pieces, bytes: number): boolean {
  const slot = slab.alloc(bytes);
  if (slot === undefined) return false;
  assert.ok(!pieces.has(slot));
  words.fill(slot, slot, slot + Math.ceil(bytes / 4));
  pieces.set(slot, bytes);
  return true;
}

/** All pages are free, in one run. */
function checkFree({ slab }: ReturnType<typeof newSlab>): void {
  assert.notEqual(slab.alloc(slab.pages * PAGE), undefined);
}

/** Numbers up to 9,999 free the piece of that number, larger ones ask for so many bytes more. */
const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min: 10_001, max: 12_100 }) },
    { weight: 1, arbitrary: fc.integer({ min: 10_001, max: 30_000 }) },
    { weight: 3, arbitrary: fc.nat(9999) },
  ),
  { maxLength: 120 },
);

function follow(made: ReturnType<typeof newSlab>, pieces: Pieces, run: readonly number[]): void {
  for (const step of run) {
    const slots = [...pieces.keys()];
    if (step > 10_000) take(made, pieces, step - 10_000);
    else if (slots.length > 0) {
      const slot = slots[step % slots.length];
      made.slab.free(slot);
      pieces.delete(slot);
    }
  }
}

test("no two pieces lie over one another, and what is freed makes a full zone again", () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 8, max: 40 }), (run, pages) => {
      const made = newSlab(pages * PAGE);
      const pieces: Pieces = new Map();
      follow(made, pieces, run);
      checkPieces(made.words, pieces);
      for (const slot of pieces.keys()) made.slab.free(slot);
      checkFree(made);
    }),
  );
});

test("a repair keeps what is in use, and frees the rest", () => {
  fc.assert(
    fc.property(steps, fc.func(fc.boolean()), steps, (run, keep, after) => {
      const made = newSlab(30 * PAGE);
      const pieces: Pieces = new Map();
      follow(made, pieces, run);
      for (const slot of [...pieces.keys()]) if (!keep(slot)) pieces.delete(slot);
      made.slab.repair((slot) => pieces.has(slot));
      follow(made, pieces, after);
      checkPieces(made.words, pieces);
      for (const slot of pieces.keys()) made.slab.free(slot);
      checkFree(made);
    }),
  );
});

test("a full zone says so, and has room again for what was freed", () => {
  const slots = [8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048];
  for (const bytes of [1, 8, 9, 17, 33, 64, 84, 97, 100, 1500, 1537, 2048, 2049, PAGE, PAGE + 1, 3 * PAGE]) {
    const made = newSlab(12 * PAGE);
    const pieces: Pieces = new Map();
    while (take(made, pieces, bytes));
    const size = bytes > 2048 ? Math.ceil(bytes / PAGE) * PAGE : slots.find((slot) => slot >= bytes);
    assert.ok(size !== undefined);
    const expected =
      size > PAGE ? Math.floor(made.slab.pages / (size / PAGE)) : made.slab.pages * Math.floor(PAGE / size);
    assert.equal(pieces.size, expected, `pieces of ${bytes} bytes`);
    for (const slot of [...pieces.keys()].slice(0, 3)) {
      made.slab.free(slot);
      assert.equal(made.slab.alloc(bytes), slot);
    }
  }
});

test("what was never given out cannot be freed", () => {
  const made = newSlab(12 * PAGE);
  const { slab } = made;
  const slot = slab.alloc(64);
  assert.ok(slot !== undefined);
  for (const wrong of [0, -2, slot + 1, slot + 8, slot + PAGE / 4, 2 ** 30, Number.NaN]) {
    assert.throws(() => slab.free(wrong), RangeError);
  }
  slab.free(slot);
  checkFree(made);
});

test("too small a zone has no memory", () => {
  assert.equal(newSlab(1024).slab.alloc(8), undefined);
});
