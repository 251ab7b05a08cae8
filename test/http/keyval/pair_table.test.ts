import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { MOST_VALUE, type Pair, PairEntries, UNTOLD_FLAG } from "../../../src/http/keyval/pair_entries.ts";
import { filedKey, type PairType, shownKey } from "../../../src/http/keyval/pair_key.ts";
import { KEYVAL_ZONE, PairTable } from "../../../src/http/keyval/pair_table.ts";
import { makeOwnZone } from "../../../src/shm/zone.ts";
import { afterDeath, Death, dyingView } from "../../shm/dying_zone.ts";

/** The table of a keyval zone, beside a plain list of its pairs. */

const SIZE = 8 * 1024 * 1024;
const NEVER = Number.POSITIVE_INFINITY;

function table(type: PairType, size = 1024 * 1024): PairTable {
  return new PairTable(makeOwnZone(KEYVAL_ZONE, "test", size), type, (sentence) => assert.fail(sentence));
}

function ip(text: string): string {
  return filedKey("ip", text) ?? assert.fail(text);
}

/** Numbers that look random, the same at each run. */
function randoms(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >>> 8) % below;
  };
}

function pairs(of: PairTable): ReadonlyMap<string, string | undefined> {
  return new Map([...of.all(true)].flat().map(({ key, value }) => [key, value]));
}

describe("networks", () => {
  for (const [written, shown] of [
    ["10.1.2.3", "10.1.2.3"],
    ["10.1.2.3/32", "10.1.2.3"],
    ["10.1.2.3/8", "10.0.0.0/8"],
    ["10.1.2.3/0", "0.0.0.0/0"],
    ["2001:DB8::1/127", "2001:db8::/127"],
    ["2001:DB8::1", "2001:db8::1"],
    ["::/0", "::/0"],
    ["::ffff:10.1.2.3", "10.1.2.3"],
    ["::ffff:10.1.2.3/104", "10.0.0.0/8"],
  ]) {
    test(`${written} is ${shown}`, () => assert.equal(shownKey("ip", ip(written)), shown));
  }
  for (const wrong of [
    "",
    "x",
    "10.1.2",
    "10.1.2.3/33",
    "10.1.2.3/",
    "10.1.2.3/a",
    "::1/129",
    "::1/1000",
    "[::1]",
    "/8",
  ]) {
    test(`"${wrong}" is none`, () => assert.equal(filedKey("ip", wrong), undefined));
  }
});

