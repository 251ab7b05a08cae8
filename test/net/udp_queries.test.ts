import assert from "node:assert/strict";
import { createSocket, type RemoteInfo } from "node:dgram";
import { readdirSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { UdpQueries } from "../../src/net/udp_queries.ts";
import { armedDeadlines } from "../../src/sys/timers.ts";
import type { Answer } from "../../src/wire/dns.ts";
import { a, cname, type NameServer, nameServer, TYPE } from "../support/dns.ts";
import { freePort } from "../support/ports.ts";
import { waitFor } from "../support/wait.ts";
import { UNUSABLE } from "../wire/dns_messages.ts";

/** ms; longer than any answer of a test takes. */
const LONG = 20_000;

function queriesTo(t: TestContext, servers: readonly (NameServer | number)[], patience: number) {
  const queries = new UdpQueries(
    servers.map((server) => ({
      family: "ipv4",
      host: "127.0.0.1",
      port: typeof server === "number" ? server : server.port,
    })),
    patience,
  );
  const unreachable: string[] = [];
  /** `repeats`: how many times the query is sent again. */
  const ask = (name: string, type: number = TYPE.a, first = 0, repeats = Number.POSITIVE_INFINITY) => {
    let left = repeats;
    return new Promise<Answer | undefined>((resolve) => {
      const query = queries.ask(name, type, first, {
        answered: resolve,
        misunderstood: () => {},
        unreachable: (code) => unreachable.push(code),
        unanswered(same) {
          assert.equal(same, query);
          if (left-- > 0) return query.repeat();
          query.cancel();
          resolve(undefined);
        },
      });
      t.after(() => query.cancel());
    });
  };
  return { queries, ask, unreachable };
}

const open = () => readdirSync("/proc/self/fd").length;

test("what is no answer is passed over, and the answer after it taken", async (t) => {
  const server = await nameServer(t, () => ({
    records: [cname(60, "b.test")],
    before: (query) =>
      Object.entries(UNUSABLE).map(([kind, bytes]) => {
        if (bytes.length < 2) return bytes;
        const sent = Buffer.from(bytes);
        query.copy(sent, 0, 0, 2);
        if (kind === "another id") sent[0] ^= 1;
        return sent;
      }),
  }));
  const { ask } = queriesTo(t, [server], LONG);
  assert.equal((await ask("a.test"))?.cname, "b.test");
  assert.deepEqual(server.questions, [{ name: "a.test", type: TYPE.a }]);
});

test("a query without an answer is sent again as long as it is wanted", async (t) => {
  const server = await nameServer(t, () => undefined);
  const { ask } = queriesTo(t, [server], 50);
  const before = open();
  assert.equal(await ask("a.test", TYPE.a, 0, 2), undefined);
  await waitFor(() => (server.questions.length === 3 ? true : undefined), "the third query");
  await waitFor(() => (open() === before ? true : undefined), "the socket's end");
  assert.equal(armedDeadlines(), 0);
});

test("a server that lost the first query answers the second", async (t) => {
  const server = await nameServer(t, (_question, count) => (count === 2 ? { records: [a(9, "10.0.0.1")] } : undefined));
  const { ask } = queriesTo(t, [server], 50);
  assert.equal((await ask("a.test"))?.ttl, 9);
});

test("a query goes to one server after the other under one id, and counts though answered late", async (t) => {
  const received: Buffer[] = [];
  let first: RemoteInfo | undefined;
  const slow = createSocket("udp4");
  const mute = createSocket("udp4");
  for (const socket of [slow, mute]) {
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    t.after(() => socket.close());
  }
  slow.on("message", (bytes, from) => {
    received.push(bytes);
    first ??= from;
  });
  mute.on("message", (bytes) => {
    received.push(bytes);
    if (first === undefined) return;
    const answer = Buffer.concat([bytes, a(9, "10.0.0.1")]);
    answer.writeUInt16BE(0x8180, 2);
    answer.writeUInt16BE(1, 6);
    slow.send(answer, first.port, first.address);
  });
  const { ask } = queriesTo(t, [slow.address().port, mute.address().port], 50);
  assert.equal((await ask("a.test"))?.ttl, 9);
  assert.deepEqual(received[0], received[1]);
});

test("a server that cannot be reached is passed over, and an error code is an answer", async (t) => {
  const refuses = await nameServer(t, () => ({ code: 5 }));
  const server = await nameServer(t, () => ({ records: [cname(9, "b.test")] }));
  const { ask, unreachable } = queriesTo(t, [await freePort(), refuses, server], LONG);
  assert.equal((await ask("a.test", TYPE.aaaa))?.code, 5);
  assert.equal((await ask("c.test", TYPE.aaaa, 2))?.cname, "b.test");
  assert.deepEqual(refuses.questions, [{ name: "a.test", type: TYPE.aaaa }]);
  assert.equal(server.questions.length, 1);
  assert.deepEqual(unreachable, []);
});

test("that no server can be reached is said once in a round", async (t) => {
  const { ask, unreachable } = queriesTo(t, [await freePort(), await freePort()], LONG);
  void ask("a.test");
  await waitFor(() => (unreachable.length > 0 ? true : undefined), "the error");
  assert.deepEqual(unreachable, ["ECONNREFUSED"]);
});

test("however many names, a server has one socket; it goes with the last of them", async (t) => {
  let answering = false;
  const server = await nameServer(t, () => (answering ? { records: [a(9, "10.0.0.1")] } : undefined));
  const { queries, ask } = queriesTo(t, [server], LONG);
  const before = open();
  const never = () => assert.fail("not answered, nor repeated");
  const asker = { answered: never, misunderstood: never, unanswered: never, unreachable: never };
  const pending = Array.from({ length: 200 }, (_, i) => queries.ask(`n${i}.test`, TYPE.a, 0, asker));
  await waitFor(() => (server.questions.length === 200 ? true : undefined), "the queries");
  assert.equal(open(), before + 1);
  for (const query of pending) query.cancel();
  await waitFor(() => (open() === before ? true : undefined), "the socket's end");
  assert.equal(armedDeadlines(), 0);
  answering = true;
  const found = await Promise.all(Array.from({ length: 20 }, (_, i) => ask(`m${i}.test`)));
  assert.ok(found.every((answer) => answer?.addresses.length === 1));
  await waitFor(() => (open() === before ? true : undefined), "the socket's end");
  assert.equal(armedDeadlines(), 0);
});

test("an exception of who asked ends his query only", async (t) => {
  const server = await nameServer(t, () => ({ records: [a(9, "10.0.0.1")] }));
  const { queries, ask } = queriesTo(t, [server], LONG);
  const before = open();
  const fault = await new Promise<unknown>((resolve) => {
    const asker = {
      answered: () => assert.fail("thrown"),
      misunderstood: () => {},
      unanswered: () => {},
      unreachable: () => {},
      onFault: resolve,
    };
    queries.ask("a.test", TYPE.a, 0, asker);
  });
  assert.match(String(fault), /thrown/);
  assert.equal((await ask("b.test"))?.ttl, 9);
  await waitFor(() => (open() === before ? true : undefined), "the socket's end");
  assert.equal(armedDeadlines(), 0);
});
