import assert from "node:assert/strict";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { makePrefix, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get, RawConnection, type Target } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Listening sockets open once, and none closes while somebody waits in its queue. */

/** What became of one connection with one request: the answer's body, or the code of the error. */
function visit(target: Target): Promise<string> {
  return new Promise((resolve) => {
    const options = typeof target === "number" ? { host: "127.0.0.1", port: target } : { path: target };
    let received = "";
    const socket = connect(options, () => socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    socket.on("data", (bytes) => {
      received += bytes.toString("latin1");
    });
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "error"));
    socket.on("close", () => resolve(received === "" ? "closed" : received.slice(received.indexOf("\r\n\r\n") + 4)));
  });
}

/** Visitors that come one after the other, several at once, until they are told to stop. */
class Visitors {
  /** How often which outcome was seen. */
  readonly seen = new Map<string, number>();
  #stopped = false;
  readonly #all: Promise<unknown>;

  constructor(target: Target, atOnce: number) {
    this.#all = Promise.all(Array.from({ length: atOnce }, () => this.#come(target)));
  }

  async #come(target: Target): Promise<void> {
    while (!this.#stopped) {
      const outcome = await visit(target);
      this.seen.set(outcome, this.#count(outcome) + 1);
    }
  }

  #count(outcome: string): number {
    return this.seen.get(outcome) ?? 0;
  }

  get outcomes(): string[] {
    return [...this.seen.keys()].sort();
  }

  /** Resolves when so many more have had that outcome. */
  async more(outcome: string, count: number): Promise<void> {
    const until = this.#count(outcome) + count;
    await waitFor(() => this.#count(outcome) >= until, `${count} times ${outcome}`);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#all;
  }
}

const config = (workers: number, ...listen: readonly string[]) => `worker_processes ${workers}; http { access_log off;
  server { ${listen.map((on) => `listen ${on};`).join(" ")} location / { return 200 served; } } }`;

test("a port opens once: who asks for it from before the start meets the one that serves, or nobody", async (t) => {
  let early: Visitors | undefined;
  const holdfast = await startHoldfast(t, {
    config: ([port]) => {
      early = new Visitors(port, 12);
      return config(2, `127.0.0.1:${port}`);
    },
  });
  assert.ok(early !== undefined);
  await early.more("served", 20);
  await early.stop();
  assert.deepEqual(early.outcomes, ["ECONNREFUSED", "served"]);
  assert.equal(holdfast.exit, undefined);
});

test("workers come and go by reload while connections pour in, and none is lost", async (t) => {
  const holdfast = await startHoldfast(t, { config: ([port]) => config(4, `127.0.0.1:${port}`) });
  const visitors = new Visitors(holdfast.port, 40);
  t.after(() => visitors.stop());
  for (const workers of [1, 3, 1, 4, 2]) {
    await visitors.more("served", 200);
    assert.equal(await holdfast.reload(config(workers, `127.0.0.1:${holdfast.port}`)), true);
  }
  await visitors.more("served", 200);
  await visitors.stop();
  assert.deepEqual(visitors.outcomes, ["served"]);
  assert.doesNotMatch(holdfast.errorLog(), /\[(warn|crit|alert|emerg)\]/);
});

test("an address that a reload takes away serves who is connected, and refuses who comes later", async (t) => {
  const all = (ports: readonly number[]) => config(3, ...ports.slice(0, 2).map((port) => `127.0.0.1:${port}`));
  const holdfast = await startHoldfast(t, { config: all });
  const [kept, gone] = holdfast.ports;
  for (const workers of [1, 2, 3]) {
    const visitors = new Visitors(gone, 20);
    await visitors.more("served", 100);
    assert.equal(await holdfast.reload(config(workers, `127.0.0.1:${kept}`)), true);
    await visitors.more("ECONNREFUSED", 20);
    await visitors.stop();
    assert.deepEqual(visitors.outcomes, ["ECONNREFUSED", "served"]);
    assert.equal(await holdfast.reload(all(holdfast.ports)), true);
    assert.equal((await get(gone, "/")).body, "served");
  }
});

