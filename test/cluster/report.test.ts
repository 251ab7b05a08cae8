/** `cluster_report`: what servers say of themselves, and what all nodes make of it. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Backend, httpBackend } from "../support/backend.ts";
import { allSeeAll, type ClusterNode, startCluster } from "../support/cluster.ts";
import { runHoldfast } from "../support/holdfast.ts";
import { get, type RawResponse, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const TOKEN = "a token of the test's own".replaceAll(" ", "-");
const OTHER = "another-token-for-other-servers";
const CHECK = "check interval=100 rise=2 fall=2 timeout=5000;";

interface Site {
  readonly nodes: readonly ClusterNode[];
  readonly servers: readonly Backend[];
}

/** Nodes in front of servers named a, b …, which stay with a client by the cookie srv. */
async function site(t: TestContext, nodes = 2, check = CHECK): Promise<Site> {
  const servers = await Promise.all(
    ["a", "b"].map((name) => httpBackend(t, (_request, response) => response.end(name))),
  );
  const started = await startCluster(t, {
    nodes,
    http: `upstream app { ${servers.map(({ address }, i) => `server ${address} route=${"ab"[i]};`).join(" ")} ${check} sticky cookie srv; }
      upstream off { server 127.0.0.1:1; server 127.0.0.1:2 down; }`,
    server: "location / { proxy_pass http://app; } location /cluster/servers/ { cluster_report tokens; }",
    files: { "conf/tokens": `# of servers\n${TOKEN}\n${OTHER} off app/${servers[1].address}\n` },
  });
  await allSeeAll(started);
  for (const node of started) {
    await node.sees(
      "the servers",
      ({ servers: rows }) => check === "" || rows.every(({ verdict }) => verdict === "up"),
    );
  }
  return { nodes: started, servers };
}

function put({ port }: ClusterNode, row: string, body: unknown, fields: readonly string[] = []): Promise<RawResponse> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const own = fields.length > 0 ? fields : [`Authorization: Bearer ${TOKEN}`, "Content-Type: application/json"];
  const head = [
    `PUT /cluster/servers/${row} HTTP/1.1`,
    "Host: x",
    ...own,
    `Content-Length: ${Buffer.byteLength(text)}`,
  ];
  return request(port, `${head.join("\r\n")}\r\n\r\n${Buffer.from(text).latin1Slice()}`);
}

/** Who answers so many requests without a cookie. */
async function answering({ port }: ClusterNode, count = 8): Promise<string> {
  const names = new Set<string>();
  for (let i = 0; i < count; i++) {
    const { status, body } = await get(port, "/");
    names.add(status === 200 ? body : String(status));
  }
  return [...names].sort().join("");
}

async function settles(node: ClusterNode, names: string): Promise<void> {
  await waitFor(async () => (await answering(node)) === names, `${names} to answer at ${node.name}`);
}

test("a server that is not ready gets nothing from any node, until it says that it is", async (t) => {
  const { nodes, servers } = await site(t);
  const [first, second] = nodes;
  await settles(second, "ab");
  const row = `app/${servers[0].address}`;
  const said = await put(first, row, { state: "notready", reason: "Zoë's deploy" });
  assert.equal(said.status, 200);
  const { report } = JSON.parse(said.body);
  assert.deepEqual([report.state, report.reason, report.by, report.until], ["notready", "Zoë's deploy", "lb1", 0]);
  for (const node of nodes) {
    await settles(node, "b");
    // Not even one that is bound to it.
    assert.equal((await get(node.port, "/", "Cookie: srv=a")).body, "b");
    const shown = JSON.parse((await get(node.port, `/cluster/servers/${row}`)).body);
    assert.deepEqual([shown.verdict, shown.report.state, shown.report.by], ["up", "notready", "lb1"]);
    assert.match(shown.words, /says that it is not ready: Zoë's deploy$/);
    await waitFor(
      () =>
        /\[notice\] .*server \S+ of upstream "app" says that it is not ready: Zo.*'s deploy, to node lb1/.test(
          node.running.errorLog(),
        ),
      `${node.name} to log it`,
    );
  }
  // The other node takes it back, though its clock may be behind.
  assert.equal((await put(second, row, { state: "ready" })).status, 200);
  for (const node of nodes) await settles(node, "ab");
  assert.equal(JSON.parse((await get(first.port, `/cluster/servers/${row}`)).body).report, undefined);
});

test("a server that drains gets the requests of those who are bound to it, and no others, for as long as it said", async (t) => {
  const { nodes, servers } = await site(t);
  const [first, second] = nodes;
  const row = `app/${servers[0].address}`;
  await put(first, row, { state: "draining", for: 300 });
  for (const node of nodes) {
    await settles(node, "b");
    assert.equal((await get(node.port, "/", "Cookie: srv=a")).body, "a");
  }
  await put(first, row, { state: "draining", for: 1 });
  for (const node of nodes) await settles(node, "ab");
  await second.running.waitForLog(/counts as ready again: it was draining for 1 s/);
});

