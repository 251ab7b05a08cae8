import assert from "node:assert/strict";
import { test } from "node:test";
import type { KeepaliveSettings, Peer } from "../../src/balancer/peer.ts";
import { nextPools, Pool, PooledStream } from "../../src/balancer/pool.ts";
import type { Address } from "../../src/net/address.ts";
import type { Stream, StreamError, StreamHandler } from "../../src/net/stream.ts";
import { armedDeadlines } from "../../src/sys/timers.ts";
import { waitFor } from "../support/wait.ts";
import { group, server } from "./helpers.ts";

const nowhere: Address = { family: "unix", path: "" };

/** A connection the test plays the server of. */
class FakeStream implements Stream {
  handler: StreamHandler = { onData() {}, onDrain() {}, onEnd() {}, onClose() {} };
  readonly remote = nowhere;
  readonly local = nowhere;
  readonly sending = false;
  closed = false;
  destroyed = false;
  onDestroy: (() => void) | undefined = undefined;

  write(): boolean {
    return true;
  }
  cork(): void {}
  uncork(): boolean {
    return true;
  }
  readonly unsent = 0;
  pause(): void {}
  resume(): void {}
  end(): void {}
  setNoDelay(): void {}
  setKeepAlive(): void {}
  destroy(): void {
    this.destroyed = true;
    this.onDestroy?.();
  }
  fail(error?: StreamError): void {
    this.closed = true;
    this.handler.onClose(this, error);
  }
}

const { peers } = group([server(1), server(2)]);
const [one, two] = peers;
const settings: KeepaliveSettings = {
  connections: 2,
  requests: 3,
  time: 1000,
  timeout: 5000,
  streams: 1,
  local: false,
};

function opened(peer: Peer, startedAt = performance.now()): { stream: FakeStream; pooled: PooledStream } {
  const stream = new FakeStream();
  return { stream, pooled: new PooledStream(stream, peer.name, startedAt) };
}

test("the connection used last to the peer comes back, and no other peer's", () => {
  const pool = new Pool({ ...settings, connections: 4 });
  const [a, b, c] = [opened(one), opened(one), opened(two)];
  for (const { pooled } of [a, b, c]) assert.equal(pool.put(pooled), true);
  assert.equal(pool.take(one), b.pooled);
  assert.equal(pool.take(one), a.pooled);
  assert.equal(pool.take(one), undefined);
  assert.equal(pool.take(two), c.pooled);
  assert.deepEqual([a.pooled.requests, pool.size], [2, 0]);
  for (const { pooled } of [a, b, c]) pooled.leave();
  assert.equal(armedDeadlines(), 0);
});

test("a full pool closes the connection unused longest, whichever server it is to", () => {
  const pool = new Pool(settings);
  const [a, b, c] = [opened(one), opened(two), opened(two)];
  for (const { pooled } of [a, b, c]) pool.put(pooled);
  assert.deepEqual(
    [a, b, c].map(({ stream }) => stream.destroyed),
    [true, false, false],
  );
  assert.equal(pool.size, 2);
  pool.close();
});

test("keepalive_requests and keepalive_time end a connection", () => {
  const pool = new Pool(settings);
  const used = opened(one);
  for (let uses = 1; uses < settings.requests; uses++) {
    assert.equal(pool.put(used.pooled), true);
    assert.equal(pool.take(one), used.pooled);
  }
  assert.equal(pool.put(used.pooled), false);
  assert.equal(used.stream.destroyed, true);
  used.pooled.leave();

  const old = opened(one, performance.now() - settings.time - 1);
  assert.equal(pool.put(old.pooled), false);
  assert.equal(old.stream.destroyed, true);
  assert.equal(pool.size, 0);
});

