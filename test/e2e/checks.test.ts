/** Active checks end to end: which servers are checked, what their states decide, and what disturbs them not. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { makePrefix, type Running, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const QUICK = "interval=100 rise=1 fall=1 timeout=1000";

interface Row {
  readonly index: number;
  readonly upstream: string;
  readonly name: string;
  readonly status: string;
  readonly type: string;
  readonly port: number;
  readonly reason?: string;
  readonly rise: number;
}

async function rows(holdfast: Running, query = ""): Promise<readonly Row[]> {
  const page = await get(holdfast.port, `/status?format=json${query}`);
  return (JSON.parse(page.body) as { servers: { server: Row[] } }).servers.server;
}

async function states(holdfast: Running): Promise<string> {
  return (await rows(holdfast)).map(({ upstream, status }) => `${upstream}:${status}`).join(" ");
}

/** A server whose answer to each path can be changed. */
async function paths(t: TestContext) {
  const statuses = new Map<string, number>();
  const asked: string[] = [];
  const backend = await httpBackend(t, (request, response) => {
    const url = request.url ?? "";
    asked.push(url);
    response.writeHead(statuses.get(url) ?? 200, { "X-Ready": "yes" });
    response.end(`this is ${url}`);
  });
  return { backend, statuses, asked };
}

test("the same address in two upstreams, under two checks, has two states", async (t) => {
  const { backend, statuses } = await paths(t);
  statuses.set("/two", 503);
  const upstream = (name: string) =>
    `upstream ${name} { server ${backend.address}; check ${QUICK} type=http; check_http_send "GET /${name} HTTP/1.0\\r\\n\\r\\n"; }`;
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { ${upstream("one")} ${upstream("two")}
      server { listen 127.0.0.1:${port}; location = /status { check_status; }
        location /a/ { proxy_pass http://one; } location /b/ { proxy_pass http://two; } } }`,
  });
  await waitFor(async () => (await states(holdfast)) === "one:up two:down", "two states");
  assert.equal((await get(holdfast.port, "/a/")).status, 200);
  assert.equal((await get(holdfast.port, "/b/")).status, 502);
  statuses.set("/two", 200).set("/one", 500);
  await waitFor(async () => (await states(holdfast)) === "one:down two:up", "both changed");
  assert.equal((await get(holdfast.port, "/a/")).status, 502);
  assert.equal((await get(holdfast.port, "/b/")).status, 200);
});

/** Answers "ok" there. */
async function listening(
  t: TestContext,
  at: { readonly port: number; readonly host: string } | string,
): Promise<Server> {
  const server = createServer((_request, response) => response.end("ok"));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(at, resolve);
  });
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return server;
}

/** A Node to which shop.example has these addresses: a name of one's own, without a change to the machine. */
function nodeKnowing(prefix: string, addresses: readonly { address: string; family: number }[]): string {
  const path = join(prefix, "node");
  writeFileSync(
    join(prefix, "hosts.mjs"),
    `import promises from "node:dns/promises";
     import { syncBuiltinESMExports } from "node:module";
     const { lookup } = promises;
     promises.lookup = async (name, options) =>
       name === "shop.example" ? ${JSON.stringify(addresses)} : lookup(name, options);
     syncBuiltinESMExports();`,
  );
  writeFileSync(path, `#!/bin/sh\nexec "${process.execPath}" --import "\${0%/*}/hosts.mjs" "$@"\n`, { mode: 0o755 });
  return path;
}