test("of networks the narrowest that lives decides", () => {
  const found = table("ip");
  const set = (text: string, ends = NEVER) => assert.equal(found.set(ip(text), text, ends), "done");
  const find = (text: string) => found.find(ip(text));
  assert.equal(find("10.1.2.3"), undefined);
  for (const text of ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32", "::/0"]) set(text);
  set("10.1.2.0/24", Date.now() - 1);
  assert.deepEqual(
    [
      "10.1.2.3",
      "10.1.2.4",
      "10.2.0.0",
      "11.0.0.0",
      "10.1.2.0/24",
      "10.0.0.0/7",
      "::ffff:10.1.2.3",
      "2001:db8::1",
      "fe80::1",
    ].map(find),
    ["10.1.2.3", "10.1.0.0/16", "10.0.0.0/8", undefined, "10.1.0.0/16", undefined, "10.1.2.3", "2001:db8::/32", "::/0"],
  );
  set("0.0.0.0/0");
  assert.equal(find("11.0.0.0"), "0.0.0.0/0");
});

test("of prefixes the longest decides", () => {
  const found = table("prefix");
  for (const key of ["/", "/images/", "/images/\xff", "/images/large/", "/i"]) found.set(key, key, NEVER);
  assert.deepEqual(
    ["", "x", "/", "/images", "/images/x", "/images/\xffy", "/images/large/1", "/images/\xfe"].map((key) =>
      found.find(key),
    ),
    [undefined, undefined, "/", "/i", "/images/", "/images/\xff", "/images/large/", "/images/"],
  );
});

for (const type of ["string", "prefix", "ip"] as const) {
  test(`${type}: any changes leave what a plain list has`, () => {
    const random = randoms(7);
    const found = table(type, SIZE);
    const plain = new Map<string, string>();
    // Few letters, so that keys have much in common.
    const newKey = () =>
      type === "ip"
        ? ip(`${random(4)}.${random(3) * 85}.0.${random(3)}/${random(33)}`)
        : Array.from({ length: 1 + random(9) }, () => "ab\xff"[random(3)]).join("");
    for (let step = 0; step < 8000; step++) {
      const key = newKey();
      if (random(3) === 0) assert.equal(found.remove(key, NEVER), plain.delete(key));
      else {
        const value = "v".repeat(random(200)) + step;
        assert.equal(found.set(key, value, NEVER), "done");
        plain.set(key, value);
      }
      if (step % 29 !== 0) continue;
      const asked = type === "ip" ? ip(`${random(4)}.${random(3) * 85}.0.${random(3)}`) : newKey();
      assert.equal(found.find(asked), expected(type, plain, asked), JSON.stringify(asked));
    }
    assert.deepEqual(pairs(found), plain);
    for (const key of plain.keys()) found.remove(key, NEVER);
    assert.equal(found.size, 0);
    // Nothing of it is left: the zone takes as much as a new one.
    assert.equal(fill(found, type), fill(table(type, SIZE), type));
  });
}

function expected(type: PairType, plain: ReadonlyMap<string, string>, asked: string): string | undefined {
  if (type === "string") return plain.get(asked);
  const bitsOf = (key: string) => {
    const from = type === "ip" ? 1 : 0;
    const bits = [...key.slice(from)].map((unit) => unit.charCodeAt(0).toString(2).padStart(8, "0")).join("");
    return type === "ip" ? bits.slice(0, key.charCodeAt(0)) : bits;
  };
  let best: string | undefined;
  for (const key of plain.keys()) {
    if (bitsOf(asked).startsWith(bitsOf(key)) && bitsOf(key).length >= bitsOf(best ?? "").length) best = key;
  }
  return best === undefined ? undefined : plain.get(best);
}

/** How many pairs find room. */
function fill(found: PairTable, type: PairType): number {
  for (let i = 0; ; i++) {
    const key = type === "ip" ? ip(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`) : `key ${i}`;
    if (found.set(key, "value", NEVER) !== "done") return i;
  }
}

test("a full zone refuses what is new, keeps what it has, and takes again what has room", () => {
  const found = table("prefix", 64 * 1024);
  const count = fill(found, "prefix");
  assert.ok(count > 300, String(count));
  assert.equal(found.size, count);
  assert.equal(found.find("key 7"), "value");
  assert.equal(found.set("key 7", "other", NEVER), "done");
  assert.equal(found.set("key 8", "x".repeat(8000), NEVER), "full");
  assert.equal(found.get("key 8")?.value, "value");
  assert.equal(found.remove("key 9", NEVER), true);
  assert.equal(found.set("key 9", "again", NEVER), "done");
  // What has ended gives way.
  found.set("key 10", "short", Date.now() - 1);
  assert.equal(found.set("another", "value", NEVER), "done");
});

test("the longest value and key have room", () => {
  const found = table("string", 4 * 1024 * 1024);
  const [key, value] = ["k".repeat(65_535), "\xff".repeat(MOST_VALUE)];
  assert.equal(found.set(key, value, NEVER), "done");
  assert.equal(found.find(key), value);
});

/** What is done while its process dies at some write, of a table with these keys; `touched` may be lost. */
const CHANGES: readonly (readonly [what: string, touched: string, change: (of: PairEntries) => void])[] = [
  ["a new pair", "/a/new", (of) => of.write({ key: "/a/new", value: "new", ends: NEVER, stamp: 9 }, UNTOLD_FLAG)],
  ["another value", "/a/b", (of) => of.write({ key: "/a/b", value: "other", ends: NEVER, stamp: 9 }, UNTOLD_FLAG)],
  ["a longer value", "/a", (of) => of.write({ key: "/a", value: "l".repeat(300), ends: NEVER, stamp: 9 }, 0)],
  ["a mark", "/a/b", (of) => of.write({ key: "/a/b", value: undefined, ends: NEVER, stamp: 9 }, UNTOLD_FLAG)],
  ["a removal", "/a", (of) => of.drop(of.hash.find("/a") ?? 0)],
];

for (const [what, touched, change] of CHANGES) {
  test(`who dies within ${what} takes no other pair with it`, () => {
    const keys = ["/", "/a", "/a/b", "/a/b/c", "/b", "other"];
    for (let at = 0, done = false; !done; at++) {
      const zone = makeOwnZone(KEYVAL_ZONE, "test", 64 * 1024);
      const whole = new PairTable(zone, "prefix", (sentence) => assert.fail(sentence));
      for (const key of keys) whole.set(key, key, NEVER);
      const { view } = dyingView(zone, at);
      try {
        change(new PairEntries(view, "prefix", (sentence) => assert.fail(sentence)));
        done = true;
      } catch (error) {
        if (!(error instanceof Death)) throw error;
      }
      const said: string[] = [];
      const found = new PairTable(afterDeath(zone), "prefix", (sentence) => said.push(sentence));
      assert.match(said[0], /^a process died with keyval zone "test" locked, \d+ pairs were put in order/);
      const left = pairs(found);
      for (const key of keys.filter((one) => one !== touched)) {
        assert.equal(left.get(key), key, `${key} after write ${at}`);
        assert.equal(found.find(`${key}\x00`), key, `${key} after write ${at}`);
      }
      // The index is whole: all can be removed, and then there is as much room as ever.
      for (const key of left.keys()) found.remove(key, NEVER);
      for (let i = 0; i < 50; i++) assert.equal(found.set(`${i}`, "v", NEVER), "done");
      assert.equal(found.find("49 and more"), "v");
    }
  });
}

describe("shared with others", () => {
  const shared = (): PairTable => {
    const made = table("prefix", 64 * 1024);
    made.shared = true;
    return made;
  };
  const untold = (of: PairTable) => of.untoldOnes(1000);
  const LATER = Date.now() + 3_600_000;

  test("of two changes of a key the later one counts, in whatever order they come", () => {
    const changes: Pair[] = [
      { key: "k", value: "a", ends: LATER, stamp: 5 },
      { key: "k", value: undefined, ends: LATER, stamp: 7 },
      { key: "k", value: "c", ends: LATER, stamp: 6 },
      { key: "k", value: "d", ends: LATER, stamp: 7 },
    ];
    for (const order of [
      [0, 1, 2, 3],
      [3, 2, 1, 0],
      [1, 3, 0, 2],
      [2, 0, 3, 1],
    ]) {
      const found = shared();
      for (const i of order) found.merge([changes[i]], false);
      assert.deepEqual(pairs(found), new Map([["k", "d"]]), String(order));
    }
  });

  test("a removed pair leaves a mark, which an older change does not undo", () => {
    const found = shared();
    found.set("k", "v", LATER);
    const [told] = untold(found);
    found.told([told]);
    assert.deepEqual(untold(found), []);
    assert.equal(found.remove("k", LATER), true);
    assert.equal(found.remove("k", LATER), false);
    assert.equal(found.find("k"), undefined);
    found.merge([told], false);
    assert.equal(found.find("k"), undefined);
    assert.deepEqual(
      untold(found).map(({ key, value }) => [key, value]),
      [["k", undefined]],
    );
    // What was set after that is later, even where the clock stands still.
    found.set("k", "w", LATER);
    assert.deepEqual(
      untold(found).map(({ value }) => value),
      ["w"],
    );
  });

  test("what was changed again since it was told is told again", () => {
    const found = shared();
    found.set("k", "v", LATER);
    const before = untold(found);
    found.set("k", "w", LATER);
    found.told(before);
    assert.deepEqual(
      untold(found).map(({ value }) => value),
      ["w"],
    );
    assert.equal(found.untold, 1);
  });

  test("marks that were told give way where there is no room", () => {
    const found = shared();
    const count = fill(found, "prefix");
    found.told(untold(found).concat([...found.all(true)].flat()));
    for (let i = 0; i < count; i++) found.remove(`key ${i}`, LATER);
    found.told([...found.all(true)].flat());
    assert.equal(found.marks, count);
    assert.equal(fill(found, "prefix"), count);
  });
});
