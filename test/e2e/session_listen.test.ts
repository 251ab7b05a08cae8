import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { certificateDirectory, createCertificate, noOpenssl } from "../support/certificates.ts";
import { have } from "../support/have.ts";
import { type ProgramOptions, type Running, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { workersOf } from "../support/processes.ts";
import { RawConnection, type Target } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** `session_listen`: session zones in memcached's protocol. */

interface ListenOptions extends Omit<ProgramOptions, "config"> {
  readonly listen?: string;
  readonly zone?: string;
  readonly workers?: number;
}

function configOf({ listen = ";", zone = "8m", workers = 2 }: ListenOptions) {
  return ([port, other]: readonly number[]): string =>
    `user root; worker_processes ${workers}; http { session_zone carts:${zone};
      session_listen 127.0.0.1:${port} zone=carts ${listen}
      server { listen 127.0.0.1:${other}; location / { return 204; } } }`;
}

function start(t: TestContext, options: ListenOptions = {}): Promise<Running> {
  return startHoldfast(t, { ...options, config: configOf(options) });
}

/** The answers to commands that begin with `\r\n`-terminated lines, up to that of a last `mn`. */
async function ask(target: Target | RawConnection, commands: string): Promise<string> {
  const connection = target instanceof RawConnection ? target : await RawConnection.open(target);
  connection.write(`${commands}mn\r\n`);
  const answer = await connection.until((received) => received.endsWith("MN\r\n"));
  connection.received = "";
  if (connection !== target) connection.close();
  return answer.slice(0, -"MN\r\n".length);
}

test("memccapable finds memcached's text protocol whole", { skip: have("memccapable") }, async (t) => {
  const { port } = await start(t, { zone: "8m max_size=1m" });
  const { stdout } = spawnSync("memccapable", ["-h", "127.0.0.1", "-p", String(port), "-a"], { encoding: "utf8" });
  assert.match(stdout, /All tests passed/);
});

test("numbers are counted exactly by all workers, and nothing is lost when all are killed", async (t) => {
  let holdfast = await start(t);
  await ask(holdfast.port, "set n 7 0 1\r\n0\r\n");
  const clients = await Promise.all(Array.from({ length: 8 }, () => RawConnection.open(holdfast.port)));
  await Promise.all(clients.map((client) => ask(client, "incr n 1\r\nget n\r\n".repeat(50))));
  assert.equal(await ask(holdfast.port, "get n\r\n"), "VALUE n 7 3\r\n400\r\nEND\r\n");
  for (const client of clients) client.close();
  for (const worker of workersOf(holdfast.pid)) process.kill(worker, "SIGKILL");
  await holdfast.stop("SIGKILL");
  holdfast = await startHoldfast(t, { config: configOf({}), prefix: holdfast.prefix });
  assert.equal(await ask(holdfast.port, "get n\r\n"), "VALUE n 7 3\r\n400\r\nEND\r\n");
});

test("who asks for very many keys at once leaves others their turn", async (t) => {
  const holdfast = await start(t, { workers: 1 });
  const [many, other] = [await RawConnection.open(holdfast.port), await RawConnection.open(holdfast.port)];
  await ask(other, "set k 0 0 1\r\nv\r\n");
  const keys = " x".repeat(300_000);
  many.write(`get${keys} k`);
  await waitFor(async () => {
    const [, read] = /STAT bytes_read (\d+)/.exec(await ask(other, "stats\r\n")) ?? [];
    return Number(read) > keys.length;
  });
  many.write("\r\n");
  assert.equal(await ask(other, "get k\r\n"), "VALUE k 0 1\r\nv\r\nEND\r\n");
  assert.equal(many.received, "");
  assert.equal(await many.until((received) => received.endsWith("END\r\n")), "VALUE k 0 1\r\nv\r\nEND\r\n");
});

test("of those who compare and set, one wins", async (t) => {
  const { port } = await start(t);
  await ask(port, "set a 0 0 1\r\nx\r\n");
  const [, cas] = /VALUE a 0 1 (\d+)/.exec(await ask(port, "gets a\r\n")) ?? [];
  const clients = await Promise.all(Array.from({ length: 8 }, () => RawConnection.open(port)));
  const answers = await Promise.all(clients.map((client) => ask(client, `cas a 0 0 1 ${cas}\r\ny\r\n`)));
  for (const client of clients) client.close();
  assert.deepEqual(answers.sort(), [...Array.from({ length: 7 }, () => "EXISTS\r\n"), "STORED\r\n"]);
});

test("an item ends when its time is over, and all at flush_all", async (t) => {
  const { port } = await start(t);
  await ask(port, "set a 0 2 1\r\nx\r\nset b 0 -1 1\r\nx\r\nset c 0 0 1\r\nx\r\n");
  assert.match(await ask(port, "mg a t\r\nget b\r\n"), /^HD t[12]\r\nEND\r\n$/);
  await waitFor(async () => (await ask(port, "get a\r\n")) === "END\r\n", "the end of an item");
  assert.equal(
    await ask(port, "get c\r\nflush_all\r\nget c\r\nadd c 0 0 1\r\ny\r\n"),
    "VALUE c 0 1\r\nx\r\nEND\r\nOK\r\nEND\r\nSTORED\r\n",
  );
});

test("who is not allowed is refused, and who is one too many is told so", async (t) => {
  const denied = await start(t, { listen: "{ allow 192.0.2.0/24; deny 127.0.0.1; }" });
  const client = await RawConnection.open(denied.port);
  assert.equal(await client.readAll(), "");
  await denied.waitForLog(
    /\[error\] [^\n]*: \*1 access forbidden by rule, client: 127\.0\.0\.1, server: 127\.0\.0\.1:\d+/,
  );
  const { port } = await start(t, { listen: "max_connections=2;" });
  const clients = [await RawConnection.open(port), await RawConnection.open(port)];
  for (const one of clients) await ask(one, "version\r\n");
  const third = await RawConnection.open(port);
  assert.equal(await third.readAll(), "ERROR Too many open connections\r\n");
  clients[0].close();
  await waitFor(
    async () => (await ask(clients[1], "stats\r\n")).includes("STAT curr_connections 1\r\n"),
    "room for one",
  );
  assert.equal(await ask(port, "version\r\n"), "VERSION 1.6.18\r\n");
  assert.match(await ask(clients[1], "stats\r\n"), /STAT rejected_connections 1\r\n/);
});

test("connections outlive a reload, but not their address", async (t) => {
  const holdfast = await start(t, { listen: ";" });
  const { ports, prefix } = holdfast;
  const client = await RawConnection.open(holdfast.port);
  await ask(client, "set a 0 0 1\r\nx\r\n");
  const path = join(prefix, "items.sock");
  const moved = configOf({ listen: `max_connections=5; session_listen unix:${path} zone=carts;` })(ports);
  assert.ok(await holdfast.reload(moved));
  assert.equal(await ask(client, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
  assert.match(await ask(client, "stats\r\n"), /STAT max_connections 5\r\n/);
  assert.equal(await ask(path, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
  assert.ok(await holdfast.reload(moved.replace(/session_listen 127[^;]*;/, "")));
  assert.equal(await client.readAll(), "");
  assert.equal(await ask(path, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
});

test("a value that is not read is not held in memory, and its reader is let go", async (t) => {
  const holdfast = await start(t, { zone: "8m max_size=256k", listen: "timeout=3s;", workers: 1 });
  const client = await RawConnection.open(holdfast.port);
  const value = "v".repeat(200_000);
  await ask(client, `set a 0 0 ${value.length}\r\n${value}\r\n`);
  client.socket.pause();
  client.write("get a a a a a a a a a a\r\n".repeat(200));
  await holdfast.waitForLog(/\[info\] [^\n]*client timed out \(110: Connection timed out\), client: 127\.0\.0\.1/);
  client.close();
  assert.equal(await ask(holdfast.port, "version\r\n"), "VERSION 1.6.18\r\n");
});

test("who sends a command too slowly, or asks for nothing, is let go", async (t) => {
  const { port } = await start(t, { listen: "timeout=300ms idle_timeout=600ms;" });
  const slow = await RawConnection.open(port);
  slow.write("set a 0 0 10\r\nabc");
  assert.equal(await slow.readAll(), "");
  const idle = await RawConnection.open(port);
  assert.equal(await idle.readAll(), "");
});

test("a flood of commands is answered whole and in order", async (t) => {
  const { port } = await start(t);
  const client = await RawConnection.open(port);
  const count = 5000;
  const commands = Array.from(
    { length: count },
    (_, i) => `set k${i % 50} 0 0 5\r\n${String(i).padStart(5, "0")}\r\nmg k${i % 50} v\r\n`,
  );
  client.write(`${commands.join("")}mn\r\n`);
  const all = await client.until((received) => received.endsWith("MN\r\n"), 60_000);
  const expected = Array.from({ length: count }, (_, i) => `STORED\r\nVA 5\r\n${String(i).padStart(5, "0")}\r\n`);
  assert.equal(all, `${expected.join("")}MN\r\n`);
  client.close();
});

test("over TLS, where clients must show a certificate of ours", { skip: noOpenssl }, async (t) => {
  const directory = certificateDirectory(t);
  const server = createCertificate(directory, "server");
  const client = createCertificate(directory, "client");
  const { port } = await start(t, {
    listen: `ssl { ssl_certificate ${server.certificateFile}; ssl_certificate_key ${server.keyFile};
      ssl_client_certificate ${client.certificateFile}; }`,
  });
  const known = await RawConnection.openTls(port, { cert: client.certificate, key: client.key });
  assert.equal(await ask(known, "set a 0 0 1\r\nx\r\nget a\r\n"), "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
  known.close();
  const stranger = await RawConnection.openTls(port);
  stranger.write("get a\r\n");
  assert.equal(await stranger.readAll(), "");
  const plain = await RawConnection.open(port);
  plain.write("get a\r\n");
  assert.equal(await plain.readAll(), "");
});

test("what a configuration says wrongly is told", async (t) => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ["session_listen 127.0.0.1;", /invalid number of arguments in "session_listen" directive/],
    ["session_listen 127.0.0.1 zone=none;", /session zone "none" is not defined/],
    ["session_listen 127.0.0.1 ssl;", /"session_listen" must have "zone" parameter/],
    ["session_listen 127.0.0.1 zone=carts protocol=redis;", /unknown protocol "redis", it must be memcached/],
    ["session_listen 127.0.0.1 zone=carts ssl;", /no "ssl_certificate" is defined for a "session_listen" with ssl/],
    ["session_listen 127.0.0.1 zone=carts default_server;", /invalid parameter "default_server"/],
    [
      "session_listen 127.0.0.1:99999 zone=carts;",
      /invalid port in "127.0.0.1:99999" of the "session_listen" directive/,
    ],
    [
      "session_listen 127.0.0.1:1 zone=carts; session_listen 127.0.0.1:1 zone=carts;",
      /a duplicate listen 127\.0\.0\.1:1/,
    ],
  ];
  for (const [line, sentence] of cases) {
    const { stderr, code } = await runHoldfast(t, { args: ["-t"], config: `http { session_zone carts:8m; ${line} }` });
    assert.equal(code, 1, line);
    assert.match(stderr, sentence);
  }
  const open = await runHoldfast(t, {
    args: ["-t"],
    config: "http { session_zone carts:8m; session_listen 0.0.0.0:11211 zone=carts; }",
  });
  assert.match(
    open.stderr,
    /\[warn\][^\n]*"session_listen" lets any client at 0\.0\.0\.0:11211: there is no "allow" or "deny"/,
  );
});
