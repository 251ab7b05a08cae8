import assert from "node:assert/strict";
import { test } from "node:test";
import { childBackends } from "../support/child_backend.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { startLoad } from "../support/load.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const METHODS: Readonly<Record<string, string>> = {
  rr: "",
  least: "least_conn;",
  address: "ip_hash;",
  hashed: "hash $request_uri;",
  ketama: "hash $request_uri consistent;",
  any: "random;",
  two: "random two least_conn;",
};
const NAMES = Object.keys(METHODS);
const CHECK = "check interval=200 rise=2 fall=2 timeout=2000 type=http;";

interface StatusServer {
  readonly upstream: string;
  readonly name: string;
  readonly status: string;
}

async function status(holdfast: Running): Promise<readonly StatusServer[]> {
  const page = await get(holdfast.port, "/status?format=json");
  return (JSON.parse(page.body) as { servers: { server: StatusServer[] } }).servers.server;
}

/** Resolves when the status page says so of the server in every upstream. */
function shown(holdfast: Running, address: string, state: "up" | "down"): Promise<true> {
  return waitFor(async () => {
    const servers = (await status(holdfast)).filter(({ name }) => name === address);
    return servers.length === NAMES.length && servers.every((server) => server.status === state);
  }, `${address} ${state} in every upstream`);
}

function changes(holdfast: Running, address: string): string[] {
  return holdfast
    .errorLog()
    .split("\n")
    .filter((line) => line.includes(address) && / (enable|disable) check peer/.test(line));
}

test("backends killed and stopped under load fail no request, whatever balances, and traffic comes back", async (t) => {
  const [a, b, c] = await childBackends(t, 3);
  const servers = [a, b, c].map(({ address }) => `server ${address} fail_timeout=1s;`).join(" ");
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 2;
      http {
        access_log off;
        proxy_connect_timeout 2s; proxy_read_timeout 2s;
        ${NAMES.map((name) => `upstream ${name} { zone ${name} 64k; ${METHODS[name]} ${servers} keepalive 8; ${CHECK} check_http_send "HEAD / HTTP/1.0\\r\\nX-Check: 1\\r\\n\\r\\n"; }`).join("\n")}
        server {
          listen 127.0.0.1:${port};
          ${NAMES.map((name) => `location /${name}/ { proxy_pass http://${name}; }`).join("\n")}
          location = /status { check_status json; }
        }
      }`,
  });
  for (const { address } of [a, b, c]) await shown(holdfast, address, "up");
  const load = startLoad(t, {
    target: holdfast.port,
    path: (number) => `/${NAMES[number % NAMES.length]}/${number % 30}`,
    fresh: 5,
    connections: 24,
  });
  await load.more(200);

  const killed = performance.now();
  await a.kill();
  await shown(holdfast, a.address, "down");
  t.diagnostic(`ejected after ${Math.round(performance.now() - killed)} ms`);
  b.stop();
  await shown(holdfast, b.address, "down");
  await load.more(50);
  load.forget();
  await load.more(200);
  assert.deepEqual([...load.bodies.keys()], ["c"], "only the server that is left serves");

  await a.start();
  b.goOn();
  await shown(holdfast, a.address, "up");
  await shown(holdfast, b.address, "up");
  load.forget();
  // Passive checks combine with active ones: max_fails holds a server out for fail_timeout all the same.
  await waitFor(() => load.bodies.has("a") && load.bodies.has("b") && load.bodies.has("c"), "traffic on all three");
  await load.more(100);
  await load.stop();

  assert.deepEqual(load.failures, []);
  assert.match(
    holdfast.errorLog(),
    /upstream timed out .* while reading response header/,
    "requests were passed on in time",
  );
  for (const line of changes(holdfast, a.address).filter((one) => one.includes("disable"))) {
    assert.match(line, /reason: connect: connection refused/, "not by a timeout");
  }
  for (const { address } of [a, b]) {
    const lines = changes(holdfast, address);
    for (const name of NAMES) {
      const own = lines.filter((line) => line.includes(`"${name}"`));
      assert.equal(own.length, 3, own.join("\n"));
    }
  }
  assert.equal(changes(holdfast, c.address).length, NAMES.length);
});
