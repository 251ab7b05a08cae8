import { createServer } from "node:http";
import type { TestContext } from "node:test";
import { test } from "node:test";
import { a, nameServer, TYPE } from "../support/dns.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** A server on each of these addresses, at one port, that answers with its address. */
async function serversOn(t: TestContext, ...hosts: readonly string[]): Promise<number> {
  const port = await freePort();
  for (const host of hosts) {
    const server = createServer((_, response) => response.end(host));
    await new Promise<void>((resolve) => server.listen(port, host, resolve));
    t.after(() => {
      server.close();
      server.closeAllConnections();
    });
  }
  return port;
}

test("the servers of a name come and go with its addresses", async (t) => {
  const backend = await serversOn(t, "127.0.0.1", "127.0.0.2");
  let addresses = ["127.0.0.1"];
  const dns = await nameServer(t, ({ type }) =>
    type === TYPE.a ? { records: addresses.map((address) => a(1, address)) } : {},
  );
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 2; http { resolver ${dns.address} ipv6=off;
      upstream u { zone u 64k; server moving.test:${backend} resolve; }
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://u; } } }`,
  });
  const ask = async () => (await get(holdfast.port, "/")).body;
  await waitFor(async () => (await ask()) === "127.0.0.1");
  addresses = ["127.0.0.2"];
  await waitFor(async () => (await ask()) === "127.0.0.2");
  addresses = ["127.0.0.1", "127.0.0.2"];
  await waitFor(async () => new Set([await ask(), await ask(), await ask(), await ask()]).size === 2);
});
