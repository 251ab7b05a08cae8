import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { addressText } from "../../src/net/address.ts";
import { type Resolution, Resolver, type ResolverOptions } from "../../src/net/resolver.ts";
import { ServiceLookup, type ServiceResolution, serviceName } from "../../src/net/service_lookup.ts";
import { armedDeadlines } from "../../src/sys/timers.ts";
import { a, cname, type NameServer, nameServer, srv, TYPE } from "../support/dns.ts";
import { freePort } from "../support/ports.ts";
import { waitFor } from "../support/wait.ts";

function resolverOf(servers: readonly (NameServer | number)[], options: Partial<ResolverOptions> = {}) {
  const messages: string[] = [];
  const resolver = new Resolver({
    servers: servers.map((server) => ({
      family: "ipv4",
      host: "127.0.0.1",
      port: typeof server === "number" ? server : server.port,
    })),
    valid: 0,
    ipv4: true,
    ipv6: false,
    log: (message) => messages.push(message),
    ...options,
  });
  const find = (name: string, timeout = 5000) =>
    new Promise<Resolution>((resolve) => resolver.resolve(name, timeout, resolve));
  /** Addresses, or the state. */
  const hosts = async (name: string, timeout?: number) => {
    const found = await find(name, timeout);
    return "state" in found
      ? found.state
      : found.addresses.map((address) => (address.family === "unix" ? "" : address.host)).join(" ");
  };
  return { resolver, hosts, messages };
}

/** Answers A questions with 10.0.0.1, and nothing else with anything. */
const plain = (t: TestContext) =>
  nameServer(t, ({ type }) => (type === TYPE.a ? { records: [a(60, "10.0.0.1")] } : {}));

test("names are asked for as they are: no search domain, no hosts file, no other spelling", async (t) => {
  const server = await plain(t);
  const { hosts } = resolverOf([server]);
  for (const name of ["localhost", "single", "Host_1.Test", "end.test."]) assert.equal(await hosts(name), "10.0.0.1");
  assert.deepEqual(
    server.questions.map(({ name }) => name),
    ["localhost", "single", "host_1.test", "end.test"],
  );
  for (const name of ["", ".", "a..b", "a b", "\xfc.test", "a\\.b.test", `${"x".repeat(64)}.t`, "x.".repeat(130)]) {
    assert.equal(await hosts(name), 3, JSON.stringify(name));
  }
  assert.equal(server.questions.length, 4);
});

test("what a server answers is the state, and is not kept", async (t) => {
  const codes: Record<string, number> = { failure: 2, gone: 3, unknown: 4, refused: 5, empty: 0 };
  const server = await nameServer(t, ({ name }) => ({ code: codes[name.split(".")[0]] }));
  const { hosts } = resolverOf([server]);
  for (const [name, code] of Object.entries(codes)) assert.equal(await hosts(`${name}.test`), code || 3, name);
  const before = server.questions.length;
  await hosts("gone.test");
  assert.equal(server.questions.length, before + 1);
});

test("an answer is kept as long as its least lifetime says, or as long as `valid`", async (t) => {
  const server = await nameServer(t, ({ name }) => ({
    records: [a(60, "10.0.0.1"), a(name === "short.test" ? 0 : 30, "10.0.0.2")],
  }));
  const own = resolverOf([server]);
  for (let i = 0; i < 3; i++) await own.hosts("long.test");
  assert.equal(server.questions.length, 1);
  for (let i = 0; i < 3; i++) await own.hosts("short.test");
  assert.equal(server.questions.length, 4);
  const valid = resolverOf([server], { valid: 60_000 });
  for (let i = 0; i < 3; i++) await valid.hosts("short.test");
  assert.equal(server.questions.length, 5);
});

