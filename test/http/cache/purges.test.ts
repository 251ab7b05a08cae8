import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Purges, purgesZone } from "../../../src/http/cache/purges.ts";
import { makeOwnZone } from "../../../src/shm/zone.ts";

/** Purges as processes share them: numbers, records, the ring of single keys. */

interface Made {
  readonly purges: Purges;
  /** Another process's view of the same zone. */
  readonly other: Purges;
  readonly path: string;
  readonly reports: string[];
  /** After a restart: a new zone, the same file. */
  again(): Purges;
}

function make(t: TestContext): Made {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-purges-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "purges.json");
  const reports: string[] = [];
  const wanted = purgesZone({ kind: { name: "cache", version: 1 }, name: "one" });
  const zone = () => makeOwnZone(wanted.kind, wanted.name, wanted.size);
  const open = (shared: ReturnType<typeof zone>) => {
    const purges = new Purges(shared, path, (sentence) => reports.push(sentence));
    purges.load();
    return purges;
  };
  const shared = zone();
  return { purges: open(shared), other: open(shared), path, reports, again: () => open(zone()) };
}

const entry = (key: string, purge: number, tags = "") => ({ key, tags, purge });

test("a record concerns what was fetched before it, in every process, until it is forgotten", (t) => {
  const { purges, other } = make(t);
  const before = purges.last;
  assert.equal(purges.covers(entry("/a/1", before)), false);
  assert.equal(purges.many("prefix", "/a/"), undefined);
  assert.equal(purges.many("tags", " red round "), undefined);
  const after = purges.last;
  for (const view of [purges, other]) {
    assert.equal(view.pending, true);
    assert.equal(view.covers(entry("/a/1", before)), true);
    assert.equal(view.covers(entry("/b", before)), false);
    assert.equal(view.covers(entry("/b", before, " round ")), true);
    assert.equal(view.covers(entry("/b", before, " rounder ground ")), false);
    assert.equal(view.covers(entry("/a/1", after)), false);
  }
  other.forget(() => true);
  assert.equal(purges.pending, false);
  assert.equal(purges.covers(entry("/a/1", before)), false);
  // Its fetch lasted longer than the purge: it may be one of those that were purged.
  assert.equal(purges.overtook(entry("/b", before), "digest of /b    "), true);
  assert.equal(purges.overtook(entry("/b", after), "digest of /b    "), false);
});

test("a key's purge is remembered for those whose fetch had begun, however many follow", (t) => {
  const { purges, other } = make(t);
  const digest = (i: number) => String(i).padEnd(16);
  const before = purges.last;
  purges.one(digest(1));
  const between = purges.last;
  assert.equal(other.overtook(entry("/1", before), digest(1)), true);
  assert.equal(other.overtook(entry("/2", before), digest(2)), false);
  assert.equal(other.overtook(entry("/1", between), digest(1)), false);
  assert.deepEqual([other.tookOne(digest(1), before), other.tookOne(digest(1), between)], [true, false]);
  for (let i = 2; i < 1000; i++) purges.one(digest(i));
  assert.equal(other.overtook(entry("/1", before), digest(1)), true);
  assert.equal(other.overtook(entry("/1000", purges.last), digest(1000)), false);
  assert.equal(other.pending, false);
});

test("a purge takes the place of those that it includes", (t) => {
  const { purges } = make(t);
  for (const prefix of ["/a/1", "/a/2", "/b"]) purges.many("prefix", prefix);
  const before = purges.last;
  purges.many("prefix", "/a/");
  purges.many("tags", " x ");
  purges.many("tags", " x ");
  const texts = purges.records().map(({ text }) => text);
  assert.deepEqual(texts.sort(), [" x ", "/a/", "/b"]);
  assert.equal(purges.covers(entry("/a/1", before)), true);
  assert.equal(purges.covers(entry("/b", before)), false);
  let refused: unknown;
  for (let i = 0; i < 300 && refused === undefined; i++) refused = purges.many("prefix", `/c/${i}/`);
  assert.equal(refused, "full");
  assert.equal(purges.many("prefix", "/c/"), undefined);
  assert.equal(purges.records().length, 4);
  assert.equal(purges.many("prefix", "x".repeat(5000)), "too long");
});

test("a restart keeps what is pending, and the numbers go on even if the clock does not", (t) => {
  const { purges, path, reports, again } = make(t);
  purges.many("prefix", "/\u00e9");
  const { last } = purges;
  writeFileSync(path, readFileSync(path, "utf8").replaceAll(String(last), String(last + 1e9)));
  const next = again();
  assert.equal(next.last, last + 1e9);
  assert.equal(next.covers(entry("/\u00e9/x", last)), true);
  next.many("prefix", "/b");
  assert.ok(next.last > last + 1e9);
  // A number from a run whose file was lost, and whose clock was ahead.
  assert.equal(next.covers(entry("/b", last + 2e9)), true);
  assert.deepEqual(reports, []);
});

test("a list that is damaged counts as a purge of everything that there was", (t) => {
  const { path, reports, again } = make(t);
  for (const text of ["", "{", "[]", '{"last": 5, "records": [{"kind": "all"}]}', "x".repeat(2 << 20)]) {
    writeFileSync(path, text);
    const purges = again();
    assert.equal(purges.covers(entry("/a", 1)), true, text.slice(0, 50));
    assert.equal(purges.covers(entry("/a", purges.last)), false);
    assert.match(reports.splice(0).join(), /has no list of purges, the whole cache is purged$/);
  }
  rmSync(path);
  assert.equal(again().pending, false);
});
