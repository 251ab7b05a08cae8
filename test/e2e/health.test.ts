import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import { type TestContext, test } from "node:test";
import { startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** A shop that says who it is; `healthy` decides what its health page answers. */
async function shop(t: TestContext, port = 0) {
  const state = { healthy: true, asked: 0, checks: 0 };
  const server: Server = createServer((request, response) => {
    const check = request.url === "/health";
    if (check) state.checks++;
    else state.asked++;
    response.statusCode = check && !state.healthy ? 503 : 200;
    response.end("ok");
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const stop = () => {
    server.close();
    server.closeAllConnections();
  };
  t.after(stop);
  const bound = server.address();
  return { state, stop, port: typeof bound === "object" && bound !== null ? bound.port : 0 };
}

const CHECK =
  'check interval=100 rise=2 fall=2 timeout=1000 type=http; check_http_send "GET /health HTTP/1.0\\r\\n\\r\\n";';

function config(port: number, servers: readonly string[], more = ""): string {
  return `http { ${more}
    upstream shop { ${servers.map((server) => `server ${server};`).join(" ")} ${CHECK} }
    server { listen 127.0.0.1:${port};
      location / { proxy_pass http://shop; }
      location /status { check_status csv; } } }`;
}

test("servers are found, ejected, kept out over reloads and readmitted, each change one line", async (t) => {
  const [a, b] = [await shop(t), await shop(t)];
  const servers = [`127.0.0.1:${a.port}`, `127.0.0.1:${b.port}`];
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, servers) });
  const { port } = holdfast;
  const rows = async (query = "") => (await get(port, `/status${query}`)).body.trim().split("\n");
  const states = async () => (await rows()).map((row) => row.split(",")[3]).join(" ");
  await waitFor(async () => (await states()) === "up up", "both up");

  b.state.healthy = false;
  await waitFor(async () => (await states()) === "up down", "one down");
  assert.match((await rows("?status=down"))[0], /^1,shop,127\.0\.0\.1:\d+,down,0,\d+,http,0$/);
  const before = b.state.asked;
  for (let i = 0; i < 5; i++) {
    assert.equal(await holdfast.reload(), true);
    for (let j = 0; j < 4; j++) assert.equal((await get(port, "/")).status, 200);
    assert.equal(await states(), "up down", `after reload ${i + 1}`);
  }
  assert.equal(b.state.asked, before, "a server that is down gets no request, reload or not");
  const page = JSON.parse((await get(port, "/status?format=json")).body);
  assert.deepEqual([page.servers.total, page.servers.generation], [2, 6]);

  b.state.healthy = true;
  await waitFor(async () => (await states()) === "up up", "both up again");
  const changes = await waitFor(() => {
    const lines = holdfast.errorLog().split("\n");
    const found = lines.filter((line) => / (?:en|dis)able check peer: /.test(line));
    return found.length >= 4 && found;
  }, "a line for each change");
  const words = changes.map((line) => /(enable|disable) check peer: (\S+) /.exec(line)?.slice(1).join(" "));
  assert.deepEqual(words.slice(0, 2).sort(), servers.map((server) => `enable ${server}`).sort());
  assert.deepEqual(words.slice(2), [`disable ${servers[1]}`, `enable ${servers[1]}`]);
  assert.match(changes[2], /\[error\] .*upstream: "shop", check: http, reason: status 503, was up for \d/);
});

test("every server down is 502 and no live upstreams; the first passing checks end it", async (t) => {
  const a = await shop(t);
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, [`127.0.0.1:${a.port}`, "127.0.0.1:1"]) });
  await waitFor(async () => (await get(holdfast.port, "/")).status === 200, "up");
  a.stop();
  await waitFor(async () => /^0,.*,down,/.test((await get(holdfast.port, "/status")).body), "down");
  assert.equal((await get(holdfast.port, "/")).status, 502);
  await holdfast.waitForLog(/no live upstreams while connecting to upstream/);
  await shop(t, a.port);
  await waitFor(async () => (await get(holdfast.port, "/")).status === 200, "up again");
});

test("default_down=true is no outage at the start: the first checks run at once", async (t) => {
  const a = await shop(t);
  const slow =
    'check interval=60000 rise=3 fall=5 timeout=2000 type=http; check_http_send "GET /health HTTP/1.0\\r\\n\\r\\n";';
  const started = performance.now();
  const holdfast = await startHoldfast(t, {
    config: ([port]) => config(port, [`127.0.0.1:${a.port}`]).replace(CHECK, slow),
  });
  await waitFor(async () => (await get(holdfast.port, "/")).status === 200, "up");
  assert.equal(a.state.checks, 3);
  t.diagnostic(`served ${Math.round(performance.now() - started)} ms after it was started`);
});

test("a reload that adds servers keeps what is known of the others", async (t) => {
  const a = await shop(t);
  const down = await freePort();
  const known = [`127.0.0.1:${a.port}`, `127.0.0.1:${down}`];
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, known) });
  await waitFor(async () => (await get(holdfast.port, "/")).status === 200, "up");
  const many = Array.from({ length: 30 }, (_, i) => `127.0.0.9:${i + 1}`);
  assert.equal(await holdfast.reload(config(holdfast.port, [...many, ...known])), true);
  for (let i = 0; i < 8; i++) assert.equal((await get(holdfast.port, "/")).status, 200);
  const rows = (await get(holdfast.port, "/status?status=up")).body.trim().split("\n");
  assert.equal(rows.length, 1);
});

test("a broken check is refused in the module's words", async (t) => {
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, ["127.0.0.1:1"]) });
  const broken = config(holdfast.port, ["127.0.0.1:1"]).replace("fall=2", "fall=none");
  assert.equal(await holdfast.reload(broken), false);
  assert.match(holdfast.errorLog(), /\[emerg\] [^\n]*invalid parameter "fall=none" in .*nginx\.conf:2/);
});
