import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { readdirSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { type Alias, AliasQuestions, encodeQuestion, readAlias } from "../../src/net/dns_alias.ts";
import { armedDeadlines } from "../../src/sys/timers.ts";
import { a, cname, type NameServer, nameServer, TYPE } from "../support/dns.ts";
import { freePort } from "../support/ports.ts";
import { waitFor } from "../support/wait.ts";

const LINUX = process.platform === "linux" ? false : "descriptors are counted in /proc";
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

const QUESTION = encodeQuestion("a.test", TYPE.a);

/** An answer to QUESTION. */
function answer(records: readonly Buffer[], flags = 0x8180): Buffer {
  const bytes = Buffer.concat([QUESTION, ...records]);
  bytes.writeUInt16BE(flags, 2);
  bytes.writeUInt16BE(records.length, 6);
  return bytes;
}

/** A CNAME record of a.test with these bytes for its target. */
function target(...data: readonly number[]): Buffer {
  return Buffer.from([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, data.length, ...data]);
}

const read = (bytes: Buffer) => readAlias(bytes, QUESTION, "a.test");
/** Where the data of an answer's first record begins. */
const DATA = QUESTION.length + 12;

test("the CNAME of the name is read, with pointers, in whatever case, among other records", () => {
  assert.deepEqual(read(answer([cname(60, "Real.Test")])), { target: "real.test", ttl: 60 });
  assert.deepEqual(read(answer([target(1, 98, 0xc0, 14)])), { target: "b.test", ttl: 60 });
  const otherOwner = cname(60, "b.test");
  otherOwner[1] = 14;
  assert.deepEqual(read(answer([otherOwner, a(1, "10.0.0.1"), cname(7, "c.test")])), { target: "c.test", ttl: 7 });
  assert.equal(read(answer([otherOwner])), "none");
  const shouted = answer([cname(60, "b.test")]);
  shouted[13] = 65;
  assert.deepEqual(read(shouted), { target: "b.test", ttl: 60 });
  const long = cname(60, "b.test");
  long[6] = 0x80;
  assert.deepEqual(read(answer([long])), { target: "b.test", ttl: 0 }, "RFC 2181 section 8");
  assert.deepEqual(read(answer([cname(60, "b.test")], 0x8380)), { target: "b.test", ttl: 60 }, "cut off after it");
});

test("an answer without the alias is told from a failure", () => {
  assert.equal(read(answer([])), "none");
  assert.equal(read(answer([], 0x8183)), "none");
  assert.equal(read(answer([], 0x8182)), "failed");
  assert.equal(read(answer([], 0x8185)), "failed");
});

const good = answer([cname(60, "b.test")]);
const changed = (at: number, value: number) => {
  const bytes = Buffer.from(good);
  bytes[at] = value;
  return bytes;
};

const UNUSABLE: Readonly<Record<string, Buffer>> = {
  empty: Buffer.alloc(0),
  "another id": changed(1, 1),
  "a question": changed(2, 1),
  "another operation": changed(2, 0x89),
  "no question": changed(5, 0),
  "another name": changed(13, 98),
  "another type": changed(21, 28),
  "cut off in the record": good.subarray(0, good.length - 1),
  "cut off in the question": good.subarray(0, 20),
  "fewer records than said": changed(7, 2).subarray(0, good.length - 2),
  "said to be truncated": answer([], 0x8380),
  "a pointer to itself": answer([target(0xc0, DATA)]),
  "pointers in a circle": answer([target(0xc0, DATA + 2, 0xc0, DATA)]),
  "a pointer before its own name": answer([target(1, 98, 0xc0, DATA)]),
  "a pointer forward": answer([target(0xc0, DATA + 2, 1, 98, 0)]),
  "a pointer into the header": answer([target(0xc0, 0)]),
  "half a pointer": answer([target(1, 98, 0xc0)]),
  "a label of a reserved kind": answer([target(0x41, 98, 0)]),
  "a label beyond the end": answer([target(60, 98, 0)]),
  "a dot within a label": answer([target(3, 98, 46, 98, 0)]),
  "a name without its end": answer([target(1, 98)]),
  "bytes after the name": answer([target(1, 98, 0, 0)]),
  "a name too long": answer([target(...Array.from({ length: 60 }, () => [4, 98, 98, 98, 98]).flat(), 0)]),
};

for (const [kind, bytes] of Object.entries(UNUSABLE)) {
  test(`no answer: ${kind}`, () => assert.equal(read(bytes), undefined));
}

test("bytes of all kinds end nothing", () => {
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.concat([good, randomBytes(randomInt(20))]);
    for (let n = randomInt(1, 6); n > 0; n--) bytes[randomInt(6, bytes.length)] = randomInt(256);
    read(bytes.subarray(0, randomInt(bytes.length)));
  }
});

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

test("however many names, a server has one socket; it goes with the last of them", { skip: LINUX }, async (t) => {
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
