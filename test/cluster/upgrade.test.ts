/** Reloads and upgrades of a node of a group, while clients come: no request fails, and what was known and decided stays. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { allSeeAll, type ClusterNode, startCluster } from "../support/cluster.ts";
import { type Daemon, startDaemon } from "../support/daemon.ts";
import { runTool } from "../support/holdfast.ts";
import { startLoad } from "../support/load.ts";
import { listeningPorts } from "../support/ports.ts";
import { checkersOf, isRunning } from "../support/processes.ts";
import { get, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const TOKEN = "a-token-of-the-test-s-own";

/**
 * Three nodes, of which the first is a daemon, and two servers: lb1 finds one of them down, which is up by the majority, and the
 * other has said that it is not ready.
 */
async function prepare(t: TestContext, fall = 2) {
  const kept = await httpBackend(t, ({ url }, response) => {
    response.statusCode = url === "/lb1" ? 503 : 200;
    response.end("here");
  });
  const away = await httpBackend(t, (_request, response) => response.end("away"));
  const files = { "conf/tokens": `${TOKEN}\n` };
  const nodes = await startCluster(t, {
    cluster: `check interval=100 fall=${fall} rise=2 timeout=2000;`,
    files,
    http: (name) => `upstream u { server ${kept.address}; server ${away.address};
      check type=http interval=100 rise=2 fall=2 timeout=1000 quorum=majority;
      check_http_send "GET /${name} HTTP/1.0\\r\\n\\r\\n"; }`,
    server: `location / { proxy_pass http://u; } location = /status { check_status; }
      location /servers/ { cluster_report tokens; }`,
  });
  const [first, ...others] = nodes;
  await allSeeAll(nodes);
  await first.running.stop();
  const daemon = await startDaemon(t, first.config, {
    files: { ...files, "conf/secret": "a secret of the test's own\n" },
  });
  await allSeeAll(nodes);
  const json = '{"state": "notready", "reason": "deploy"}';
  const head = `PUT /servers/u/${away.address} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\n`;
  const rest = `Content-Type: application/json\r\nContent-Length: ${json.length}\r\n\r\n${json}`;
  assert.equal((await request(first.port, head + rest)).status, 200);
  await decided(first);
  await waitFor(async () => {
    const answers = await Promise.all(Array.from({ length: 4 }, () => get(first.port, "/")));
    return answers.every(({ body }) => body === "here");
  }, "no answers of the server that is not ready");
  return { first, others, daemon, kept, away };
}

/** lb1 keeps to what was decided and said, and serves by it. */
async function decided(first: ClusterNode): Promise<void> {
  await waitFor(async () => {
    const { servers } = JSON.parse((await get(first.port, "/status?format=json")).body);
    return servers.server[0].decided === "kept up by the majority" && servers.server[0].status === "down";
  }, "a server to be kept up by the majority");
  await first.sees("what the other one says", ({ servers }) => servers[1].report?.state === "notready");
}

const load = (t: TestContext, { port }: ClusterNode) =>
  startLoad(t, { target: port, rate: 100, connections: 8, fresh: 6, retry: true });

/** What the logs say from now on must not be that anybody was taken for down. */
function watchLogs(others: readonly ClusterNode[], daemon: Daemon): () => void {
  const logs = [...others.map(({ running }) => running), daemon];
  const before = logs.map((log) => log.errorLog().length);
  return () => {
    logs.forEach((log, i) => {
      assert.doesNotMatch(log.errorLog().slice(before[i]), /disable check peer|peer is down|\[alert\]|\[emerg\]/);
    });
  };
}

test("upgrades under load: no request fails, no node is taken for down, and what was decided and said stays", async (t) => {
  const { first, others, daemon } = await prepare(t);
  const nobodyDown = watchLogs(others, daemon);
  const clients = load(t, first);
  const shown = startLoad(t, {
    target: first.port,
    rate: 40,
    connections: 2,
    retry: true,
    path: () => "/cluster?format=json",
  });
  for (let round = 0; round < 3; round++) {
    await clients.more(50);
    const old = await daemon.startNewBinary();
    await clients.more(100);
    await decided(first);
    await shown.more(20);
    await daemon.retire(old);
    await clients.more(50);
    await decided(first);
    await allSeeAll([first, ...others]);
  }
  await clients.stop();
  await shown.stop();
  assert.deepEqual([clients.failures, shown.failures], [[], []]);
  assert.deepEqual([...clients.bodies.keys()], ["here"]);
  nobodyDown();
});

test("reloads under load: the same, and not one question of another node fails", async (t) => {
  const { first, others, daemon } = await prepare(t, 1);
  const nobodyDown = watchLogs(others, daemon);
  const clients = load(t, first);
  for (let round = 0; round < 10; round++) {
    const cycles = () => daemon.errorLog().match(/signal process started|reconfiguring/g)?.length ?? 0;
    const before = cycles();
    await daemon.signal("SIGHUP", "another configuration", () => cycles() > before);
    await clients.more(20);
  }
  await decided(first);
  await allSeeAll([first, ...others]);
  await clients.stop();
  assert.deepEqual(clients.failures, []);
  nobodyDown();
});

test("a node that drains does so after an upgrade too", async (t) => {
  const { first, others, daemon } = await prepare(t);
  await runTool({ prefix: daemon.prefix }, "cluster", "drain");
  const drains = () => others[0].sees("that lb1 drains", ({ nodes }) => nodes[0].facts?.state === "draining");
  await drains();
  const old = await daemon.startNewBinary();
  await daemon.retire(old);
  await allSeeAll([first, ...others]);
  await drains();
  await decided(first);
});

test("a new master that dies: the old one's checker speaks for the node again", async (t) => {
  const { first, others, daemon } = await prepare(t);
  const port = Number(first.address.split(":")[1]);
  const speaks = (master: number) => listeningPorts(checkersOf(master)[0]).includes(port);
  const old = await daemon.startNewBinary();
  await waitFor(() => speaks(daemon.pid) && !speaks(old), "the new checker alone to speak");
  await decided(first);
  const [checker] = checkersOf(daemon.pid);
  process.kill(daemon.pid, "SIGKILL");
  await waitFor(() => daemon.pid === old && !isRunning(checker), "the old master alone");
  await waitFor(() => speaks(old), "the old checker to speak again");
  await allSeeAll([first, ...others]);
  await decided(first);
  // What it shows is of now.
  await others[1].running.stop("SIGKILL");
  await first.sees("that lb3 is down", ({ nodes }) => nodes[2].verdict === "down");
});
