/** `holdfast cluster …` at the terminal, and the variables for logs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { allSeeAll, type ClusterNode, startCluster } from "../support/cluster.ts";
import { type Outcome, runTool, startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

function cluster({ running }: ClusterNode, ...words: readonly string[]): Promise<Outcome> {
  return runTool(running, "cluster", ...words);
}

function stateOf(observer: ClusterNode, name: string, state: string): Promise<void> {
  return observer.sees(`${name} ${state}`, ({ nodes }) =>
    nodes.some((one) => one.name === name && one.facts?.state === state),
  );
}

test("status shows the matrix in columns, or as JSON", async (t) => {
  const backend = await httpBackend(t, (_request, response) => response.end("here"));
  const nodes = await startCluster(t, {
    nodes: 2,
    http: `upstream app { server ${backend.address}; check interval=100 rise=2 fall=2 timeout=5000; }`,
  });
  await allSeeAll(nodes);
  const [first] = nodes;
  await first.sees(
    "the server",
    ({ servers }) => Object.keys(servers[0].seen).length === 2 && servers[0].verdict === "up",
  );
  const { code, stderr } = await cluster(first, "status");
  assert.deepEqual([code, stderr], [0, ""]);
  const shown = [
    /^cluster test as lb1 sees it, 2/,
    /\nNODE +ADDRESS +STATE +REACHED BY +VERSION/,
    /\nlb1\* +127\.0\.0\.1:\d+ +serving +1 of 1 /,
    /\nOBSERVER {2}lb1 {2}lb2\nlb1 {7}- {4}up\nlb2 {7}up {3}-\n/,
    new RegExp(`\\nUPSTREAM +SERVER +IS +lb1 +lb2\\napp +${backend.address} +up +up +up\\n$`),
  ];
  await waitFor(async () => {
    const { stdout } = await cluster(first, "status");
    return shown.every((text) => text.test(stdout));
  }, "all of it");
  const json = JSON.parse((await cluster(first, "status", "--json")).stdout);
  assert.deepEqual([json.cluster, json.self, json.nodes.length], ["test", "lb1", 2]);
});

test("a node that drains says so to the others and goes on answering, until it is let in again", async (t) => {
  const nodes = await startCluster(t, {
    nodes: 2,
    server: "location = /node { return 200 $cluster_node-$cluster_holder; }",
  });
  await allSeeAll(nodes);
  const [first, second] = nodes;
  assert.equal((await cluster(second, "drain")).stdout, "node lb2 is draining\n");
  await stateOf(first, "lb2", "draining");
  assert.equal((await get(second.port, "/node")).body, "lb2-");
  // A reload does not let it in.
  assert.match((await cluster(first, "status")).stdout, /\nlb2 is draining\n/);
  await second.running.reload();
  await stateOf(second, "lb2", "draining");
  assert.equal((await cluster(second, "undrain")).stdout, "node lb2 is serving\n");
  await stateOf(first, "lb2", "serving");
});

test("a node that is told to leave says so, and ends", async (t) => {
  const nodes = await startCluster(t, { nodes: 2 });
  await allSeeAll(nodes);
  const [first, second] = nodes;
  const { code, stdout } = await cluster(second, "leave");
  assert.deepEqual([code, stdout], [0, "node lb2 is leaving\n"]);
  await first.sees("that lb2 has left", ({ nodes: rows }) => rows[1].verdict === "down" && rows[1].left === true);
  assert.match((await cluster(first, "status")).stdout, /\nlb2 has left\n/);
  await second.start();
  await allSeeAll(nodes);
  assert.equal((await first.node("lb2")).left, undefined);
});

test("what cannot be asked is refused in a sentence", async () => {
  const refusal = async (...words: string[]) => (await runTool({ prefix: "/nowhere" }, "cluster", ...words)).stderr;
  assert.equal(await refusal(), "holdfast: cluster: status, drain, undrain or leave?\n");
  assert.equal(await refusal("go"), 'holdfast: cluster: there is no "go", but status, drain, undrain and leave\n');
  assert.equal(await refusal("drain", "lb2"), 'holdfast: cluster drain: what is "lb2"?\n');
  assert.equal(await refusal("drain", "--json"), 'holdfast: cluster drain: what is "--json"?\n');
});

test("without a cluster in the configuration there is none to ask of, and the variables are empty", async (t) => {
  const running = await startHoldfast(t, {
    config: ([port]) =>
      `events {} http { server { listen 127.0.0.1:${port}; location / { return 200 "[$cluster_node$cluster_holder]"; } } }`,
  });
  assert.equal((await get(running.port, "/")).body, "[]");
  const { code, stderr } = await runTool(running, "cluster", "status");
  assert.deepEqual([code, stderr], [1, 'holdfast: there is no "cluster" in the configuration\n']);
});
