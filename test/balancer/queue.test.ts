import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Attempt } from "../../src/balancer/attempt.ts";
import { buildUpstream, type Group } from "../../src/balancer/group.ts";
import type { Zone } from "../../src/shm/zone.ts";
import { waitFor } from "../support/wait.ts";
import { definition, input, server, upstreamZone } from "./helpers.ts";

/** A worker's view of an upstream of one server with room for one connection. */
function worker(zone: Zone, number: number): Group {
  const settings = { ...definition([server(1, { maxConns: 1 })]), queue: { length: 100, timeout: 60_000 } };
  const upstream = buildUpstream(settings, {}, zone, { generation: 1, clock: () => 1000 });
  upstream.enter(number);
  return upstream;
}

/** Waits in the upstream's queue; `served` is called with the attempt that got the server. */
function wait(t: TestContext, upstream: Group, served: (attempt: Attempt) => void): void {
  const attempt = upstream.begin(input());
  const place = upstream.queue?.join({
    attempt,
    onPeer: () => served(attempt),
    onQueueTimeout: () => assert.fail("it has time"),
    onFault: (error) => assert.fail(String(error)),
  });
  assert.ok(place !== undefined);
  t.after(() => place.leave());
}

test("requests of other workers that came later do not overtake for ever", async (t) => {
  const zone = upstreamZone(1);
  const [one, other] = [worker(zone, 0), worker(zone, 1)];
  const busy = other.begin(input());
  assert.ok(other.next(busy) !== undefined);
  let first: Attempt | undefined;
  wait(t, one, (attempt) => {
    first = attempt;
  });
  assert.equal(other.queue?.engaged, false);
  let overtaken = 0;
  const next = (attempt: Attempt) => {
    overtaken++;
    other.release(attempt, "ok");
  };
  for (let i = 0; i < 60; i++) wait(t, other, next);
  assert.equal(other.queue?.engaged, true);
  other.release(busy, "ok");
  await waitFor(() => first !== undefined, "the request that came first");
  assert.ok(overtaken <= 32, String(overtaken));
  if (first !== undefined) one.release(first, "ok");
  await waitFor(() => overtaken === 60, "all others after it");
});

test("the places of a worker that died are free, and nobody waits for those in front of its own", async (t) => {
  const zone = upstreamZone(1);
  const [dead, other] = [worker(zone, 0), worker(zone, 1)];
  for (let i = 0; i < 100; i++) wait(t, dead, () => {});
  const late = other.begin(input());
  const user = { attempt: late, onPeer() {}, onQueueTimeout() {}, onFault() {} };
  assert.equal(other.queue?.join(user), undefined, "no room");
  other.forget(0);
  const place = other.queue?.join(user);
  assert.ok(place !== undefined);
  place.leave();
});
