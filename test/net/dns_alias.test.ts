import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { AliasQuestions } from "../../src/net/dns_alias.ts";
import { armedDeadlines } from "../../src/sys/timers.ts";
import type { Alias } from "../../src/wire/dns.ts";
import { cname, type NameServer, nameServer, TYPE } from "../support/dns.ts";
import { freePort } from "../support/ports.ts";
import { waitFor } from "../support/wait.ts";
import { UNUSABLE } from "../wire/dns_messages.ts";

/** ms; longer than any answer of a test takes. */
const LONG = 20_000;

function questionsTo(t: TestContext, servers: readonly (NameServer | number)[], patience: number) {
  const aliases = new AliasQuestions(
    servers.map((server) => ({
      family: "ipv4",
      host: "127.0.0.1",
      port: typeof server === "number" ? server : server.port,
    })),
    patience,
  );
  t.after(() => aliases.cancel());
  const ask = (name: string, type: number = TYPE.a, first = 0) =>
    new Promise<Alias | undefined>((resolve) => aliases.ask(name, type, first, resolve));
  return { aliases, ask };
}

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
  const { ask } = questionsTo(t, [server], LONG);
  assert.deepEqual(await ask("a.test"), { target: "b.test", ttl: 60 });
  assert.deepEqual(server.questions, [{ name: "a.test", type: TYPE.a }]);
});

test("a silent server is asked twice, then it is given up", async (t) => {
  const server = await nameServer(t, () => undefined);
  const { ask } = questionsTo(t, [server], 50);
  assert.equal(await ask("a.test"), undefined);
  await waitFor(() => (server.questions.length === 2 ? true : undefined), "the second question");
  assert.equal(armedDeadlines(), 0);
});

test("a server that lost the first question answers the second", async (t) => {
  const server = await nameServer(t, (_question, count) =>
    count === 2 ? { records: [cname(9, "b.test")] } : undefined,
  );
  const { ask } = questionsTo(t, [server], 1000);
  assert.deepEqual(await ask("a.test"), { target: "b.test", ttl: 9 });
});

test("a server that cannot be reached, or has no answer, is passed over", async (t) => {
  const refuses = await nameServer(t, () => ({ code: 5 }));
  const server = await nameServer(t, () => ({ records: [cname(9, "b.test")] }));
  const { ask } = questionsTo(t, [await freePort(), refuses, server], LONG);
  assert.deepEqual(await ask("a.test", TYPE.aaaa), { target: "b.test", ttl: 9 });
  assert.deepEqual(await ask("c.test", TYPE.aaaa, 2), { target: "b.test", ttl: 9 });
  assert.deepEqual(refuses.questions, [{ name: "a.test", type: TYPE.aaaa }]);
  assert.equal(server.questions.length, 2);
});

test("however many names, a server has one socket; it goes with the last of them", async (t) => {
  let answering = false;
  const server = await nameServer(t, () => (answering ? { records: [cname(9, "b.test")] } : undefined));
  const open = () => readdirSync("/proc/self/fd").length;
  const { aliases, ask } = questionsTo(t, [server], LONG);
  const before = open();
  for (let i = 0; i < 200; i++) aliases.ask(`n${i}.test`, TYPE.a, 0, () => assert.fail("given up"));
  await waitFor(() => (server.questions.length === 200 ? true : undefined), "the questions");
  assert.equal(open(), before + 1);
  aliases.cancel();
  await waitFor(() => (open() === before ? true : undefined), "the socket's end");
  assert.equal(armedDeadlines(), 0);
  answering = true;
  const found = await Promise.all(Array.from({ length: 20 }, (_, i) => ask(`m${i}.test`)));
  assert.ok(found.every((alias) => alias?.target === "b.test"));
  await waitFor(() => (open() === before ? true : undefined), "the socket's end");
  assert.equal(armedDeadlines(), 0);
});