test("each address of a name has a state of its own", async (t) => {
  const port = await freePort();
  const four = await listening(t, { port, host: "127.0.0.1" });
  // Where the machine has no IPv6, another IPv4 address.
  const six = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"));
  const other = six ? { address: "::1", family: 6 } : { address: "127.0.0.2", family: 4 };
  await listening(t, { port, host: other.address });
  const prefix = makePrefix(t);
  const holdfast = await startHoldfast(t, {
    prefix,
    env: { HOLDFAST_NODE: nodeKnowing(prefix, [other, { address: "127.0.0.1", family: 4 }]) },
    config: ([listen]) => `http {
      upstream shop { server shop.example:${port} max_fails=0; check ${QUICK} type=tcp; }
      server { listen 127.0.0.1:${listen}; location = /status { check_status; } location / { proxy_pass http://shop; } } }`,
  });
  const down = async () => (await rows(holdfast, "&status=down")).map(({ name }) => name).join(" ");
  const all = (await rows(holdfast)).map(({ name }) => name).sort();
  assert.deepEqual(all, [`127.0.0.1:${port}`, six ? `[::1]:${port}` : `127.0.0.2:${port}`]);
  await waitFor(async () => (await down()) === "", "both to be up");
  four.close();
  four.closeAllConnections();
  await waitFor(async () => (await down()) === `127.0.0.1:${port}`, "the first alone to be down");
  for (let i = 0; i < 4; i++) assert.equal((await get(holdfast.port, "/")).body, "ok");
});

test("a unix socket is checked, whatever port= says", async (t) => {
  const prefix = makePrefix(t);
  const path = join(prefix, "logs/shop.sock");
  const server = await listening(t, path);
  const holdfast = await startHoldfast(t, {
    prefix,
    config: ([
      port,
    ]) => `http { upstream shop { server unix:${path}; check ${QUICK} type=http port=1; check_http_send "GET / HTTP/1.0\\r\\n\\r\\n"; }
      server { listen 127.0.0.1:${port}; location = /status { check_status; } location / { proxy_pass http://shop; } } }`,
    // Started as root, the program is another user, who may connect where everyone may.
    globals: "daemon off; error_log logs/error.log info; user root;",
  });
  await waitFor(async () => (await states(holdfast)) === "shop:up", "the socket to be up");
  assert.equal((await get(holdfast.port, "/")).body, "ok");
  assert.equal((await rows(holdfast))[0].name, `unix:${path}`);
  server.close();
  server.closeAllConnections();
  await waitFor(async () => (await states(holdfast)) === "shop:down", "the socket to be down");
});

