/** What follows from what several nodes find, and who looks: as functions. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { judge } from "../../src/cluster/judge.ts";
import { Observers, serverHash } from "../../src/cluster/observers.ts";

const count = fc.nat({ max: 1000 });
const maybe = fc.option(fc.boolean(), { nil: undefined });

test("more than half of those with a verdict decide; a tie goes to one's own, and so does everything alone", () => {
  const cases: [own: boolean | undefined, up: number, down: number, before: boolean | undefined, decided: unknown][] = [
    [false, 2, 0, undefined, true],
    [true, 0, 2, undefined, false],
    [true, 1, 2, undefined, true],
    [false, 2, 1, undefined, false],
    [false, 1, 0, true, false],
    [true, 0, 1, false, true],
    [false, 0, 0, true, false],
    [true, 0, 0, false, true],
    [undefined, 0, 0, true, undefined],
    [undefined, 0, 0, undefined, undefined],
    [undefined, 2, 1, false, true],
    [undefined, 1, 1, false, false],
    [undefined, 1, 1, true, true],
    [undefined, 1, 1, undefined, true],
  ];
  for (const [own, up, down, before, decided] of cases) {
    assert.equal(judge({ own, others: { up, down }, quorum: true, before }), decided, `${own} ${up} ${down} ${before}`);
  }
});

test("without a quorum who looks goes by what it finds, and who does not by what the others find", () => {
  fc.assert(
    fc.property(fc.boolean(), count, count, maybe, (own, up, down, before) => {
      assert.equal(judge({ own, others: { up, down }, quorum: false, before }), own);
    }),
  );
  fc.assert(
    fc.property(count, count, maybe, (up, down, before) => {
      const others = { up, down };
      const decided = judge({ own: undefined, others, quorum: false, before });
      assert.equal(decided, judge({ own: undefined, others, quorum: true, before }));
    }),
  );
});

test("a finding never turns the decision the other way", () => {
  fc.assert(
    fc.property(maybe, count, count, maybe, (own, up, down, before) => {
      const decided = judge({ own, others: { up, down }, quorum: true, before });
      if (decided === true) assert.equal(judge({ own, others: { up: up + 1, down }, quorum: true, before }), true);
      if (decided === false) assert.equal(judge({ own, others: { up, down: down + 1 }, quorum: true, before }), false);
    }),
  );
});

const names = Array.from({ length: 20 }, (_, i) => `lb${i}`);

/** Each node's own view of which servers it has to check, `live` being alive. */
function sharesOf(live: readonly string[], servers: readonly number[], observers: number): Map<string, Set<number>> {
  return new Map(
    live.map((self) => {
      const view = new Observers(self);
      for (const node of live) if (node !== self) view.set(node, true);
      return [self, new Set(servers.filter((server) => view.ahead(server) < observers))];
    }),
  );
}

test("live nodes agree on who looks: K of them at each server, evenly; who goes moves its own share only", () => {
  const servers = Array.from({ length: 2000 }, (_, i) => serverHash("u", `10.0.${i >> 8}.${i & 255}:80`));
  const all = sharesOf(names, servers, 3);
  for (const server of servers) assert.equal([...all.values()].filter((share) => share.has(server)).length, 3);
  // Each of 20 nodes has 300 on average; the standard deviation is 16.
  for (const share of all.values()) assert.ok(share.size > 220 && share.size < 380, `${share.size}`);

  const [gone, ...left] = names;
  const after = sharesOf(left, servers, 3);
  for (const name of left) {
    const kept = all.get(name) ?? new Set();
    const more = after.get(name) ?? new Set();
    for (const server of kept) assert.ok(more.has(server));
    for (const server of more) assert.ok(kept.has(server) || all.get(gone)?.has(server));
  }
  for (const live of [names.slice(0, 2), names.slice(0, 3)]) {
    for (const share of sharesOf(live, servers, 3).values()) assert.equal(share.size, servers.length);
  }
});

test("scores are the same in every version: nodes of two must agree", () => {
  assert.equal(serverHash("shop", "10.0.0.1:80"), 2754869180);
  const shares = sharesOf(names, [serverHash("shop", "10.0.0.1:80")], 3);
  assert.deepEqual(
    names.filter((name) => shares.get(name)?.size === 1),
    ["lb4", "lb9", "lb16"],
  );
});
