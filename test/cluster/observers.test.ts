/** `observers=K`: each server is checked by so many nodes, and the others go by what those find. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { type TestContext, test } from "node:test";
import { allSeeAll, type ClusterNode, startCluster } from "../support/cluster.ts";
import { freePort } from "../support/ports.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const COUNT = 12;

/** Servers on addresses of their own, which know who checks them. */
async function startServers(t: TestContext) {
  const sick = new Set<string>();
  /** The nodes that have checked a server since this was cleared, by its address. */
  const checkedBy = new Map<string, Set<string>>();
  const port = await freePort();
  const server = createServer(({ url = "", socket }, response) => {
    const address = `${socket.localAddress}:${port}`;
    const [, name] = /^\/check-(\w+)$/.exec(url) ?? [];
    if (name !== undefined) checkedBy.set(address, new Set(checkedBy.get(address)).add(name));
    response.statusCode = sick.has(address) ? 503 : 200;
    response.end(address);
  });
  await new Promise<void>((resolve) => server.listen(port, "0.0.0.0", resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const addresses = Array.from({ length: COUNT }, (_, i) => `127.0.0.${i + 1}:${port}`);
  return { addresses, sick, checkedBy };
}

async function start(t: TestContext, observers: number) {
  const servers = await startServers(t);
  const list = servers.addresses.map((address) => `server ${address};`).join(" ");
  const nodes = await startCluster(t, {
    http: (name) => `upstream u { ${list}
      check type=http interval=200 rise=2 fall=2 timeout=1000 observers=${observers};
      check_http_send "GET /check-${name} HTTP/1.0\\r\\n\\r\\n"; }`,
    server: "location / { proxy_pass http://u; } location = /status { check_status; }",
  });
  await allSeeAll(nodes);
  for (const node of nodes) await allUp(node);
  return { ...servers, nodes };
}

const allUp = (node: ClusterNode) =>
  waitFor(async () => (await down(node)).length === 0, `${node.name} to have all servers up`);

/** The servers that a node does not use. */
async function down(node: ClusterNode): Promise<string[]> {
  const { servers } = JSON.parse((await get(node.port, "/status?format=json")).body);
  return servers.server
    .filter(({ status }: { status: string }) => status === "down")
    .map(({ name }: { name: string }) => name);
}

/** Waits until all these nodes say of each server that so many of them look at it. */
async function observed(nodes: readonly ClusterNode[], observers: number): Promise<void> {
  for (const node of nodes) {
    await node.sees(`${observers} observers of each server`, ({ servers }) =>
      servers.every(({ seen }) => {
        const names = Object.keys(seen);
        const live = names.every((name) => nodes.some((other) => other.name === name));
        return live && names.length === observers && names.every((name) => seen[name].state === "up");
      }),
    );
  }
}

test("each server is checked by as many nodes as it has observers, and all nodes know how it is", async (t) => {
  const { nodes, addresses, sick, checkedBy } = await start(t, 1);
  await observed(nodes, 1);
  checkedBy.clear();
  await waitFor(() => checkedBy.size === COUNT, "a check of each server");
  checkedBy.clear();
  await waitFor(() => checkedBy.size === COUNT, "another check of each server");
  const counts = addresses.map((address) => checkedBy.get(address)?.size);
  assert.deepEqual(counts, Array(COUNT).fill(1));
  assert.ok(new Set([...checkedBy.values()].flatMap((names) => [...names])).size > 1, "one node checks all");

  sick.add(addresses[4]);
  for (const node of nodes) {
    await waitFor(async () => (await down(node)).join() === addresses[4], `${node.name} to have that server down`);
  }
  const elsewhere = /"decided": "looked at by other nodes"/;
  assert.match((await get(nodes[0].port, "/status?format=json")).body, elsewhere);
  sick.clear();
  for (const node of nodes) await allUp(node);
});

test("the share of an observer that dies moves to the others, and comes back with it; no server is down meanwhile", async (t) => {
  const { nodes, addresses, sick } = await start(t, 1);
  await observed(nodes, 1);
  const [first, second, third] = nodes;
  let watching = true;
  const seen: string[] = [];
  const watch = (async () => {
    while (watching) {
      for (const node of [first, second]) {
        seen.push(...(await down(node)));
        const { status } = await get(node.port, "/");
        if (status !== 200) seen.push(`${status}`);
      }
    }
  })();
  await third.running.stop("SIGKILL");
  await observed([first, second], 1);
  await third.start();
  await observed(nodes, 1);
  await third.running.stop("SIGQUIT");
  await observed([first, second], 1);
  watching = false;
  await watch;
  assert.deepEqual(seen, []);

  await second.running.stop("SIGKILL");
  await observed([first], 1);
  sick.add(addresses[0]);
  await waitFor(async () => (await down(first)).join() === addresses[0], "the last node to look itself");
});

test("with as many observers as nodes, or more, each node checks each server", async (t) => {
  const { nodes, checkedBy } = await start(t, 5);
  await observed(nodes, 3);
  checkedBy.clear();
  await waitFor(
    () => checkedBy.size === COUNT && [...checkedBy.values()].every(({ size }) => size === 3),
    "checks of each server by each node",
  );
});