test("what a server said outlives the node that it was said to, a reload, and a node that starts again", async (t) => {
  const { nodes, servers } = await site(t, 3);
  const [first, second, third] = nodes;
  await put(first, `app/${servers[0].address}`, { state: "notready" });
  for (const node of nodes) await settles(node, "b");
  await first.running.stop("SIGKILL");
  await second.sees("that lb1 is down", ({ nodes: rows }) => rows[0].verdict === "down");
  await second.running.reload();
  assert.equal(await answering(second), "b");
  await third.running.stop("SIGKILL");
  await third.start();
  await settles(third, "b");
  await first.start();
  await settles(first, "b");
});

test("a server without checks says it too", async (t) => {
  const { nodes, servers } = await site(t, 2, "");
  await put(nodes[1], `app/${servers[1].address}`, { state: "notready" });
  for (const node of nodes) await settles(node, "a");
  await nodes[0].sees("the report", ({ servers: rows }) => rows.length > 0);
  const { servers: rows } = await nodes[0].matrix();
  assert.deepEqual(
    rows.map(({ upstream, server, verdict, report }) => [upstream, server, verdict, report?.state]),
    [["app", servers[1].address, "unknown", "notready"]],
  );
});

test("whoever has no token, or one for others, or says what nobody understands, changes nothing", async (t) => {
  const { nodes, servers } = await site(t);
  const [node] = nodes;
  const row = `app/${servers[0].address}`;
  const json = "Content-Type: application/json";
  const refused = async (status: number, answer: Promise<RawResponse>): Promise<string> => {
    const { status: got, body } = await answer;
    assert.equal(got, status, body);
    return JSON.parse(body).error;
  };
  const down = { state: "notready" };
  const none = await put(node, row, down, [json]);
  assert.deepEqual([none.status, none.header("www-authenticate")], [401, "Bearer"]);
  const wrong = await put(node, row, down, ["Authorization: Bearer nobody-has-given-this", json]);
  assert.deepEqual([wrong.status, wrong.header("www-authenticate")], [401, 'Bearer error="invalid_token"']);
  for (const value of [
    "Bearer",
    `Basic ${TOKEN}`,
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(1)}`,
    `Bearer ${TOKEN} ${TOKEN}`,
  ]) {
    await refused(401, put(node, row, down, [`Authorization: ${value}`, json]));
  }
  await refused(403, put(node, row, down, [`Authorization: Bearer ${OTHER}`, json]));
  await refused(404, put(node, "app/127.0.0.1:9", down));
  await refused(404, put(node, "nothing/127.0.0.1:9", down));
  for (const path of ["", "app", "app/", "/x"]) await refused(404, put(node, path, down));
  await refused(409, put(node, "off/127.0.0.1:2", down));
  await refused(415, put(node, row, down, [`Authorization: Bearer ${TOKEN}`, "Content-Type: text/plain"]));
  await refused(413, put(node, row, { ...down, reason: "x".repeat(5000) }));
  for (const body of [
    "",
    "{",
    "[]",
    "null",
    '"ready"',
    '{"state": "gone"}',
    '{"state": "ready", "for": 5}',
    '{"state": "draining", "for": 0}',
    '{"state": "draining", "for": -1}',
    '{"state": "draining", "for": 1e99}',
    '{"state": "draining", "for": "5"}',
    '{"state": "draining", "fro": 5}',
    '{"state": "draining", "__proto__": {"for": 5}}',
    '{"state": "draining", "reason": 5}',
    '{"state": "draining", "reason": "two\\nlines"}',
    `{"state": "draining", "reason": "${"é".repeat(101)}"}`,
  ]) {
    await refused(400, put(node, row, body));
  }
  const broken = request(
    node.port,
    `PUT /cluster/servers/${row} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\n${json}\r\nContent-Length: 3\r\n\r\n"\xff"`,
  );
  await refused(400, broken);
  await refused(405, request(node.port, `DELETE /cluster/servers/${row} HTTP/1.1\r\nHost: x\r\n\r\n`));
  await refused(404, get(node.port, "/cluster/servers/app/127.0.0.1:9"));
  assert.equal(await answering(node), "ab");
  assert.doesNotMatch(node.running.errorLog(), /says that it is|token/);
  const other = await put(node, `app/${servers[1].address}`, down, [`Authorization: bearer ${OTHER}`, json]);
  assert.equal(other.status, 200);
});

test("a file of tokens that protects nothing is refused", async (t) => {
  const refusal = async (tokens: string | undefined, location = "location /r/"): Promise<string> => {
    const { stderr } = await runHoldfast(t, {
      config: `events {} http { server { listen 127.0.0.1:8080; ${location} { cluster_report tokens; } } }`,
      files: tokens === undefined ? {} : { "conf/tokens": tokens },
      args: ["-t"],
    });
    return stderr;
  };
  assert.match(await refusal(undefined), /cannot read the tokens "\S+conf\/tokens" \(2: No such file or directory\)/);
  assert.match(await refusal("# none\n"), /there is no token in "\S+conf\/tokens"/);
  assert.match(await refusal("short\n"), /a token in "\S+" has fewer than 16 characters/);
  assert.match(await refusal(TOKEN, "location ~ ^/r/"), /"cluster_report" must be in a location given by a prefix/);
});