test("check_panic: with too few servers up, all are used", async (t) => {
  const servers = await Promise.all([paths(t), paths(t), paths(t)]);
  for (const { statuses } of servers.slice(1)) statuses.set("/up", 503);
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http {
      upstream shop { ${servers.map(({ backend }) => `server ${backend.address};`).join(" ")} check_panic 30%;
        check ${QUICK} type=http; check_http_send "GET /up HTTP/1.0\\r\\n\\r\\n"; }
      server { listen 127.0.0.1:${port}; location = /status { check_status; } location / { proxy_pass http://shop; } } }`,
  });
  await waitFor(async () => (await states(holdfast)) === "shop:up shop:down shop:down", "one of three up");
  const served = () => servers.map(({ asked }) => asked.filter((url) => url === "/x").length);
  for (let i = 0; i < 6; i++) assert.equal((await get(holdfast.port, "/x")).status, 200);
  assert.deepEqual(served(), [6, 0, 0], "33% are up: no panic");
  servers[0].statuses.set("/up", 503);
  await waitFor(async () => (await states(holdfast)) === "shop:down shop:down shop:down", "all down");
  for (let i = 0; i < 6; i++) assert.equal((await get(holdfast.port, "/x")).status, 200);
  assert.deepEqual(served(), [8, 2, 2]);
});

test("health_check with match: status, header and body decide", async (t) => {
  const good = await paths(t);
  const bad = await paths(t);
  bad.statuses.set("/health", 404);
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http {
      match fit { status 200-299; header X-Ready = yes; body ~ "this is /health"; }
      upstream shop { zone shop 64k; server ${good.backend.address}; server ${bad.backend.address}; }
      server { listen 127.0.0.1:${port}; location = /status { check_status; }
        location / { proxy_pass http://shop; health_check interval=200ms jitter=50ms fails=1 passes=1 uri=/health match=fit; } } }`,
  });
  await waitFor(async () => (await states(holdfast)) === "shop:up shop:down", "the one that matches to be up");
  for (let i = 0; i < 4; i++) assert.equal((await get(holdfast.port, "/x")).status, 200);
  assert.equal(bad.asked.includes("/x"), false);
  bad.statuses.set("/health", 200);
  await waitFor(async () => (await states(holdfast)) === "shop:up shop:up", "both up");
});

test("at a cold start the first request after the first passing check is served", async (t) => {
  // A check every ten seconds, of which five have to pass: waiting for the interval would take most of a minute.
  const { backend } = await paths(t);
  const holdfast = await startHoldfast(t, {
    config: ([
      port,
    ]) => `http { upstream shop { server ${backend.address}; check interval=10000 rise=5 fall=5 timeout=2000 type=http default_down=true; check_http_send "GET / HTTP/1.0\\r\\n\\r\\n"; }
      server { listen 127.0.0.1:${port}; location = /status { check_status; } location / { proxy_pass http://shop; } } }`,
  });
  await waitFor(async () => (await get(holdfast.port, "/")).status === 200, "service");
  assert.equal(await states(holdfast), "shop:up");
});

test("a server that was down for its checks and is up again counts no more as failed: fail_timeout is over", async (t) => {
  const [{ backend: one, statuses }, { backend: two }] = [await paths(t), await paths(t)];
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { upstream u { server ${one.address} max_fails=1 fail_timeout=1h; server ${two.address};
        check ${QUICK} type=http; check_http_send "GET /check HTTP/1.0\\r\\n\\r\\n"; }
      server { listen 127.0.0.1:${port}; location = /status { check_status; }
        location / { proxy_pass http://u; proxy_next_upstream http_503; add_header X-Tried $upstream_addr; } } }`,
  });
  const tried = async () => {
    const answers = [];
    for (let i = 0; i < 4; i++) answers.push((await get(holdfast.port, "/page")).header("x-tried"));
    return new Set(answers.flatMap((addresses) => addresses?.split(", ") ?? []));
  };
  await waitFor(async () => (await states(holdfast)) === "u:up u:up", "both servers");
  statuses.set("/page", 503);
  assert.ok((await tried()).has(one.address));
  statuses.set("/page", 200);
  // Checks that go on passing say nothing new: requests had failed all the same.
  const checks = () => rows(holdfast).then(([{ rise }]) => rise);
  const before = await checks();
  await waitFor(async () => (await checks()) > before + 2, "three more checks");
  assert.deepEqual(await tried(), new Set([two.address]));
  statuses.set("/check", 500);
  await waitFor(async () => (await states(holdfast)) === "u:down u:up", "a server to be down");
  statuses.set("/check", 200);
  await waitFor(async () => (await states(holdfast)) === "u:up u:up", "it to be up again");
  assert.deepEqual(await tried(), new Set([one.address, two.address]));
});

test("a check that is edited takes no server out before fall failures, an interval apart", async (t) => {
  const failures: number[] = [];
  const backend = await httpBackend(t, (request, response) => {
    if (request.url === "/new") failures.push(performance.now());
    response.writeHead(request.url === "/new" ? 503 : 200).end("ok");
  });
  const config = (port: number, path: string) => `http {
    upstream shop { server ${backend.address}; check interval=1500 rise=1 fall=2 timeout=1000 type=http; check_http_send "GET ${path} HTTP/1.0\\r\\n\\r\\n"; }
    server { listen 127.0.0.1:${port}; location = /status { check_status; } location / { proxy_pass http://shop; } } }`;
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, "/old") });
  await waitFor(async () => (await states(holdfast)) === "shop:up", "the server to be up");
  assert.equal(await holdfast.reload(config(holdfast.port, "/new")), true);
  assert.equal((await get(holdfast.port, "/")).status, 200);
  await waitFor(async () => (await states(holdfast)) === "shop:down", "the server to be down");
  assert.ok(failures.length >= 2);
  assert.ok(failures[1] - failures[0] > 750, `failures ${Math.round(failures[1] - failures[0])} ms apart`);
});

