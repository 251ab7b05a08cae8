import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { startLoad } from "../support/load.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const CHECK = `check interval=100 rise=2 fall=2 timeout=5000 type=http;
  check_http_send "HEAD / HTTP/1.0\\r\\nX-Check: 1\\r\\n\\r\\n";`;
const RELOADS = 20;

/** A server that can be made to fail its checks, and counts what else it is sent. */
class Shop {
  sick = false;
  served = 0;
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  readonly handle = (request: IncomingMessage, response: ServerResponse): void => {
    if (request.headers["x-check"] !== undefined) {
      response.writeHead(this.sick ? 503 : 200).end();
      return;
    }
    this.served++;
    response.end(this.name);
  };
}

test("20 reloads under load fail no request, forget no state and send nothing to a server that is down", async (t) => {
  const shops = ["a", "b", "c", "d"].map((name) => new Shop(name));
  const backends = await Promise.all(shops.map((shop) => httpBackend(t, shop.handle)));
  const [a, b, sick, extra] = backends.map(({ address }) => address);
  const config = (round: number, [port, second]: readonly number[]) => `worker_processes 2;
    http {
      access_log off;
      keepalive_timeout ${60 + round}s;
      upstream shop {
        zone shop 64k;
        server ${a} weight=${1 + (round % 3)}; server ${b}; server ${sick};
        ${round % 2 === 1 ? `server ${extra};` : ""}
        keepalive ${16 + (round % 4)};
        ${CHECK}
      }
      server {
        listen 127.0.0.1:${port};
        ${round % 4 >= 2 ? `listen 127.0.0.1:${second};` : ""}
        add_header X-Round ${round};
        location / { proxy_pass http://shop; }
        location = /status { check_status csv; }
      }
    }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(0, ports) });
  const [port, second] = holdfast.ports;
  const downNow = async () => (await get(port, "/status?status=down")).body;
  await waitFor(async () => (await downNow()) === "", "all servers to be up");
  shops[2].sick = true;
  await waitFor(async () => (await downNow()).includes(sick), "the sick server to be down");

  const load = startLoad(t, {
    target: port,
    fresh: 6,
    path: (number) => (number % 10 === 0 ? "/status" : "/"),
    judge(response, path) {
      if (response.status !== 200) return response.statusLine;
      if (path === "/") return undefined;
      // One that was added begins down, as default_down says; but for it the sick one is all that is down, and stays so.
      const down = response.body.split("\n").filter((line) => line.includes(",down,") && !line.includes(extra));
      return down.length === 1 && down[0].includes(sick) ? undefined : response.body;
    },
  });
  await load.more(100);
  const before = shops[2].served;
  const from = holdfast.errorLog().length;
  for (let round = 1; round <= RELOADS; round++) {
    assert.equal(await holdfast.reload(config(round, holdfast.ports)), true);
    assert.equal((await get(port, "/")).header("x-round"), `${round}`);
    if (round % 4 >= 2) assert.equal((await get(second, "/")).status, 200);
    else await assert.rejects(get(second, "/"), { code: "ECONNREFUSED" });
    await load.more(25);
  }
  await load.stop();

  assert.deepEqual(load.failures, []);
  assert.equal(shops[2].served, before, "requests to the server that is down");
  assert.ok(shops[3].served > 0, "the added server is used");
  const changes = holdfast
    .errorLog()
    .slice(from)
    .split("\n")
    .filter((line) => line.includes("check peer"));
  // It is a new server each time it comes back: at most one change a time, and of no other server.
  for (const change of changes) assert.match(change, new RegExp(` enable check peer: ${extra} `));
  assert.ok(changes.length >= 1 && changes.length <= RELOADS / 2, changes.join("\n"));
  assert.doesNotMatch(holdfast.errorLog().slice(from), /\[(warn|crit|alert|emerg)\]|no live upstreams/);
  shops[2].sick = false;
  await waitFor(async () => (await downNow()) === "", "the sick server to be up");
});

test("workers that come and go with reloads under load fail no request", async (t) => {
  const shop = new Shop("a");
  const backend = await httpBackend(t, shop.handle);
  const config = (workers: number, port: number) => `worker_processes ${workers};
    http {
      access_log off;
      upstream shop { zone shop 64k; server ${backend.address}; keepalive 16; }
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://shop; } }
    }`;
  const holdfast = await startHoldfast(t, { config: ([port]) => config(1, port) });
  // A connection that is idle when its worker leaves is closed, but not reset.
  const load = startLoad(t, { target: holdfast.port, connections: 16, fresh: 8, retry: true });
  await load.more(20);
  for (const workers of [3, 1, 2, 1]) {
    assert.equal(await holdfast.reload(config(workers, holdfast.port)), true);
    await load.more(30);
  }
  await load.stop();
  assert.deepEqual(load.failures, []);
  assert.doesNotMatch(holdfast.errorLog(), /\[(warn|crit|alert|emerg)\]/);
});

