/**
 * Applications keep numbers in a group's zone by memcached's protocol, while workers are killed and Redis is away for a while: what was
 * confirmed is there at the end, at every node.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { tracesOf } from "../support/item_traces.ts";
import { Chance } from "../support/mutations.ts";
import { workersOf } from "../support/processes.ts";
import { noRedis, type Redis, startRedis } from "../support/redis.ts";
import { pause } from "../support/shoppers.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const CLIENTS = Math.min(Number(process.env.HOLDFAST_CHAOS_SHOPPERS ?? 20), 200);
const SECONDS = Number(process.env.HOLDFAST_CHAOS_SECONDS ?? 6);
const SEED = Number(process.env.HOLDFAST_CHAOS_SEED ?? 1);
const AWAY_SECONDS = SECONDS / 6;
const ZONE = "carts";
/** So often each number is counted up at least. */
const LEAST = 5;

/** Counts one number up at one node. */
class Counter {
  readonly key: string;
  confirmed = 0;
  /** The last one that was sent. */
  tried = 0;
  readonly strange: string[] = [];
  readonly #node: Running;
  readonly #redis: Redis;
  #connection: RawConnection | undefined;

  constructor(key: string, node: Running, redis: Redis) {
    this.key = key;
    this.#node = node;
    this.#redis = redis;
  }

  /** Sets the next number, or has it incremented, and reads it. */
  async count(incr: boolean): Promise<void> {
    const next = this.tried + 1;
    const isNext = this.confirmed === this.tried;
    const set = `set ${this.key} 0 1000 ${String(next).length}\r\n${next}\r\n`;
    this.tried = next;
    const answer = await this.#ask(incr && isNext && next > 1 ? `incr ${this.key} 1\r\n` : set);
    if (answer !== "STORED\r\n" && answer !== `${next}\r\n`) return;
    this.confirmed = next;
    const there = await this.#ask(`get ${this.key}\r\n`);
    if (there.startsWith("VALUE") && numberIn(there) !== next) await this.#note(`${next} is ${numberIn(there)}`);
    if (there === "END\r\n") await this.#note(`${next} is not there`);
  }

  /** With what explains it: who has answered, and what there is of the number. */
  async #note(what: string): Promise<void> {
    const traces = await tracesOf(this.key, ZONE, this.#node, this.#redis);
    const pid = /STAT pid (\d+)/.exec(await this.#ask("stats\r\n"))?.[1];
    this.strange.push(
      `${what} (now ${numberIn(await this.#ask(`get ${this.key}\r\n`))}), said process ${pid} of master ${this.#node.pid}. ${traces}`,
    );
  }

  close(): void {
    this.#connection?.close();
  }

  /** "" where the connection breaks. */
  async #ask(command: string): Promise<string> {
    try {
      this.#connection ??= await RawConnection.open(this.#node.port);
      const connection = this.#connection;
      connection.received = "";
      connection.write(`${command}mn\r\n`);
      const answer = await connection.until((received) => received.endsWith("MN\r\n"));
      if (!connection.ended) return answer.slice(0, -"MN\r\n".length);
    } catch {
      // Its worker was killed.
    }
    this.close();
    this.#connection = undefined;
    return "";
  }
}

function numberIn(answer: string): number {
  return Number(/\r\n(\d+)/.exec(answer)?.[1]);
}

test(`${CLIENTS} numbers are what was confirmed, while Redis is away for ${AWAY_SECONDS} s of ${SECONDS} s`, {
  skip: noRedis,
}, async (t) => {
  const chance = new Chance(SEED);
  const redis = await startRedis(t);
  const start = (): Promise<Running> =>
    startHoldfast(t, {
      config: ([port, other]) => `user root; worker_processes 2; http {
        session_zone ${ZONE}:32m store=redis://${redis.address};
        session_listen 127.0.0.1:${port} zone=${ZONE} max_connections=1000;
        server { listen 127.0.0.1:${other}; } }`,
    });
  const nodes = [await start(), await start()];
  const counters = Array.from({ length: CLIENTS }, (_, number) => new Counter(`n${number}`, nodes[number % 2], redis));
  t.after(() => {
    for (const counter of counters) counter.close();
  });
  const end = performance.now() + SECONDS * 1000;
  const counting = counters.map(async (counter) => {
    // However slow the machine is, there is something to lose.
    while (performance.now() < end || counter.confirmed < LEAST) {
      await counter.count(chance.below(2) === 0);
      await pause(chance.below(20));
    }
  });
  let killed = 0;
  const killing = (async () => {
    for (;;) {
      await pause(300 + chance.below(500));
      if (performance.now() > end) return;
      const workers = workersOf(nodes[chance.below(2)].pid);
      if (workers.length > 0) process.kill(workers[chance.below(workers.length)], "SIGKILL");
      killed++;
    }
  })();
  await pause(SECONDS * 250);
  await redis.kill();
  await pause(AWAY_SECONDS * 1000);
  await redis.start();
  await Promise.all([...counting, killing]);
  for (const node of nodes) await node.waitForLog(/its store redis:\S+ is back after \d+ s/);
  for (const { key, confirmed, tried, strange } of counters) {
    assert.equal(strange.join("\n\n"), "", key);
    for (const node of nodes) {
      let number = 0;
      const isThere = async (): Promise<boolean> => {
        const connection = await RawConnection.open(node.port);
        connection.write(`get ${key}\r\nmn\r\n`);
        number = numberIn(await connection.until((received) => received.endsWith("MN\r\n")));
        connection.close();
        return number >= confirmed && number <= tried;
      };
      await waitFor(isThere, () => `${key} to be from ${confirmed} to ${tried}, not ${number}`).catch(
        async (error: Error) => assert.fail(`${error.message}. ${await tracesOf(key, ZONE, node, redis)}`),
      );
    }
  }
  const confirmed = counters.reduce((sum, counter) => sum + counter.confirmed, 0);
  t.diagnostic(`${confirmed} confirmed; ${killed} workers killed`);
});