test("an alias is followed, where the server has done so and where it has not; a loop of them ends", async (t) => {
  const server = await nameServer(t, ({ name }) => {
    if (name === "alias.test") return { records: [cname(60, "real.test")] };
    if (name.startsWith("loop")) return { records: [cname(60, name === "loop1.test" ? "loop2.test" : "loop1.test")] };
    return { records: [a(60, "10.0.0.9")] };
  });
  const { hosts } = resolverOf([server]);
  assert.equal(await hosts("alias.test"), "10.0.0.9");
  assert.equal(await hosts("loop1.test", 30_000), 3);
});

test("an alias that only the answer of one type has is followed, whatever the server says of type CNAME", async (t) => {
  const server = await nameServer(t, ({ name, type }) => {
    if (type === TYPE.cname) return { code: 3 };
    if (name === "real.test") return type === TYPE.a ? { records: [a(60, "10.0.0.9")] } : {};
    const has = name === "four.test" ? TYPE.a : TYPE.aaaa;
    if (name === "fails.test" && type === TYPE.aaaa) return { code: 2 };
    return type === has || name === "fails.test" ? { records: [cname(60, "Real.test")] } : {};
  });
  const { hosts } = resolverOf([server], { ipv6: true });
  const asked = async (name: string) => {
    const before = server.questions.length;
    const found = await hosts(name);
    const types = server.questions.slice(before).filter((question) => question.name === name);
    return [found, types.map(({ type }) => type)];
  };
  assert.deepEqual(await asked("six.test"), ["10.0.0.9", [TYPE.a, TYPE.aaaa]]);
  // Type AAAA is answered without an alias: in nginx that is the end of it, where it comes after type A.
  assert.deepEqual(await asked("four.test"), [3, [TYPE.a, TYPE.aaaa]]);
  assert.deepEqual(await asked("fails.test"), ["10.0.0.9", [TYPE.a, TYPE.aaaa]]);
});

test("an alias is kept as long as it says, or as long as `valid`", async (t) => {
  const server = await nameServer(t, ({ name, type }) => {
    if (type === TYPE.cname) return { code: 3 };
    if (name === "real.test") return { records: [a(600, "10.0.0.9")] };
    return { records: [cname(name === "short.test" ? 0 : 60, "real.test")] };
  });
  const of = (wanted: string) => server.questions.filter(({ name }) => name === wanted).length;
  const own = resolverOf([server]);
  for (let i = 0; i < 3; i++) assert.equal(await own.hosts("long.test"), "10.0.0.9");
  assert.equal(of("long.test"), 1);
  for (let i = 0; i < 3; i++) assert.equal(await own.hosts("short.test"), "10.0.0.9");
  assert.equal(of("short.test"), 3);
  const valid = resolverOf([server], { valid: 60_000 });
  for (let i = 0; i < 3; i++) assert.equal(await valid.hosts("short.test"), "10.0.0.9");
  assert.equal(of("short.test"), 4);
});

test("a server that cannot be reached is passed over, and a truncated answer asked for again over TCP", async (t) => {
  const server = await nameServer(t, () => ({ records: [a(60, "10.0.0.1")], truncated: true }));
  const { hosts } = resolverOf([await freePort(), server]);
  assert.equal(await hosts("long.test"), "10.0.0.1");
});

test("where no server can be reached the question waits for one until it is too late", async () => {
  const { hosts, messages } = resolverOf([await freePort()]);
  assert.equal(await hosts("a.test", 500), 110);
  assert.match(messages.join("\n"), /^no answer \(111: Connection refused\) while resolving a\.test$/);
});

test("a server that does not understand the query is passed over, and logged", async (t) => {
  const server = await nameServer(t, ({ name }) => ({ code: name === "code.test" ? 9 : 1, truncated: true }));
  const other = await nameServer(t, () => ({ records: [a(60, "10.0.0.1")], truncated: true }));
  const { hosts, messages } = resolverOf([server, other], { patience: 300, ipv6: true });
  assert.equal(await hosts("format.test"), "10.0.0.1");
  const asked = server.questions.filter(({ name }) => name === "format.test");
  assert.deepEqual(new Set(asked.map(({ type }) => type)), new Set([TYPE.a]), "who has answered is asked for AAAA too");
  await hosts("spare.test");
  assert.equal(await hosts("code.test"), "10.0.0.1");
  const text = messages.join("\n");
  assert.match(text, /^DNS error \(1: Format error\), query id:\d+, name:"format\.test"$/m);
  assert.match(text, /^DNS error \(9: Unknown error\), query id:\d+, name:"code\.test"$/m);
});

