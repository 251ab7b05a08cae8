import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { tcpBackend } from "../support/backend.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** A server that keeps each request until `release` answers the one that came first. `most`: at a time. */
async function holdingServer(t: TestContext) {
  const held: { readonly path: string; readonly answer: () => void }[] = [];
  const served: string[] = [];
  let most = 0;
  const backend = await tcpBackend(t, async (connection) => {
    for (;;) {
      const head = await connection.read((received) => received.includes("\r\n\r\n"));
      if (head === undefined) return;
      const path = head.split(" ")[1];
      served.push(path);
      const answer = () => connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      most = Math.max(most, held.push({ path, answer }));
    }
  });
  const release = () => held.shift()?.answer();
  return { backend, held, served, release, most: () => most };
}

const config = (listen: number, server: string, queue: string, workers = 1) => `worker_processes ${workers};
  http { upstream u { zone u 64k; server ${server} max_conns=1; ${queue} }
    server { listen ${listen}; location / { proxy_pass http://u; } location = /ping { return 200; } } }`;

/** Sends a request and waits until the one worker has seen it. */
async function begin(holdfast: Running, path: string): Promise<RawConnection> {
  const client = await RawConnection.open(holdfast.port);
  client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
  await get(holdfast.port, "/ping");
  return client;
}

test("requests wait for a server in the order they came, and no more than there is room for", async (t) => {
  const server = await holdingServer(t);
  const holdfast = await startHoldfast(t, {
    config: ([listen]) => config(listen, server.backend.address, "queue 3;"),
  });
  const clients: RawConnection[] = [];
  for (const path of ["/0", "/1", "/2", "/3"]) clients.push(await begin(holdfast, path));
  assert.equal((await get(holdfast.port, "/full")).status, 502);
  await holdfast.waitForLog(/no live upstreams while connecting to upstream, .*"GET \/full /);
  for (const client of clients) {
    await waitFor(() => server.held.length === 1);
    server.release();
    assert.equal((await client.readResponse()).status, 200);
  }
  assert.deepEqual(server.served, ["/0", "/1", "/2", "/3"]);
  assert.equal(server.most(), 1);
});

test("who has waited for too long is answered with 502, and a client that leaves gives its place up", async (t) => {
  const server = await holdingServer(t);
  const holdfast = await startHoldfast(t, {
    config: ([listen]) => config(listen, server.backend.address, "queue 1 timeout=300ms;"),
  });
  const first = await begin(holdfast, "/first");
  const late = await begin(holdfast, "/late");
  assert.equal((await late.readResponse()).status, 502);
  await waitFor(async () => {
    const left = await begin(holdfast, "/left");
    left.close();
    await get(holdfast.port, "/ping");
    return /prematurely closed connection while waiting in upstream queue, .*"GET \/left /.test(holdfast.errorLog());
  }, "a client to leave before its time is over");
  const next = await begin(holdfast, "/next");
  server.release();
  assert.equal((await first.readResponse()).status, 200);
  await waitFor(() => server.held.length === 1 || next.received !== "");
  server.release();
  await next.readResponse();
  assert.ok(!server.served.includes("/left") && !server.served.includes("/late"));
});

test("the places are all workers', and a server that one worker leaves another one takes", async (t) => {
  const server = await holdingServer(t);
  const holdfast = await startHoldfast(t, {
    config: ([listen]) => config(listen, server.backend.address, "queue 6;", 3),
  });
  const answers = Array.from({ length: 12 }, () => get(holdfast.port, "/"));
  // One at the server, six that wait: all others are refused.
  await waitFor(() => (holdfast.errorLog().match(/no live upstreams/g) ?? []).length === 5);
  for (let i = 0; i < 7; i++) {
    await waitFor(() => server.held.length === 1);
    server.release();
  }
  const statuses = (await Promise.all(answers)).map(({ status }) => status);
  assert.deepEqual(statuses.toSorted(), [...Array(7).fill(200), ...Array(5).fill(502)]);
  assert.equal(server.most(), 1);
});
