/** `quorum=majority`: what most nodes find of a server decides, and what one finds alone is that node's problem. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { allSeeAll, type ClusterNode, startCluster } from "../support/cluster.ts";
import { runHoldfast } from "../support/holdfast.ts";
import { checkersOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

interface Row {
  readonly status: string;
  readonly rise: number;
  readonly fall: number;
  readonly reason: string;
  readonly decided?: string;
}

/** The one row of check_status. */
async function row(node: ClusterNode): Promise<Row> {
  const { servers } = JSON.parse((await get(node.port, "/status?format=json")).body);
  return servers.server[0];
}

const decides = (node: ClusterNode, decided: string | undefined, status: string) =>
  waitFor(async () => {
    const found = await row(node);
    return found.decided === decided && found.status === status;
  }, `${node.name} to say "${decided}" of a server that it finds ${status}`);

const answers = (node: ClusterNode, status: number) =>
  waitFor(async () => (await get(node.port, "/")).status === status, `${node.name} to answer ${status}`);

/** Three nodes, and a server that answers 503 to the checks of those in `cut`: to them it is down. */
async function startQuorum(t: Parameters<typeof startCluster>[0]) {
  const cut = new Set<string>();
  const backend = await httpBackend(t, ({ url = "" }, response) => {
    response.statusCode = cut.has(url.slice(1)) ? 503 : 200;
    response.end("here");
  });
  const nodes = await startCluster(t, {
    http: (name) => `upstream u { server ${backend.address};
      check type=http interval=100 rise=2 fall=2 timeout=1000 quorum=majority;
      check_http_send "GET /${name} HTTP/1.0\\r\\n\\r\\n"; }`,
    server: "location / { proxy_pass http://u; } location = /status { check_status; }",
  });
  await allSeeAll(nodes);
  for (const node of nodes) {
    await decides(node, undefined, "up");
    await answers(node, 200);
  }
  return { nodes, cut, backend };
}

test("a server that one node alone finds down stays up on all, until most find it down; alone a node goes by itself", async (t) => {
  const { nodes, cut, backend } = await startQuorum(t);
  const [first, second, third] = nodes;

  cut.add("lb1");
  await decides(first, "kept up by the majority", "down");
  assert.equal((await get(first.port, "/")).status, 200);
  assert.match((await row(first)).reason, /503/);
  for (const node of nodes) {
    await node.sees("whose problem it is", ({ servers: [{ verdict, seen }] }) => {
      const states = ["lb1", "lb2", "lb3"].map((name) => seen[name]?.state);
      return verdict === "partly" && states.join() === "down,up,up";
    });
  }
  assert.match(first.running.errorLog(), /disable check peer: /);
  const server = backend.address.replaceAll(".", "\\.");
  assert.match(
    first.running.errorLog(),
    new RegExp(`check peer is up: ${server}, upstream: "u", by 2 of 3 nodes, this node finds it down`),
  );
  assert.match((await get(first.port, "/status")).body, /<td>down<\/td>.*<b>kept up by the majority<\/b>/s);

  cut.add("lb2");
  await decides(third, "down by the majority", "up");
  await decides(first, undefined, "down");
  for (const node of nodes) await answers(node, 502);

  cut.delete("lb2");
  await decides(second, undefined, "up");
  await answers(first, 200);
  await second.running.stop("SIGKILL");
  await third.running.stop("SIGKILL");
  await answers(first, 502);
  await decides(first, undefined, "down");
  cut.clear();
  await decides(first, undefined, "up");
  await answers(first, 200);
});

test("what was decided outlives reloads and the checker: no server goes down meanwhile", async (t) => {
  const { nodes, cut } = await startQuorum(t);
  const [first] = nodes;
  cut.add("lb1");
  await decides(first, "kept up by the majority", "down");

  let asking = true;
  const answered: number[] = [];
  const client = (async () => {
    while (asking) answered.push((await get(first.port, "/")).status);
  })();
  for (let i = 0; i < 3; i++) assert.equal(await first.running.reload(), true);
  await first.sees("the others again", ({ servers: [{ seen }] }) => Object.keys(seen).length === 3);
  for (let i = 0; i < 2; i++) {
    const [checker] = await waitFor(() => {
      const pids = checkersOf(first.running.pid);
      return pids.length === 1 && pids;
    }, "a checker");
    process.kill(checker, "SIGKILL");
    await waitFor(() => checkersOf(first.running.pid).some((pid) => pid !== checker), "another checker");
    const before = (await row(first)).fall;
    await waitFor(async () => (await row(first)).fall > before + 2, "three more checks");
  }
  await decides(first, "kept up by the majority", "down");
  asking = false;
  await client;
  assert.deepEqual([...new Set(answered)], [200]);
});

test("without a cluster there is nobody to agree with", async (t) => {
  const refusal = async (upstream: string, more = "") => {
    const config = `events {} http { upstream u { server 127.0.0.1:9; ${upstream} }
      server { listen 127.0.0.1:1; location / { proxy_pass http://u; ${more} } } }`;
    const { code, stderr } = await runHoldfast(t, { args: ["-t"], config });
    assert.equal(code, 1);
    return /\[emerg\] (.*) in .*:\d+/.exec(stderr)?.[1];
  };
  const alone = (name: string) => `"${name}" needs a "cluster" block: there is no other node`;
  assert.equal(await refusal("check interval=100 quorum=majority;"), alone("quorum"));
  assert.equal(await refusal("check interval=100 observers=2;"), alone("observers"));
  assert.equal(await refusal("zone u 64k;", "health_check quorum=majority;"), alone("quorum"));
  assert.equal(await refusal("check quorum=all;"), 'invalid value "quorum=all", it must be "majority"');
  assert.equal(await refusal("check observers=0;"), 'invalid parameter "observers=0"');
  assert.equal(await refusal("check observers=2 unique=true;"), '"unique=true" and "observers" do not go together');
});