test("what is not the answer is not taken for it", async (t) => {
  const server = await nameServer(t, (_question, count) => ({
    records: [a(60, "10.0.0.1")],
    before: (_query, answer) => {
      const other = Buffer.from(answer);
      other[other.length - 1] = 66;
      other[0] ^= 1;
      const name = Buffer.from(answer);
      name[name.length - 1] = 66;
      name[13] ^= 3;
      const noise = Array.from({ length: 20 }, (_, i) => Buffer.concat([randomBytes(2), randomBytes(i * 8)]));
      return [other, name, Buffer.alloc(0), ...(count <= 2 ? noise : [])];
    },
  }));
  const { hosts } = resolverOf([server]);
  assert.equal(await hosts("a.test"), "10.0.0.1");
});

test("bytes of all kinds under the right number end nothing", async (t) => {
  const server = await nameServer(t, () => ({
    records: [randomBytes(40)],
    before: (query) => Array.from({ length: 10 }, (_, i) => Buffer.concat([query.subarray(0, 2), randomBytes(i * 12)])),
  }));
  const { resolver } = resolverOf([server]);
  const found = Array.from(
    { length: 50 },
    (_, i) => new Promise<Resolution>((resolve) => resolver.resolve(`n${i}.test`, 500, resolve)),
  );
  for (const each of await Promise.all(found)) assert.ok("state" in each || each.addresses.length > 0);
});

test("two hundred names are asked for over one socket, which goes when nobody waits", async (t) => {
  const server = await nameServer(t, () => undefined);
  const open = () => readdirSync("/proc/self/fd").length;
  const { resolver, messages } = resolverOf([server], { ipv6: true });
  const before = open();
  const lookups = Array.from({ length: 200 }, (_, i) => resolver.resolve(`n${i}.test`, 60_000, () => {}));
  await waitFor(() => (server.questions.length >= 200 ? true : undefined), "the questions");
  assert.ok(open() <= before + 2, `${open() - before} more descriptors`);
  for (const lookup of lookups) lookup.cancel();
  await waitFor(() => (open() === before ? true : undefined), "the socket's end");
  assert.equal(armedDeadlines(), 0);
  assert.deepEqual(messages, []);
});

test("a server that takes its time is waited for, however quick it was before", async (t) => {
  const server = await nameServer(t, ({ name }) => ({
    records: [a(60, "10.0.0.1")],
    ...(name === "slow.test" && { delay: 1500 }),
  }));
  const { hosts } = resolverOf([server]);
  for (const name of ["one.test", "two.test", "three.test", "four.test"]) assert.equal(await hosts(name), "10.0.0.1");
  assert.equal(await hosts("slow.test"), "10.0.0.1");
  assert.equal(server.questions.filter(({ name }) => name === "slow.test").length, 1);
});

test("those who ask for one name share the question; it goes on while one of them waits", async (t) => {
  let release = false;
  const server = await nameServer(t, (_question, count) => {
    if (!release) release = true;
    return count > 0 ? { records: [a(60, "10.0.0.1")] } : undefined;
  });
  const { resolver, hosts } = resolverOf([server]);
  const gone = [1, 2, 3].map(() => resolver.resolve("a.test", 1000, () => assert.fail("it has left")));
  const stays = hosts("a.test");
  for (const lookup of gone) lookup.cancel();
  assert.equal(await stays, "10.0.0.1");
  assert.equal(server.questions.length, 1);
});

