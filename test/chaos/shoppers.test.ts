/**
 * Many shoppers fill their carts while servers, workers, all of Holdfast or its store are killed and started: what a response has
 * confirmed is in the cart at the end, and nobody ever sees another's session.
 */
import { type TestContext, test } from "node:test";
import { Chance } from "../support/mutations.ts";
import { checkersOf, workersOf } from "../support/processes.ts";
import { noRedis, startRedis } from "../support/redis.ts";
import { type Shop, type ShopOptions, startShop } from "../support/shop.ts";
import { Crowd, pause, sellTo } from "../support/shoppers.ts";

const SHOPPERS = Number(process.env.HOLDFAST_CHAOS_SHOPPERS ?? 60);
const SECONDS = Number(process.env.HOLDFAST_CHAOS_SECONDS ?? 6);
const SEED = Number(process.env.HOLDFAST_CHAOS_SEED ?? 1);
const SERVERS = 4;
/** How long Redis is away. */
const AWAY_SECONDS = SECONDS / 6;
const KEY = "0123456789abcdef".repeat(4);

function openShop(t: TestContext, zone = "", rest: ShopOptions = {}): Promise<Shop> {
  const parameters = "fail_timeout=1s";
  return startShop(t, {
    ...rest,
    zone: `64m ${zone}`,
    servers: SERVERS,
    parameters,
    answer: sellTo,
    session: "data=48k",
  });
}

const title = (what: string): string => `${SHOPPERS} shoppers keep what was confirmed: ${what}, in ${SECONDS} s`;

/** Closes one of a shop's servers, and opens it again after a moment. */
async function killServer({ servers }: Shop, chance: Chance): Promise<void> {
  const server = servers[chance.below(servers.length)];
  await server.close();
  await pause(chance.below(300));
  await server.open();
}

/** Kills all processes at once, and starts anew. */
async function killHoldfast(shop: Shop): Promise<void> {
  const { pid } = shop.holdfast;
  for (const process_ of [pid, ...workersOf(pid), ...checkersOf(pid)]) process.kill(process_, "SIGKILL");
  await shop.holdfast.stop();
  await shop.start();
}

function killWorker({ holdfast }: Shop, chance: Chance): void {
  const workers = workersOf(holdfast.pid);
  if (workers.length > 0) process.kill(workers[chance.below(workers.length)], "SIGKILL");
}

/** Does something every now and then until that time; returns how often. */
async function keepDoing(end: number, chance: Chance, deed: () => Promise<void>): Promise<number> {
  for (let count = 0; ; count++) {
    await pause(150 + chance.below(300));
    if (performance.now() >= end) return count;
    await deed();
  }
}

test(title("servers, workers and all of Holdfast are killed at random"), async (t) => {
  const chance = new Chance(SEED);
  const shop = await openShop(t);
  const crowd = new Crowd(t, { count: SHOPPERS, chance, port: () => shop.holdfast.port });
  const end = performance.now() + SECONDS * 1000;
  const shopping = crowd.shop(end);
  const deeds = { servers: 0, workers: 0, restarts: 0 };
  await keepDoing(end, chance, async () => {
    const what = chance.below(10);
    if (what < 5) {
      deeds.servers++;
      await killServer(shop, chance);
    } else if (what < 9) {
      deeds.workers++;
      killWorker(shop, chance);
    } else {
      deeds.restarts++;
      await killHoldfast(shop);
    }
  });
  await shopping;
  t.diagnostic(`${await crowd.assertKept([shop.holdfast.port])}; ${JSON.stringify(deeds)}`);
});

test(title("Holdfast is killed again and again"), async (t) => {
  const chance = new Chance(SEED);
  const shop = await openShop(t);
  const crowd = new Crowd(t, { count: SHOPPERS, chance, port: () => shop.holdfast.port });
  const end = performance.now() + SECONDS * 1000;
  const shopping = crowd.shop(end);
  const servers = keepDoing(end, chance, () => killServer(shop, chance));
  const restarts = await keepDoing(end, chance, async () => {
    await killHoldfast(shop);
    await pause(1000);
  });
  const deeds = { servers: await servers, restarts };
  await shopping;
  t.diagnostic(`${await crowd.assertKept([shop.holdfast.port])}; ${JSON.stringify(deeds)}`);
});

test(title(`Redis is killed for ${AWAY_SECONDS} s`), { skip: noRedis }, async (t) => {
  const chance = new Chance(SEED);
  const redis = await startRedis(t);
  const zone = `store=redis://${redis.address} keys=keys`;
  const files = { "conf/keys": KEY };
  const shops = [await openShop(t, zone, { files }), await openShop(t, zone, { files })];
  // Each shopper stays with a node, which alone knows while Redis is away what it has confirmed.
  const crowd = new Crowd(t, { count: SHOPPERS, chance, port: (shopper) => shops[shopper % 2].holdfast.port });
  const end = performance.now() + SECONDS * 1000;
  const shopping = crowd.shop(end);
  const deeds = { servers: 0, workers: 0 };
  const killing = keepDoing(end, chance, async () => {
    const shop = shops[chance.below(2)];
    if (chance.below(10) < 7) {
      deeds.servers++;
      await killServer(shop, chance);
    } else {
      deeds.workers++;
      killWorker(shop, chance);
    }
  });
  await pause(SECONDS * 250);
  await redis.kill();
  await pause(AWAY_SECONDS * 1000);
  await redis.start();
  for (const { holdfast } of shops) await holdfast.waitForLog(/its store redis:\S+ is back after \d+ s/);
  await killing;
  await shopping;
  const ports = shops.map(({ holdfast }) => holdfast.port);
  t.diagnostic(`${await crowd.assertKept(ports)}; ${JSON.stringify(deeds)}`);
});

test(title("two nodes over one Redis take turns, and are killed"), { skip: noRedis }, async (t) => {
  const chance = new Chance(SEED);
  const redis = await startRedis(t);
  const zone = `store=redis://${redis.address} keys=keys`;
  // A machine that is busy with shoppers is not a store that is away: each response shows what the other node has confirmed.
  const options: ShopOptions = { files: { "conf/keys": KEY }, http: "session_timeout 20s;" };
  const shops = [await openShop(t, zone, options), await openShop(t, zone, options)];
  const turns = new Uint32Array(SHOPPERS);
  const crowd = new Crowd(t, {
    count: SHOPPERS,
    chance,
    port: (shopper) => shops[turns[shopper]++ % 2].holdfast.port,
  });
  const end = performance.now() + SECONDS * 1000;
  const shopping = crowd.shop(end);
  const deeds = { servers: 0, workers: 0, restarts: 0 };
  await keepDoing(end, chance, async () => {
    const shop = shops[chance.below(2)];
    const what = chance.below(10);
    if (what < 5) {
      deeds.servers++;
      await killServer(shop, chance);
    } else if (what < 8) {
      deeds.workers++;
      killWorker(shop, chance);
    } else {
      deeds.restarts++;
      await killHoldfast(shop);
    }
  });
  await shopping;
  const ports = shops.map(({ holdfast }) => holdfast.port);
  t.diagnostic(`${await crowd.assertKept(ports)}; ${JSON.stringify(deeds)}`);
});