test("SIGQUIT serves who is connected, also on a unix socket, and refuses who comes later", async (t) => {
  const holdfast = await startHoldfast(t, { config: ([port]) => config(1, `127.0.0.1:${port}`) });
  const path = join(holdfast.prefix, "logs/local.sock");
  assert.equal(await holdfast.reload(config(2, `127.0.0.1:${holdfast.port}`, `unix:${path}`)), true);
  const visitors = new Visitors(holdfast.port, 20);
  const local = new Visitors(path, 20);
  await Promise.all([visitors.more("served", 100), local.more("served", 100)]);
  holdfast.signal("SIGQUIT");
  await Promise.all([visitors.more("ECONNREFUSED", 20), local.more("ENOENT", 20)]);
  await Promise.all([visitors.stop(), local.stop()]);
  assert.deepEqual(visitors.outcomes, ["ECONNREFUSED", "served"]);
  assert.deepEqual(local.outcomes, ["ENOENT", "served"]);
  assert.equal(await holdfast.exited, 0);
});

for (const [kind, answered] of [
  ["return 200 served;", /^HTTP\/1\.1 200 .*\r\n\r\nserved$/s],
  ["proxy_pass http://BACKEND;", /^HTTP\/1\.1 (200|50[02]) /],
] as const) {
  test(`out of descriptors, those who come wait, and are answered (${kind})`, async (t) => {
    const backend = await httpBackend(t, (_request, response) => response.end("served"));
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `worker_rlimit_nofile 100; http {
        server { listen 127.0.0.1:${port}; location / { ${kind.replace("BACKEND", backend.address)} } } }`,
    });
    const clients = await Promise.all(Array.from({ length: 150 }, () => RawConnection.open(holdfast.port)));
    t.after(() => {
      for (const client of clients) client.close();
    });
    await holdfast.waitForLog(
      /\[crit\] [^\n]*accept4\(\) failed \(24: Too many open files\) while accepting new connection on 127\.0\.0\.1:/,
    );
    for (const client of clients) client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const answers = await Promise.all(clients.map((client) => client.readAll()));
    for (const answer of answers) assert.match(answer, answered);
    for (const { error } of clients) assert.equal(error, undefined);
  });
}

test("out of descriptors for clients that stay, those who come wait until places are free", async (t) => {
  // Long enough to be looked for descriptors more often than there are reserved ones.
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; worker_rlimit_nofile 64; http { keepalive_timeout 5s;
      server { listen 127.0.0.1:${port}; location / { return 200 served; } } }`,
  });
  const clients = await Promise.all(Array.from({ length: 50 }, () => RawConnection.open(holdfast.port)));
  t.after(() => {
    for (const client of clients) client.close();
  });
  for (const client of clients) client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const answers = await Promise.all(clients.map((client) => client.readResponse()));
  for (const { body } of answers) assert.equal(body, "served");
  assert.match(holdfast.errorLog(), /\[crit\] [^\n]*accept4\(\) failed \(24: Too many open files\)/);
});

test("of two that are started at the same time on a port or a path one serves, the other says that it is in use", async (t) => {
  const port = await freePort();
  const path = join(makePrefix(t), "local.sock");
  const start = (name: string, on: string) =>
    startHoldfast(t, { config: config(2, on).replace("served", name) }).then(
      () => name,
      (error: Error) => error.message,
    );
  const startTwo = async (target: Target, on: string) => {
    const said = await Promise.all([start("one", on), start("other", on)]);
    const refused = said.filter((text) => text.includes(`bind() to ${on} failed (98: Address already in use)`));
    assert.equal(refused.length, 1, said.join("\n"));
    assert.deepEqual(
      said.filter((text) => !refused.includes(text)),
      [await visit(target)],
    );
  };
  await Promise.all([startTwo(port, `127.0.0.1:${port}`), startTwo(path, `unix:${path}`)]);
});
