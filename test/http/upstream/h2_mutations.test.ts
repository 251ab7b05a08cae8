/**
 * Changed answers of HTTP/2 servers through connections, streams and their requests: no exception, each request ends once, at the
 * latest when its timeout has passed, none gets bytes of another's stream, and memory stays.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Pool } from "../../../src/balancer/pool.ts";
import { nodeEngine } from "../../../src/net/node/engine.ts";
import { SlabQueue } from "../../../src/net/slabs.ts";
import type { ConnectHandler } from "../../../src/net/stream.ts";
import { logFaultsTo } from "../../../src/sys/guard.ts";
import { armedDeadlines } from "../../../src/sys/timers.ts";
import { ANSWERS, otherAnswers, recordedAnswers } from "../../support/h2_answers.ts";
import { Asker, type Asking, PIECES } from "../../support/h2_asker.ts";
import { changedFrames, type Frame, frameBytes } from "../../support/h2_mutations.ts";
import { checkSent, MeantAnswers } from "../../support/h2_streams.ts";
import { Chance, pieces } from "../../support/mutations.ts";
import { MemoryStream } from "../../support/tls_memory.ts";
import { VirtualLoop } from "../../support/virtual_loop.ts";

const MUTATIONS = Number(process.env.HOLDFAST_CHAOS_MUTATIONS ?? 30_000);
const SEED = Number(process.env.HOLDFAST_CHAOS_SEED ?? 1);
/** Longer than any timeout of a request. */
const LONG = 61_000;
/** How many frames of a conversation a server sends that changes them. */
const CHOSEN = 50;
const KEEPALIVE = { connections: 16, requests: 1000, time: 3_600_000, timeout: 60_000, streams: 100, local: false };

/** A connection that was opened, and the changed frames that its server sends. */
interface Opened {
  readonly stream: MemoryStream;
  readonly meant: MeantAnswers;
  readonly left: Buffer[];
}

/** Some requests to one server, whose answers were changed. */
class Scene implements Asking {
  readonly pool = new Pool(KEEPALIVE);
  readonly chance: Chance;
  readonly loop: VirtualLoop;
  readonly askers: Asker[] = [];
  serving: MeantAnswers | undefined = undefined;
  frames = 0;
  /** The first connection's server does as was recorded. */
  readonly #right: boolean;
  readonly #conversations: readonly Frame[][];
  readonly #others: readonly Frame[] = otherAnswers();
  readonly #opened: Opened[] = [];

  constructor(conversations: readonly Frame[][], loop: VirtualLoop, seed: number) {
    this.#conversations = conversations;
    this.loop = loop;
    this.chance = new Chance(seed);
    this.#right = this.chance.below(4) === 0;
  }

