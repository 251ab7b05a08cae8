/** A group of real nodes on one machine: who sees whom. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { allSeeAll, startCluster } from "../support/cluster.ts";
import { runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { waitFor } from "../support/wait.ts";

test("each node says what each one finds of each other, and of each server", async (t) => {
  const backend = await httpBackend(t, (_request, response) => response.end("here"));
  const gone = await httpBackend(t, () => {});
  await gone.close();
  const nodes = await startCluster(t, {
    http: `upstream u { server ${backend.address}; server ${gone.address}; check interval=100 rise=2 fall=2 timeout=5000; }`,
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
    // Another one may be lost for a moment as well, and what it finds with it.
    await node.sees("that lb3 is down for both", ({ nodes: [, , { verdict, seen, facts }] }) => {
      const states = Object.entries(seen).map(([observer, { state }]) => `${observer} ${state}`);
      return verdict === "down" && facts === undefined && states.join() === "lb1 down,lb2 down";
    });
    await node.running.waitForLog(/disable check peer: .* node lb3/);
  }
  await third.start();
  await allSeeAll(nodes);
});

test("which node this machine is: an address of its own, or what `self` says", async (t) => {
  const check = async (nodes: string) => {
    const config = `cluster test { ${nodes} secret_file secret; }`;
    const files = { "conf/secret": "a secret of the test's own\n" };
    const { stderr } = await runHoldfast(t, { config, files, args: ["-t"] });
    return /\[(?:warn|emerg)\] (.*) in \S+:1/.exec(stderr)?.[1];
  };
  const several = "node lb1 127.0.0.1; node lb2 127.0.0.2;";
  assert.equal(
    await check(several),
    'more than one node ("lb1", "lb2") of cluster "test" has an address of this machine: "self" is to say which one it is',
  );
  assert.equal(await check(`${several} self lb2;`), undefined);
  assert.equal(
    await check("node lb1 198.51.100.1; node lb2 198.51.100.2;"),
    'no node of cluster "test" has an address of this machine: "self" is to say which one it is',
  );
  assert.equal(
    await check("node lb1 198.51.100.1; node lb2 127.0.0.1; self lb1;"),
    'this machine has no address 198.51.100.1, where node "lb1" is to listen',
  );
  assert.equal(await check("node lb1 198.51.100.1; node lb2 127.0.0.1;"), undefined);
  assert.match(
    (await check("node lb1 lb1.example;")) ?? "",
    /^"lb1.example" is no address: .* \("resolve" takes a name\)$/,
  );
});

test("a node that cannot listen says so once, and whether it is that node", async (t) => {
  const config = (
    port: number,
  ) => `cluster test { node lb1 198.51.100.1; node lb2 198.51.100.2; self lb1; secret_file secret; }
    events {} http { server { listen 127.0.0.1:${port}; location / { cluster_status; } } }`;
  const running = await startHoldfast(t, {
    config: ([port]) => config(port),
    files: { "conf/secret": "a secret of the test's own\n" },
  });
  const said =
    /\[error\] .*bind\(\) to 198\.51\.100\.1:7946 for cluster "test" failed \(99: .*\): is this machine node "lb1"\?/g;
  await waitFor(() => said.test(running.errorLog()), "it to be said");
  // It tries again each second.
  const checks = () => running.errorLog().match(/check peer is down/g)?.length ?? 0;
  await waitFor(() => checks() > 0, "the other one to be down");
  assert.equal(running.errorLog().match(said)?.length, 1);
});