test("connections to clients and to servers live through reloads", async (t) => {
  const shop = new Shop("a");
  const backend = await httpBackend(t, shop.handle);
  const config = (round: number, port: number) => `http {
      upstream shop { server ${backend.address}; keepalive ${4 + round}; }
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://shop; add_header X-Round ${round}; } }
    }`;
  const holdfast = await startHoldfast(t, { config: ([port]) => config(0, port) });
  const client = await RawConnection.open(holdfast.port);
  t.after(() => client.close());
  for (let round = 1; round <= 5; round++) {
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const response = await client.readResponse();
    assert.equal(response.body, "a");
    assert.equal(response.header("x-round"), `${round - 1}`);
    assert.equal(await holdfast.reload(config(round, holdfast.port)), true);
  }
  assert.equal(backend.connections, 1);
});

test("a request under way ends under the configuration it began with", async (t) => {
  let answer: (() => void) | undefined;
  const backend = await httpBackend(t, (_request, response) => {
    answer = () => response.end("late");
  });
  const config = (round: number, port: number) => `http { server { listen 127.0.0.1:${port};
    location /${round} { proxy_pass http://${backend.address}; add_header X-Round ${round}; } } }`;
  const holdfast = await startHoldfast(t, { config: ([port]) => config(0, port) });
  const response = get(holdfast.port, "/0");
  const release = await waitFor(() => answer, "the request");
  assert.equal(await holdfast.reload(config(1, holdfast.port)), true);
  assert.equal((await get(holdfast.port, "/0")).status, 404);
  release();
  assert.equal((await response).body, "late");
  assert.equal((await response).header("x-round"), "0");
});

test("a broken file changes nothing, whatever is wrong with it", async (t) => {
  const shop = new Shop("a");
  const backend = await httpBackend(t, shop.handle);
  const good = ([port]: readonly number[], more = "") => `events {} http {
  upstream shop { server ${backend.address}; ${CHECK} }
  server { listen 127.0.0.1:${port}; location / { proxy_pass http://shop; } location = /status { check_status csv; } }
${more}
}`;
  const holdfast = await startHoldfast(t, { config: (ports) => good(ports) });
  const broken: readonly (readonly [text: string, log: RegExp])[] = [
    ["  serverx {}", /\[emerg\] [^\n]*unknown directive "serverx" in \S+nginx\.conf:5\n/],
    [
      "  server { listen 127.0.0.1:1x; }",
      /\[emerg\] [^\n]*in "127\.0\.0\.1:1x" of the "listen" directive in \S+nginx\.conf:5\n/,
    ],
    ["  server {", /\[emerg\] [^\n]*unexpected end of file, expecting "}" in \S+nginx\.conf:6\n/],
    [
      "  include missing.conf;",
      /\[emerg\] [^\n]*open\(\) "\S+missing\.conf" failed \(2: No such file or directory\) in \S+nginx\.conf:5\n/,
    ],
    ["  upstream empty {}", /\[emerg\] [^\n]*no servers are inside upstream in \S+nginx\.conf:5\n/],
    [
      "  upstream lost { server no-such-host.invalid; }",
      /\[emerg\] [^\n]*host not found in upstream "no-such-host\.invalid" in \S+nginx\.conf:5\n/,
    ],
    [`  upstream c { server ${backend.address}; check type=smoke; }`, /\[emerg\] [^\n]*in \S+nginx\.conf:5\n/],
  ];
  await waitFor(async () => /,up,/.test((await get(holdfast.port, "/status")).body), "the server to be up");
  const load = startLoad(t, { target: holdfast.port, rate: 100, connections: 4, fresh: 1 });
  for (const [text, log] of broken) {
    const from = holdfast.errorLog().length;
    assert.equal(await holdfast.reload(good(holdfast.ports, text)), false, text);
    assert.match(holdfast.errorLog().slice(from), log);
    await load.more(5);
  }
  assert.match((await get(holdfast.port, "/status")).body, /,up,/);
  await load.stop();
  assert.deepEqual(load.failures, []);
  assert.equal(await holdfast.reload(good(holdfast.ports)), true);
});