  connect(handler: ConnectHandler): MemoryStream {
    const { chance } = this;
    const stream = new MemoryStream();
    stream.handler = handler;
    const conversation = this.#conversations[chance.below(this.#conversations.length)];
    const right = this.#right && this.#opened.length === 0;
    const frames = right ? conversation : changedFrames([...conversation, ...this.#others], chance, CHOSEN);
    const bytes = Buffer.concat(frames.map(frameBytes));
    this.frames += frames.length;
    this.#opened.push({ stream, meant: new MeantAnswers(bytes, right), left: pieces(bytes, chance) });
    return stream;
  }

  ask(): void {
    const asker = new Asker(this);
    this.askers.push(asker);
    asker.ask();
  }

  run(): void {
    const { chance, loop } = this;
    for (let asked = this.#right ? ANSWERS : 1 + chance.below(ANSWERS); asked > 0; asked--) this.ask();
    // Requests that are repeated open further connections.
    for (let at = 0; at < this.#opened.length; at++) this.#serve(this.#opened[at]);
    for (const { stream } of this.#opened) this.#take(stream);
    loop.settle();
    if (chance.below(2) === 0) {
      for (const { stream } of this.#opened) stream.close();
      loop.settle();
    }
    // Nobody says anything any more.
    for (let rounds = 0; rounds < 2 * PIECES && this.askers.some(({ ends }) => ends === 0); rounds++) {
      for (const asker of this.askers) {
        asker.goOn();
        asker.sendMore();
        loop.settle();
      }
      for (const { stream } of this.#opened) this.#take(stream);
      loop.pass(LONG);
    }
    for (const asker of this.askers) assert.equal(asker.ends, 1, asker.toString());
    // Of connections that are idle in the pool.
    assert.ok(armedDeadlines() <= this.pool.size, `${armedDeadlines()} deadlines are left`);
    this.pool.close();
    for (const { stream, meant } of this.#opened) {
      assert.ok(stream.closed, "a connection that nobody needs is left open");
      checkSent(stream.take(), meant);
      stream.close();
    }
    loop.settle();
    assert.equal(armedDeadlines(), 0);
  }

  /** The server takes what was sent to it. */
  #take(stream: MemoryStream): void {
    if (stream.queued === 0 || stream.closed) return;
    stream.full = false;
    stream.queued = 0;
    stream.handler.onDrain(stream);
    this.loop.endEvent();
    if (!stream.closed) stream.handler.onSent?.(stream);
    this.loop.endEvent();
  }

  #serve({ stream, left, meant }: Opened): void {
    const { chance, loop, askers } = this;
    this.serving = meant;
    if (chance.below(40) === 0) {
      stream.close();
      loop.settle();
      return;
    }
    // While it is connecting: nothing may be said of a stream that was not opened.
    if (!this.#right && chance.below(8) === 0) askers[chance.below(askers.length)].leave();
    const { handler } = stream;
    if (!stream.closed && "onConnect" in handler) (handler as ConnectHandler).onConnect(stream);
    loop.endEvent();
    if (chance.below(8) > 0) loop.turn();
    for (const piece of left) {
      if (stream.closed) break;
      stream.handler.onData(stream, Buffer.from(piece));
      loop.endEvent();
      const asker = askers[chance.below(askers.length)];
      switch (chance.below(16)) {
        case 0:
          stream.full = true;
          break;
        case 1:
          this.#take(stream);
          break;
        case 2:
          // The next request has its place on the connection.
          asker.leave();
          if (askers.length < 2 * ANSWERS) this.ask();
          break;
        case 3:
          asker.pause();
          break;
        case 4:
          asker.goOn();
          break;
        case 5:
          asker.sendMore();
          break;
        case 6:
          if (chance.below(4) === 0 && askers.length < 2 * ANSWERS) this.ask();
          break;
        case 7:
          loop.pass(20_000);
          break;
        default:
          if (chance.below(2) === 0) loop.turn();
      }
      loop.endEvent();
    }
    loop.turn();
  }
}

/** Has as many unused slabs kept as there ever are: some MiB. */
function takeSlabs(): void {
  const queues = Array.from({ length: 1000 }, () => new SlabQueue());
  for (const queue of queues) queue.push(Buffer.alloc(8192));
  queues[0].push(Buffer.alloc(8 * 1024 * 1024));
  for (const queue of queues) queue.clear();
}

test(`${MUTATIONS} changed frames of servers: every request ends once, with nothing of another's`, async (t: TestContext) => {
  const conversations = await recordedAnswers(t);
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  const memory = (): number => {
    takeSlabs();
    // Memory of buffers goes with the second.
    collect();
    collect();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const faults: string[] = [];
  logFaultsTo({ write: (_level, message) => faults.push(message) });
  const loop = new VirtualLoop();
  loop.install();
  let scene: Scene | undefined;
  const connect = (_options: unknown, handler: ConnectHandler) => scene?.connect(handler);
  const { mock } = t.mock.method(nodeEngine, "connect", connect);
  const outcomes = new Map<string, number>();
  const chance = new Chance(SEED);
  let before = 0;
  for (let done = 0; done < MUTATIONS; ) {
    if (before === 0 && done >= MUTATIONS / 4) before = memory();
    const seed = chance.below(2 ** 31);
    scene = new Scene(conversations, loop, seed);
    try {
      scene.run();
      assert.deepEqual(faults, []);
    } catch (error) {
      throw new Error(`with seed ${seed}, after ${done} frames`, { cause: error });
    }
    mock.resetCalls();
    done += scene.frames;
    for (const { outcome } of scene.askers) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  scene = undefined;
  const grown = memory() - before;
  for (const [outcome, count] of [...outcomes].toSorted((a, b) => b[1] - a[1])) t.diagnostic(`${count} × ${outcome}`);
  t.diagnostic(`${Math.round(grown / 1024)} KiB more`);
  assert.ok((outcomes.get("answered") ?? 0) > 0);
  assert.ok(grown < 4 * 1024 * 1024, `${grown} bytes more`);
});
