import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startHoldfast } from "../support/holdfast.ts";
import { canBind, freePort } from "../support/ports.ts";
import { newShopper, type Shopper } from "../support/shop.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** express-session with its store for memcached, unchanged. */

const SHOP = join(fileURLToPath(new URL("../../", import.meta.url)), "examples/sessions/express/memcached.mjs");

interface Server {
  readonly address: string;
  readonly port: number;
  kill(): Promise<void>;
}

async function startServer(t: TestContext, memcached: number): Promise<Server> {
  const port = await freePort();
  const child = spawn(process.execPath, [SHOP, String(port), `127.0.0.1:${memcached}`], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const exited = once(child, "exit");
  const kill = async (): Promise<void> => {
    child.kill("SIGKILL");
    await exited;
  };
  t.after(kill);
  await once(child.stdout, "data");
  return { address: `127.0.0.1:${port}`, port, kill };
}

const cookieOf = ({ cookies }: Shopper): string =>
  `Cookie: ${[...cookies].map(([name, value]) => `${name}=${value}`).join("; ")}`;

test("a cart of Express's is there on every server, after a killed one and after a killed Holdfast", async (t) => {
  const memcached = await freePort();
  const port = await freePort();
  const servers = [await startServer(t, memcached), await startServer(t, memcached)];
  const config = `user root; worker_processes 2; http { session_zone carts:8m;
    session_listen 127.0.0.1:${memcached} zone=carts;
    upstream shop { ${servers.map(({ address }) => `server ${address};`).join(" ")} }
    server { listen 127.0.0.1:${port}; location / { proxy_pass http://shop; } } }`;
  let holdfast = await startHoldfast(t, { config });
  const shopper = newShopper(() => port);
  const by = new Set<string | undefined>();
  for (const item of ["apple", "pear", "apple", "plum"]) {
    const answer = await shopper.send(`/add/${item}`);
    assert.equal(answer.status, 200, answer.body);
    by.add(answer.header("x-server"));
  }
  assert.equal(by.size, 2);
  assert.deepEqual(await shopper.cart(), { apple: 2, pear: 1, plum: 1 });
  await servers[0].kill();
  assert.deepEqual(await shopper.cart(), { apple: 2, pear: 1, plum: 1 });
  await holdfast.stop("SIGKILL");
  // Their client notes that it is away.
  for (let i = 0; i < 6; i++) assert.equal((await get(servers[1].port, "/", cookieOf(shopper))).status, 500);
  for (const one of [memcached, port]) await waitFor(() => canBind(one), "a free port");
  holdfast = await startHoldfast(t, { config, prefix: holdfast.prefix });
  await waitFor(async () => (await shopper.send("/")).status === 200, "its client to ask again");
  assert.deepEqual(await shopper.cart(), { apple: 2, pear: 1, plum: 1 });
  assert.equal((await shopper.send("/add/apple")).status, 200);
  assert.deepEqual(await shopper.cart(), { apple: 3, pear: 1, plum: 1 });
  assert.deepEqual(await newShopper(() => port).cart(), {});
});
