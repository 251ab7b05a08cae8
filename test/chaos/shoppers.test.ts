/**
 * Many shoppers fill their carts while servers, workers and all of Holdfast are killed and started: what a response has confirmed is in
 * the cart at the end, and nobody ever sees another's session.
 */
import assert from "node:assert/strict";
import http from "node:http";
import { test } from "node:test";
import { Chance } from "../support/mutations.ts";
import { workersOf } from "../support/processes.ts";
import { patch, sessionOf, startShop } from "../support/shop.ts";

const SHOPPERS = Number(process.env.HOLDFAST_CHAOS_SHOPPERS ?? 60);
const SECONDS = Number(process.env.HOLDFAST_CHAOS_SECONDS ?? 6);
const SEED = Number(process.env.HOLDFAST_CHAOS_SEED ?? 1);
const SERVERS = 4;
/** How long a shopper waits between two requests, and after one that failed, ms. */
const PAUSE = SHOPPERS;
const FAILED_PAUSE = 100;

interface Session {
  readonly owner?: string;
  readonly cart?: Readonly<Record<string, number>>;
}

interface Answer {
  readonly status: number;
  readonly session: Session;
  readonly cookie: string | undefined;
}

/** Puts `/add/OWNER/ITEM` into the cart, and answers with the session as it was. */
function sellTo(incoming: http.IncomingMessage, response: http.ServerResponse): void {
  const session: Session = sessionOf(incoming);
  const [, owner, item] = /^\/add\/([^/]+)\/(.+)$/.exec(incoming.url ?? "") ?? [];
  if (item !== undefined) patch(response, { owner: session.owner ?? owner, cart: { [item]: 1 } });
  response.end(JSON.stringify(session));
}

class Shopper {
  readonly name: string;
  readonly confirmed = new Set<string>();
  /** Asked for, and not known whether it is there. */
  readonly open = new Set<string>();
  readonly strange: string[] = [];
  failed = 0;
  #cookie: string | undefined;
  #next = 0;
  readonly #agent: http.Agent;
  readonly #port: () => number;

  constructor(name: string, agent: http.Agent, port: () => number) {
    this.name = name;
    this.#agent = agent;
    this.#port = port;
  }

  async buy(): Promise<void> {
    const item = `item${this.#next++}`;
    const known = this.#cookie;
    this.open.add(item);
    const answer = await this.ask(`/add/${this.name}/${item}`);
    if (answer?.status !== 200) {
      this.failed++;
      await pause(FAILED_PAUSE);
      return;
    }
    this.open.delete(item);
    this.confirmed.add(item);
    if (known !== undefined && this.#cookie !== known) this.strange.push(`another session after ${item}`);
  }

  async ask(path: string): Promise<Answer | undefined> {
    const answer = await send(this.#agent, this.#port(), path, this.#cookie).catch(() => undefined);
    if (answer?.status !== 200) return answer;
    if (answer.cookie !== undefined) this.#cookie = answer.cookie;
    const { owner, cart = {} } = answer.session;
    if (owner !== undefined && owner !== this.name) this.strange.push(`the session of ${owner}`);
    for (const item of this.confirmed) {
      if (owner !== undefined && !Object.hasOwn(cart, item)) this.strange.push(`${item} is not there any more`);
    }
    return answer;
  }
}

function send(agent: http.Agent, port: number, path: string, cookie: string | undefined): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const headers = cookie === undefined ? {} : { cookie };
  const request = http.get({ agent, port, host: "127.0.0.1", path, headers, timeout: 20_000 }, (response) => {
    let body = "";
    response.setEncoding("utf8");
    response.on("data", (text: string) => {
      body += text;
    });
    response.on("error", reject);
    response.on("end", () => {
      const [set] = response.headers["set-cookie"] ?? [];
      const status = response.statusCode ?? 0;
      resolve({ status, session: status === 200 ? JSON.parse(body) : {}, cookie: set?.split(";", 1)[0] });
    });
  });
  request.on("timeout", () => request.destroy(new Error("no answer")));
  request.on("error", reject);
  return promise;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test(`${SHOPPERS} shoppers keep what was confirmed, whatever is killed in ${SECONDS} s`, async (t) => {
  const chance = new Chance(SEED);
  const shop = await startShop(t, {
    zone: "64m",
    servers: SERVERS,
    parameters: "fail_timeout=1s",
    answer: sellTo,
    session: "data=48k",
  });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 200 });
  t.after(() => agent.destroy());
  const shoppers = Array.from(
    { length: SHOPPERS },
    (_, number) => new Shopper(`shopper${number}`, agent, () => shop.holdfast.port),
  );
  const end = performance.now() + SECONDS * 1000;
  const shopping = shoppers.map(async (shopper) => {
    while (performance.now() < end) {
      await shopper.buy();
      await pause(chance.below(2 * PAUSE));
    }
  });
  const deeds = { servers: 0, workers: 0, restarts: 0 };
  while (performance.now() < end) {
    await pause(150 + chance.below(300));
    const what = chance.below(10);
    if (what < 5) {
      deeds.servers++;
      const server = shop.servers[chance.below(SERVERS)];
      await server.close();
      await pause(chance.below(300));
      await server.open();
    } else if (what < 9) {
      deeds.workers++;
      const workers = workersOf(shop.holdfast.pid);
      if (workers.length > 0) process.kill(workers[chance.below(workers.length)], "SIGKILL");
    } else {
      deeds.restarts++;
      const processes = [shop.holdfast.pid, ...workersOf(shop.holdfast.pid)];
      for (const pid of processes) process.kill(pid, "SIGKILL");
      await shop.holdfast.stop();
      await shop.start();
    }
  }
  await Promise.all(shopping);
  for (const shopper of shoppers) {
    const answer = await shopper.ask("/");
    const cart = answer?.session.cart ?? {};
    assert.deepEqual(shopper.strange, [], shopper.name);
    for (const item of Object.keys(cart)) assert.ok(shopper.confirmed.has(item) || shopper.open.has(item), item);
    for (const item of shopper.confirmed) assert.ok(Object.hasOwn(cart, item), `${shopper.name} lost ${item}`);
  }
  const sum = (of: (shopper: Shopper) => number): number => shoppers.reduce((all, one) => all + of(one), 0);
  const confirmed = sum((shopper) => shopper.confirmed.size);
  t.diagnostic(`${confirmed} confirmed, ${sum((shopper) => shopper.failed)} failed; ${JSON.stringify(deeds)}`);
  assert.ok(confirmed > SHOPPERS, `${confirmed} confirmed`);
});