test("the status page in its formats, and a part of it", async (t) => {
  const { backend } = await paths(t);
  const dead = await freePort();
  const holdfast = await startHoldfast(t, {
    config: ([
      port,
    ]) => `http { upstream shop { server ${backend.address}; server 127.0.0.1:${dead}; check ${QUICK} type=tcp; }
      server { listen 127.0.0.1:${port}; location = /status { check_status; } location = /csv { check_status csv; } } }`,
  });
  await waitFor(async () => (await states(holdfast)) === "shop:up shop:down", "both verdicts");
  const page = async (path: string) => {
    const response = await get(holdfast.port, path);
    return { type: response.header("content-type"), body: response.body };
  };
  const html = await page("/status");
  assert.equal(html.type, "text/html");
  assert.match(html.body, new RegExp(`<td>0</td>\\s*<td>shop</td>\\s*<td>${backend.address}</td>\\s*<td>up</td>`));
  const csv = await page("/csv");
  assert.equal(csv.type, "text/plain");
  assert.match(
    csv.body,
    new RegExp(`^0,shop,${backend.address},up,\\d+,0,tcp,0\\n1,shop,127\\.0\\.0\\.1:${dead},down,0,\\d+,tcp,0\\n$`),
  );
  assert.equal((await page("/csv?status=up")).body.split("\n").length, 2);
  assert.match((await page("/status?format=csv&status=down")).body, /^1,shop,/);
  const json = await page("/csv?format=json");
  assert.equal(json.type, "application/json");
  const { servers } = JSON.parse(json.body) as { servers: { total: number; generation: number; server: Row[] } };
  assert.equal(servers.total, 2);
  assert.deepEqual(Object.keys(servers.server[0]).slice(0, 8), [
    "index",
    "upstream",
    "name",
    "status",
    "rise",
    "fall",
    "type",
    "port",
  ]);
});

test("workers that are busy neither delay checks nor fail them", async (t) => {
  let checks = 0;
  const backend = await httpBackend(t, (request, response) => {
    if (request.url === "/up") checks++;
    response.end("ok");
  });
  // Each of these addresses takes the regular expressions a while; all of them are asked at once, over and over.
  const holdfast = await startHoldfast(t, {
    config: ([port, status]) => `worker_processes 2; http {
      keepalive_requests 1000000;
      upstream shop { server ${backend.address}; check interval=100 rise=1 fall=1 timeout=1000 type=http; check_http_send "GET /up HTTP/1.0\\r\\n\\r\\n"; }
      server { listen 127.0.0.1:${port}; location = /status { check_status; }
        ${Array.from({ length: 40 }, (_, i) => `location ~ "^/(a+|b+|[a-z]+)*${i}(x|y)?$" { return 204; }`).join("\n")}
        location / { proxy_pass http://shop; } }
      server { listen 127.0.0.1:${status}; } }`,
  });
  await waitFor(async () => (await states(holdfast)) === "shop:up", "the server to be up");
  const heavy = `GET /${"ab".repeat(1500)}! HTTP/1.1\r\nHost: a\r\n\r\n`;
  const clients = await Promise.all(Array.from({ length: 16 }, () => RawConnection.open(holdfast.port)));
  const before = checks;
  let served = 0;
  await Promise.all(
    clients.map(async (client) => {
      while (checks < before + 15) {
        client.write(heavy.repeat(4));
        for (let i = 0; i < 4; i++) {
          assert.ok([200, 500].includes((await client.readResponse()).status));
          served++;
        }
      }
      client.close();
    }),
  );
  assert.ok(served > 0);
  assert.doesNotMatch(holdfast.errorLog(), /disable check peer|cannot check peer/);
  assert.equal(await states(holdfast), "shop:up");
});
