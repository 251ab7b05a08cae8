import assert from "node:assert/strict";
import http from "node:http";
import type { TestContext } from "node:test";
import type { Chance } from "./mutations.ts";
import { patch, sessionOf } from "./shop.ts";
import { waitFor } from "./wait.ts";

interface Session {
  readonly owner?: string;
  readonly cart?: Readonly<Record<string, number>>;
}

interface Answer {
  readonly status: number;
  readonly session: Session;
  readonly cookie: string | undefined;
}

/** How long a shopper waits after a request that failed, ms. */
const FAILED_PAUSE = 100;

/** What a server of theirs does: puts `/add/OWNER/ITEM` into the cart, and answers with the session as it was. */
export function sellTo(incoming: http.IncomingMessage, response: http.ServerResponse): void {
  const session: Session = sessionOf(incoming);
  const [, owner, item] = /^\/add\/([^/]+)\/(.+)$/.exec(incoming.url ?? "") ?? [];
  if (item !== undefined) patch(response, { owner: session.owner ?? owner, cart: { [item]: 1 } });
  response.end(JSON.stringify(session));
}

/** One who remembers what was confirmed, and notes what should not be. */
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

  get cookie(): string | undefined {
    return this.#cookie;
  }

  async buy(): Promise<void> {
    const item = `item${this.#next++}`;
    const known = this.#cookie;
    this.open.add(item);
    const answer = await this.ask(`/add/${this.name}/${item}`, this.#port());
    if (answer?.status !== 200) {
      this.failed++;
      await pause(FAILED_PAUSE);
      return;
    }
    for (const missing of this.#missingIn(answer)) this.strange.push(`${missing} is not there any more`);
    this.open.delete(item);
    this.confirmed.add(item);
    if (known !== undefined && this.#cookie !== known) this.strange.push(`another session after ${item}`);
  }

  async ask(path: string, port: number): Promise<Answer | undefined> {
    const answer = await send(this.#agent, port, path, this.#cookie).catch(() => undefined);
    if (answer?.status !== 200) return answer;
    if (answer.cookie !== undefined) this.#cookie = answer.cookie;
    const { owner } = answer.session;
    if (owner !== undefined && owner !== this.name) this.strange.push(`the session of ${owner}`);
    return answer;
  }

  /** Of what was confirmed. */
  #missingIn({ session: { owner, cart = {} } }: Answer): string[] {
    return owner === undefined ? [] : [...this.confirmed].filter((item) => !Object.hasOwn(cart, item));
  }

  /** The cart as it is there; undefined while something of what was confirmed is not in it. */
  async wholeCartAt(port: number): Promise<Session["cart"]> {
    const cart = (await this.ask("/", port))?.session.cart;
    if (cart === undefined) return this.confirmed.size === 0 ? {} : undefined;
    return [...this.confirmed].every((item) => Object.hasOwn(cart, item)) ? cart : undefined;
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

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export interface CrowdOptions {
  readonly count: number;
  readonly chance: Chance;
  /** Where a shopper's next request goes. */
  readonly port: (shopper: number) => number;
}

/** Many shoppers, each with a cookie of their own. */
export class Crowd {
  readonly #shoppers: readonly Shopper[];
  readonly #chance: Chance;

  constructor(t: TestContext, { count, chance, port }: CrowdOptions) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 200 });
    t.after(() => agent.destroy());
    this.#chance = chance;
    this.#shoppers = Array.from(
      { length: count },
      (_, number) => new Shopper(`shopper${number}`, agent, () => port(number)),
    );
  }

  /** All of them fill their carts until then (performance.now()), about one item a shopper in a millisecond. */
  async shop(end: number): Promise<void> {
    const shoppers = this.#shoppers;
    const buyAll = async (shopper: Shopper): Promise<void> => {
      while (performance.now() < end) {
        await shopper.buy();
        await pause(this.#chance.below(2 * shoppers.length));
      }
    };
    await Promise.all(shoppers.map(buyAll));
  }

  /**
   * What was confirmed is in the carts, wherever one asks (once nodes have told their store of it), nothing else is, and nobody has seen
   * another's. Says how much that is.
   */
  async assertKept(ports: readonly number[]): Promise<string> {
    for (const port of ports) {
      for (const shopper of this.#shoppers) {
        const { name, confirmed, open, strange } = shopper;
        const cart = await waitFor(() => shopper.wholeCartAt(port), `all that was confirmed to ${name}`);
        assert.deepEqual(strange, [], name);
        for (const item of Object.keys(cart)) assert.ok(confirmed.has(item) || open.has(item), item);
      }
    }
    const { length } = this.#shoppers;
    const cookies = this.#shoppers.flatMap(({ cookie }) => cookie ?? []);
    assert.equal(new Set(cookies).size, cookies.length);
    const sum = (of: (shopper: Shopper) => number): number => this.#shoppers.reduce((all, one) => all + of(one), 0);
    const confirmed = sum((shopper) => shopper.confirmed.size);
    assert.ok(confirmed > length, `${confirmed} confirmed`);
    return `${confirmed} confirmed, ${sum((shopper) => shopper.failed)} failed`;
  }
}