test("data, end or close on an idle connection takes it out at once", () => {
  const pool = new Pool({ ...settings, connections: 3 });
  const [talks, ends, closes] = [opened(one), opened(one), opened(one)];
  for (const { pooled } of [talks, ends, closes]) pool.put(pooled);
  talks.stream.handler.onData(talks.stream, Buffer.from("HTTP/1.1 408"));
  ends.stream.handler.onEnd(ends.stream);
  closes.stream.fail();
  assert.deepEqual([talks.stream.destroyed, ends.stream.destroyed], [true, true]);
  assert.equal(pool.take(one), undefined);
  assert.deepEqual([pool.size, armedDeadlines()], [0, 0]);
});

test("keepalive_timeout does not close a connection that a request has taken, and counts from when it came back", async () => {
  const pool = new Pool({ ...settings, timeout: 20 });
  const [used, idle] = [opened(one), opened(two)];
  for (const { pooled } of [used, idle]) pool.put(pooled);
  assert.equal(pool.take(one), used.pooled);
  await new Promise<void>((resolve) => {
    idle.stream.onDestroy = resolve;
  });
  assert.deepEqual([used.stream.destroyed, armedDeadlines()], [false, 0]);
  const back = performance.now();
  pool.put(used.pooled);
  await new Promise<void>((resolve) => {
    used.stream.onDestroy = resolve;
  });
  assert.ok(performance.now() - back >= 20);
  assert.deepEqual([pool.size, armedDeadlines()], [0, 0]);
});

test("keepalive_timeout closes an idle connection", async () => {
  const pool = new Pool({ ...settings, timeout: 5 });
  const idle = opened(one);
  const gone = new Promise<void>((resolve) => {
    idle.stream.onDestroy = resolve;
  });
  pool.put(idle.pooled);
  await gone;
  assert.equal(pool.size, 0);
});

test("with `local` a connection goes back only to the location that opened it", () => {
  const pool = new Pool({ ...settings, local: true });
  const [here, there] = ["location /a", "location /b"];
  const { pooled } = opened(one);
  pool.put(pooled, here);
  assert.equal(pool.take(one, there), undefined);
  assert.equal(pool.take(one, here), pooled);
});

test("a closed pool keeps nothing", () => {
  const pool = new Pool(settings);
  const [before, after] = [opened(one), opened(one)];
  pool.put(before.pooled);
  pool.close();
  assert.equal(pool.put(after.pooled), false);
  assert.deepEqual([before.stream.destroyed, after.stream.destroyed, pool.size], [true, true, 0]);
});

test("a reload keeps the idle connections of servers that stay", () => {
  const first = nextPools(undefined, [
    { name: "a", peers, keepalive: settings },
    { name: "b", peers, keepalive: settings },
  ]);
  const [kept, gone, other] = [opened(one), opened(two), opened(one)];
  first.get("a")?.put(kept.pooled);
  first.get("a")?.put(gone.pooled);
  first.get("b")?.put(other.pooled);
  const second = nextPools(first, [
    { name: "a", peers: [one], keepalive: { ...settings, connections: 1 } },
    { name: "c", peers, keepalive: undefined },
  ]);
  assert.deepEqual([...second.keys()], ["a"]);
  assert.deepEqual([gone.stream.destroyed, other.stream.destroyed], [true, true]);
  assert.equal(second.get("a")?.take(one), kept.pooled);
});

test("of many that come back at once those above keepalive are closed a moment later, unless they are taken again", async () => {
  const pool = new Pool({ ...settings, connections: 8 });
  const all = Array.from({ length: 80 }, () => opened(one));
  for (const { pooled } of all) assert.equal(pool.put(pooled), true);
  // No more than 64 above it.
  assert.deepEqual([pool.size, all.filter(({ stream }) => stream.destroyed).length], [72, 8]);
  const taken = Array.from({ length: 70 }, () => pool.take(one));
  assert.ok(taken.every((pooled) => pooled !== undefined));
  for (const pooled of taken) if (pooled !== undefined) pool.put(pooled);
  await waitFor(() => pool.size === 8, "the others to be closed");
  assert.equal(all.filter(({ stream }) => stream.destroyed).length, 72);
  pool.close();
});
