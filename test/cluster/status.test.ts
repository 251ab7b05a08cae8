/** What `cluster_status` shows: who sees whom, in words too. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Matrix } from "../../src/cluster/matrix.ts";
import { httpBackend } from "../support/backend.ts";
import { allSeeAll, type ClusterNode, startCluster } from "../support/cluster.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

interface Shown extends Matrix {
  readonly troubles: readonly string[];
}

const CHECK = "check interval=100 rise=2 fall=2 timeout=5000;";

async function shown(node: ClusterNode): Promise<Shown> {
  return (await node.matrix()) as Shown;
}

async function says(node: ClusterNode, trouble: RegExp): Promise<void> {
  const all = async () => (await shown(node)).troubles;
  await waitFor(async () => (await all()).some((one) => trouble.test(one)), `${node.name} to say ${trouble}`);
}

test("the page is html where nothing else is asked for, and what is not there is not found", async (t) => {
  const [first] = await startCluster(t, { nodes: 2, server: "location = /other { cluster_status json; }" });
  const page = await get(first.port, "/cluster");
  assert.equal(page.status, 200);
  assert.equal(page.header("content-type"), "text/html");
  assert.match(page.body, /<h1>Cluster test as lb1 sees it<\/h1>/);
  assert.equal((await get(first.port, "/other")).header("content-type"), "application/json");
  assert.equal((await get(first.port, "/other?format=html")).header("content-type"), "text/html");
  assert.equal((await get(first.port, "/cluster?format=xml")).header("content-type"), "text/html");
});

test("a dead node is told from a cut cable, and a server that one node cannot reach is that node's problem", async (t) => {
  const backend = await httpBackend(t, (_request, response) => response.end("here"));
  const dead = await httpBackend(t, () => {});
  await dead.close();
  const nodes = await startCluster(t, {
    nodes: 4,
    reaches: (observer, subject) => observer !== "lb2" || subject !== "lb3",
    // For lb2 the same server is behind a wall.
    http: (node) =>
      `upstream app { server ${backend.address}; ${CHECK.replace(";", node === "lb2" ? " port=1;" : ";")} }`,
  });
  const [first, , , fourth] = nodes;
  await says(
    first,
    /^lb2 does not reach lb3, lb1 and lb4 do: the way between them is cut \(connect: connection refused\)$/,
  );
  await says(first, /^only lb2 finds \S+ of app down, lb1, lb3 and lb4 find it up: this is a problem of lb2 \(connect/);
  await waitFor(
    async () => !(await shown(first)).troubles.some((one) => one.startsWith("lb4")),
    "nothing to be wrong with lb4",
  );
  await fourth.running.stop("SIGKILL");
  await says(first, /^lb4: down, nobody hears it/);
  await waitFor(async () => {
    const { body } = await get(first.port, "/cluster");
    return /<li>lb4: down, nobody hears it \(/.test(body) && /the way between them is cut/.test(body);
  }, "the page to say both");
  await first.sees("lb3 partly up", ({ nodes: rows }) => rows[2].verdict === "partly");
});

test("other configurations, versions and nodes are named on each node, once", async (t) => {
  const nodes = await startCluster(t, { nodes: 2, http: (node) => (node === "lb2" ? "server_tokens off;" : "") });
  const [first, second] = nodes;
  await allSeeAll(nodes);
  const logged = (node: ClusterNode, text: RegExp) =>
    node.running
      .errorLog()
      .split("\n")
      .filter((line) => text.test(line));
  for (const [node, other] of [
    [first, "lb2"],
    [second, "lb1"],
  ] as const) {
    const text = new RegExp(`\\[warn\\] .*node ${other} has another configuration`);
    await waitFor(async () => logged(node, text).length > 0, `${node.name} to name ${other}`);
    await node.sees(`what ${other} has`, ({ differences }) =>
      differences.some((one) => one.startsWith(`node ${other} has another configuration`)),
    );
  }
  // Many looks later there is still one line.
  const before = (await first.matrix()).at;
  await waitFor(async () => (await first.matrix()).at > before + 1000, "more looks");
  assert.equal(logged(first, /has another configuration/).length, 1);
});

test("a node with another secret is down, and both sides say why", async (t) => {
  const nodes = await startCluster(t, { nodes: 2, secret: (node) => `the secret of ${node}, and no other's` });
  const [first, second] = nodes;
  await says(first, /^lb2: down, nobody hears it \(.*have you another secret\?|has it another secret\?/);
  await waitFor(
    async () => /a message of 127\.0\.0\.1 to cluster "test" does not verify/.test(second.running.errorLog()),
    "lb2 to log it",
  );
});