test("a name that nobody waits for any more is asked for until the query would be repeated", async (t) => {
  const server = await nameServer(t, () => undefined);
  const { resolver } = resolverOf([server], { patience: 300 });
  const stays = resolver.resolve("stays.test", 60_000, () => {});
  resolver.resolve("left.test", 60_000, () => assert.fail("it has left")).cancel();
  const asked = (wanted: string) => server.questions.filter(({ name }) => name === wanted).length;
  await waitFor(() => (asked("stays.test") === 3 ? true : undefined), "the third query");
  assert.equal(asked("left.test"), 1);
  stays.cancel();
  assert.equal(armedDeadlines(), 0);
});

/** `priority weight name host:port …` of each record, or the state. */
async function placesOf(resolver: Resolver, name: string): Promise<readonly string[] | number> {
  const found = await new Promise<ServiceResolution>((done) => new ServiceLookup(resolver, name, 5000, done));
  if ("state" in found) return found.state;
  return found.places.map(({ record: { priority, weight, name: target }, found: addresses }) =>
    [priority, weight, target, ...(typeof addresses === "number" ? [addresses] : addresses.map(addressText))].join(" "),
  );
}

test("the servers of a service come with their priorities, weights and addresses, each name asked for once", async (t) => {
  const server = await nameServer(t, ({ name, type }) => {
    if (name === "alias.test") return { records: [cname(60, "_http._tcp.shop.test")] };
    if (name === "big.test") return { truncated: true, records: [srv(60, 1, 1, 80, "one.test")] };
    if (name === "_http._tcp.shop.test") {
      const records = [
        srv(60, 1, 5, 8080, "One.test"),
        srv(60, 2, 0, 8081, "two.test"),
        srv(60, 1, 5, 8082, "one.test"),
      ];
      return { records: [...records, srv(60, 3, 1, 8080, "lost.test")] };
    }
    if (type === TYPE.a && name !== "lost.test")
      return { records: [a(60, name === "one.test" ? "10.0.0.1" : "10.0.0.2")] };
    return { code: name.startsWith("fails") ? 2 : 3 };
  });
  const { resolver } = resolverOf([server]);
  const shop = ["1 5 one.test 10.0.0.1:8080", "2 0 two.test 10.0.0.2:8081", "1 5 one.test 10.0.0.1:8082"];
  assert.deepEqual(await placesOf(resolver, serviceName("http", "Shop.test.")), [...shop, "3 1 lost.test 3"]);
  assert.deepEqual(await placesOf(resolver, "alias.test"), [...shop, "3 1 lost.test 3"]);
  assert.deepEqual(await placesOf(resolver, "big.test"), ["1 1 one.test 10.0.0.1:80"], "over TCP");
  assert.equal(await placesOf(resolver, serviceName("_http._tcp", "gone.test")), 3);
  assert.equal(await placesOf(resolver, "fails.test"), 2);
  assert.equal(await placesOf(resolver, "a..b"), 3);
  const asked = (wanted: string) => server.questions.filter(({ name }) => name === wanted).length;
  assert.equal(asked("one.test"), 1);
  assert.equal(asked("lost.test"), 1, "a failure too is remembered for a while");
  assert.equal(armedDeadlines(), 0);
});

test("a service that is not answered for is given up in time", async (t) => {
  const server = await nameServer(t, ({ name }) =>
    name === "half.test" ? { records: [srv(60, 1, 1, 80, "mute.test")] } : undefined,
  );
  const { resolver } = resolverOf([server]);
  const find = (name: string, ms: number) =>
    new Promise<ServiceResolution>((done) => new ServiceLookup(resolver, name, ms, done));
  assert.deepEqual(await find("mute.test", 100), { state: 110 });
  const half = await find("half.test", 1000);
  assert.ok("places" in half);
  assert.deepEqual(
    half.places.map(({ found }) => found),
    [110],
  );
  assert.equal(armedDeadlines(), 0);
});
