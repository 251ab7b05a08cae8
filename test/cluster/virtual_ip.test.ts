/** virtual_ip as it is written, and what follows from it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { priorityOf, vrrpPriority, WEIGHT } from "../../src/cluster/address/priority.ts";
import { type Peer, standingOf } from "../../src/cluster/address/standing.ts";
import { serverKey } from "../../src/cluster/group/opinions.ts";
import { runHoldfast } from "../support/holdfast.ts";

const refused: readonly (readonly [line: string, message: string])[] = [
  ["virtual_ip 10.0.0.256 dev=eth0;", '"10.0.0.256" is no address'],
  ["virtual_ip 10.0.0.1/33 dev=eth0;", '"10.0.0.1/33" is no address'],
  ["virtual_ip shop dev=eth0;", '"shop" is no address'],
  ["virtual_ip 10.0.0.100 unicast;", '"virtual_ip" needs the interface that has the address: "dev="'],
  ["virtual_ip 10.0.0.100 dev=eth0/1;", 'invalid parameter "dev=eth0/1"'],
  ["virtual_ip 10.0.0.100 dev=eth0 prefer=lb9;", 'there is no node "lb9"'],
  ["virtual_ip 10.0.0.100 dev=eth0 priority=81;", 'invalid parameter "priority=81"'],
  ["virtual_ip 10.0.0.100 dev=eth0 vrid=256;", 'invalid parameter "vrid=256"'],
  ["virtual_ip 10.0.0.100 dev=eth0 advert=15ms;", 'invalid parameter "advert=15ms"'],
  ["virtual_ip 10.0.0.100 dev=eth0; virtual_ip 10.0.0.100/24 dev=eth1;", "duplicate address 10.0.0.100"],
  [
    "virtual_ip 10.0.0.100 dev=eth0; virtual_ip 10.0.1.100 dev=eth0;",
    "addresses 10.0.0.100 and 10.0.1.100 have the same vrid 100 on eth0: give one of them another",
  ],
  ["virtual_ip FD00::0:100 dev=eth0; virtual_ip fd00::100 dev=eth0;", "duplicate address fd00::100"],
  [
    "virtual_ip fd00::100 dev=eth0 unicast;",
    'advertisements of fd00::100 cannot go to node "lb1", whose address is of another family',
  ],
];

for (const [line, message] of refused) {
  test(`${line} is refused`, async (t) => {
    const config = `cluster c { node lb1 127.0.0.1; node lb2 127.0.0.2; self lb1; secret_file s; ${line} }`;
    const files = { "conf/s": "a secret of the test's own\n" };
    const { code, stderr } = await runHoldfast(t, { config, files, args: ["-t"] });
    assert.equal(code, 1);
    assert.ok(stderr.includes(`[emerg] ${message} in `), stderr);
  });
}

test("priorities: the preferred node comes first, then those after it; who has the address is above all, who is cut off below", () => {
  const nodes = Array.from({ length: 80 }, (_, i) => `n${i}`);
  for (const names of [nodes.slice(0, 2), nodes.slice(0, 3), nodes]) {
    for (const prefer of names) {
      const from = names.indexOf(prefer);
      const order = [...names.slice(from), ...names.slice(0, from)];
      const all = order.map((name) => vrrpPriority(priorityOf(names, prefer, name)));
      assert.deepEqual(
        [...new Set(all)].sort((a, b) => b - a),
        all,
      );
      assert.ok(Math.min(...all) + WEIGHT.holder > Math.max(...all));
      assert.ok(Math.max(...all) + WEIGHT.cutOff < Math.min(...all));
      assert.ok(Math.min(...all) + WEIGHT.cutOff >= 1 && Math.max(...all) + WEIGHT.holder <= 254);
    }
  }
});

test("who is fit to have an address", () => {
  const upstreams = {
    upstreams: [{ name: "u", servers: ["a", "b"].map((name) => ({ key: name, name, checks: [0] })) }],
  };
  type State = "up" | "down" | "unknown";
  const opinions = (states: Readonly<Record<string, State>>): Peer["opinions"] => ({
    get: (key) => {
      const found = Object.entries(states).find(([server]) => serverKey("u", server) === key);
      return found && { state: found[1] };
    },
  });
  const peer = (state: "serving" | "draining" | "starting", seen: Readonly<Record<string, State>>): Peer => ({
    facts: { state },
    opinions: opinions(seen),
  });
  const gone: Peer = { facts: undefined, opinions: opinions({}) };
  const fit = (seen: Readonly<Record<string, State>>, ...peers: Peer[]) =>
    standingOf("serving", peers, upstreams, opinions(seen)).fit;

  assert.equal(fit({ a: "up", b: "down" }, peer("serving", { a: "up", b: "up" })), "serving");
  assert.equal(fit({ a: "down", b: "down" }, peer("serving", { a: "up" })), "cut off");
  // All nodes find the same: it is the servers, and moving the address helps nobody.
  assert.equal(fit({ a: "down", b: "down" }, peer("serving", { a: "down", b: "down" })), "serving");
  // Nobody who could take the address sees more.
  assert.equal(fit({ a: "down", b: "down" }, peer("draining", { a: "up" }), gone), "serving");
  assert.equal(fit({ a: "down", b: "down" }, gone, gone), "cut off");
  assert.equal(fit({ a: "up", b: "down" }, gone, gone), "serving");
  // No verdict yet, or others look.
  assert.equal(fit({ a: "unknown", b: "unknown" }, peer("serving", { a: "up" })), "serving");
  assert.equal(fit({}, peer("serving", { a: "up" })), "serving");

  const drained = (...peers: Peer[]) => standingOf("draining", peers, upstreams, opinions({ a: "up" })).fit;
  assert.equal(drained(peer("serving", {})), "draining");
  assert.equal(drained(peer("draining", {})), "cut off");
  assert.equal(drained(gone), "cut off");
});
