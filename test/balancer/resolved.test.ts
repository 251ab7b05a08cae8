import assert from "node:assert/strict";
import { test } from "node:test";
import { buildUpstream, type Group } from "../../src/balancer/group.ts";
import { nameKey, type ResolvedServer, readResolved, writeResolved } from "../../src/balancer/resolved.ts";
import { resolvedRoom } from "../../src/balancer/zone.ts";
import type { Zone } from "../../src/shm/zone.ts";
import { definition, input, portOf, server, times, upstreamZone } from "./helpers.ts";

const KEY = nameKey("Moving.test", "");
const at = (host: string): ResolvedServer => ({ address: { family: "ipv4", host, port: 0 }, service: undefined });
const addresses = (count: number) => times(count, () => 0).map((_, i) => at(`10.0.${i >> 8}.${i & 255}`));
const named = (servers: readonly ResolvedServer[]) => new Map([[KEY, servers]]);

/** A process's view of an upstream with a name, over a zone that is to have 32 KiB: room for 64 addresses. */
function upstream(zone: Zone, parameters = {}): Group {
  const moving = { ...server(80), server: "moving.test:80", target: { host: "moving.test", port: 80 }, resolve: true };
  const whole = { ...definition([{ ...moving, ...parameters }]), zone: 32_768 };
  return buildUpstream(whole, {}, zone, { generation: 1, clock: () => 1000 });
}

const hosts = (group: Group) => group.peers.map(({ name }) => name);

test("what one process learns the others follow, with the parameters of the server", () => {
  const zone = upstreamZone(64);
  const [checker, worker] = [upstream(zone), upstream(zone, { maxConns: 7, weight: 3, slowStart: 1000 })];
  assert.deepEqual(hosts(worker), []);
  let changes = 0;
  worker.onChange(() => changes++);
  assert.equal(checker.learn(named([at("10.0.0.1"), at("10.0.0.2")])), true);
  worker.follow();
  worker.follow();
  assert.equal(changes, 1);
  assert.deepEqual(
    worker.peers.map(({ name, maxConns, weight, slowStart, server: text }) => [
      name,
      maxConns,
      weight,
      slowStart,
      text,
    ]),
    ["10.0.0.1:80", "10.0.0.2:80"].map((name) => [name, 7, 3, 1000, "moving.test:80"]),
  );
  assert.deepEqual(hosts(upstream(zone)), ["10.0.0.1:80", "10.0.0.2:80"], "one that starts later too");
});

test("an attempt goes on among the new servers, without those that it has tried", () => {
  const zone = upstreamZone(64);
  const group = upstream(zone);
  group.learn(named([at("10.0.0.1"), at("10.0.0.2")]));
  const attempt = group.begin(input());
  const first = group.next(attempt);
  assert.ok(first !== undefined);
  group.learn(named([at(first.name.slice(0, -3)), at("10.0.0.3")]));
  group.release(attempt, "failed");
  assert.equal(group.next(attempt)?.name, "10.0.0.3:80");
  group.release(attempt, "ok");
  for (const { index } of group.peers) assert.equal(group.counters(index).conns, 0);
});

test("a server that comes back has the state that it had, and one that is new none of another's", () => {
  const group = upstream(upstreamZone(64));
  group.learn(named([at("10.0.0.1"), at("10.0.0.2")]));
  const attempt = group.begin(input());
  const name = group.next(attempt)?.name ?? "";
  group.release(attempt, "failed");
  const failures = () => group.peers.map((peer) => group.counters(peer.index).failures);
  group.learn(named([at("10.0.0.3"), at("10.0.0.4")]));
  assert.deepEqual(failures(), [0, 0]);
  group.learn(named([at("10.0.0.1"), at("10.0.0.2")]));
  assert.deepEqual(
    failures(),
    hosts(group).map((host) => (host === name ? 1 : 0)),
  );
});

test("there is room for ever more addresses one after the other, but for no more at a time than the zone has", () => {
  const group = upstream(upstreamZone(64));
  for (let i = 0; i < 500; i++) assert.equal(group.learn(named([at(`10.1.${i >> 8}.${i & 255}`)])), true);
  assert.equal(group.learn(named(addresses(64))), true);
  assert.equal(group.learn(named(addresses(65))), false);
  assert.equal(group.peers.length, 64);
});

test("names that are too long for the zone change nothing, in the checker neither", () => {
  const zone = upstreamZone(64);
  const [checker, worker] = [upstream(zone), upstream(zone)];
  checker.learn(named([at("10.0.0.1")]));
  const service = { name: "x".repeat(resolvedRoom(zone).length), weight: 1, backup: false };
  assert.equal(checker.learn(named([{ ...at("10.0.0.2"), service }])), false);
  worker.follow();
  assert.deepEqual([hosts(checker), hosts(worker)], [["10.0.0.1:80"], ["10.0.0.1:80"]]);
  assert.deepEqual(checker.names, worker.names);
  assert.equal(checker.learn(named([at("10.0.0.3")])), true);
  worker.follow();
  assert.deepEqual([hosts(checker), hosts(worker)], [["10.0.0.3:80"], ["10.0.0.3:80"]]);
});

test("what a process that was taken over writes into the zone is not believed", () => {
  const zone = upstreamZone(64);
  const group = upstream(zone);
  group.learn(named([at("10.0.0.1")]));
  const room = resolvedRoom(zone);
  const half = room.length / 2;
  const put = (text: string) => {
    for (const start of [0, half]) {
      room.writeUInt32LE(text.length, start);
      room.write(text, start + 4, "latin1");
    }
  };
  for (const text of [
    "",
    "[",
    "null",
    "[1,[2]]",
    '[["x"]]',
    `[["${KEY}",[1,["10.0.0.1"],["a",80],["10.0.0.9",-1]]]]`,
  ]) {
    put(text);
    assert.deepEqual([...readResolved(zone).names.values()].flat(), [], text);
  }
  for (const start of [0, half]) room.writeUInt32LE(0xffffffff, start);
  assert.deepEqual([...readResolved(zone).names.values()].flat(), []);
  assert.equal(writeResolved(zone, named([at("10.0.0.2")])), true);
  group.follow();
  assert.deepEqual(hosts(group), ["10.0.0.2:80"]);
  assert.equal(portOf(group, group.begin(input())), 80);
});
