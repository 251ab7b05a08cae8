/** A group of real nodes on one machine: who sees whom. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { allSeeAll, startCluster } from "../support/cluster.ts";

test("each node says what each one finds of each other, and of each server", async (t) => {
  const backend = await httpBackend(t, (_request, response) => response.end("here"));
  const gone = await httpBackend(t, () => {});
  await gone.close();
  const nodes = await startCluster(t, {
    http: `upstream u { server ${backend.address}; server ${gone.address}; check interval=100 rise=2 fall=2 timeout=500; }`,
  });
  await allSeeAll(nodes);
  const [first] = nodes;
  for (const node of nodes) {
    await node.sees("the servers", ({ servers }) => {
      const verdicts = servers.map(({ server, verdict, seen }) => [server, verdict, Object.keys(seen).length]);
      return (
        JSON.stringify(verdicts) ===
        JSON.stringify([
          [backend.address, "up", 3],
          [gone.address, "down", 3],
        ])
      );
    });
  }
  await first.sees("that all serve", (matrix) => matrix.nodes.every(({ facts }) => facts?.state === "serving"));
  const { cluster, self, nodes: rows } = await first.matrix();
  assert.deepEqual([cluster, self], ["test", "lb1"]);
  assert.deepEqual(
    rows.map(({ name, address, facts, verdict }) => [name, address, facts?.state, verdict]),
    nodes.map(({ name, address }) => [name, address, "serving", "up"]),
  );
  const { seen } = await first.server(gone.address);
  assert.match(seen.lb2.reason, /connection refused/);
});

test("a node that is killed is down for all others; started again it is up", async (t) => {
  const nodes = await startCluster(t);
  await allSeeAll(nodes);
  const [first, second, third] = nodes;
  await third.running.stop("SIGKILL");
  for (const node of [first, second]) {
    await node.sees("that lb3 is down", ({ nodes: rows }) => rows[2].verdict === "down");
    const { seen, facts } = await node.node("lb3");
    assert.deepEqual(Object.keys(seen), ["lb1", "lb2"]);
    assert.equal(facts, undefined);
    assert.match(node.running.errorLog(), /node lb3/);
  }
  await third.start();
  await allSeeAll(nodes);
});
