/** Clients over TLS that do what they should not, or go away, while good ones are served. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openFilesLimit, setLimit } from "../../src/sys/limits.ts";
import { SslConnection } from "../../src/sys/openssl/ssl.ts";
import { noOpenssl, selfSigned } from "../support/certificates.ts";
import { finish, type Running, startHoldfast } from "../support/holdfast.ts";
import { startLoad } from "../support/load.ts";
import { Chance, mutated, pieces } from "../support/mutations.ts";
import { childrenOf, memoryOf, openBy, workersOf } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { decrypted, encrypted, outputOf, tlsContext } from "../support/tls_memory.ts";
import { PATIENCE_MS, waitFor } from "../support/wait.ts";

const MUTATIONS = Math.ceil(Number(process.env.HOLDFAST_CHAOS_MUTATIONS ?? 3000) / 10);
const SLOW = slowHandshakes(Number(process.env.HOLDFAST_CHAOS_SLOW ?? 2000));
const skip = noOpenssl;

/** Fewer where the system's hard limit is lower and cannot be raised. */
function slowHandshakes(wanted: number): number {
  const spare = 1000;
  return setLimit("RLIMIT_NOFILE", wanted + spare) === undefined ? wanted : Math.min(wanted, openFilesLimit() - spare);
}

const LARGE = Buffer.alloc(20_000_000, "0123456789abcdefghijklmnopqrstuvwxyz");

interface Site {
  readonly holdfast: Running;
  readonly port: number;
  /** What no client has left behind: only who asks is connected, and descriptors are as at the start. */
  settled(): Promise<void>;
}

/** `times`: of everything that a client may be slow with. */
async function site(t: TestContext, { times = "60s", main = "", engine = "" } = {}): Promise<Site> {
  const { certificate, key } = selfSigned("one.example");
  const holdfast = await startHoldfast(t, {
    files: { "conf/cert.pem": certificate, "conf/cert.key": key, "html/large": LARGE, "html/small": "here" },
    config: ([port, status]) => `worker_processes 1; ${main}
      events { ${engine} worker_connections ${SLOW + 1000}; }
      http { access_log off; client_header_timeout ${times}; send_timeout ${times}; keepalive_timeout ${times};
        client_body_timeout ${times}; lingering_timeout 1s; keepalive_requests 1000000; root html;
        server { listen 127.0.0.1:${port} ssl backlog=4096; ssl_certificate cert.pem; ssl_certificate_key cert.key; location / {} }
        server { listen 127.0.0.1:${status}; keepalive_timeout 0; location / { stub_status; } } }`,
  });
  const { port, ports, pid } = holdfast;
  const descriptors = (): number => childrenOf(pid).reduce((sum, child) => sum + openBy(child).length, 0);
  // What is opened once.
  assert.equal((await small(port)).body, "here");
  const alone = async (): Promise<boolean> => /Active connections: 1 \n/.test((await get(ports[1], "/")).body);
  await waitFor(alone, "the end of the first connection");
  const before = descriptors();
  return {
    holdfast,
    port,
    async settled() {
      await waitFor(alone, "all connections to be closed", 2 * PATIENCE_MS);
      await waitFor(() => descriptors() <= before, `${before} descriptors`);
      assert.doesNotMatch(holdfast.errorLog(), /exception|\[(alert|emerg)\]/);
    },
  };
}

async function small(port: number): Promise<{ readonly body: string }> {
  const connection = await RawConnection.openTls(port);
  connection.write("GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  const response = await connection.readResponse();
  connection.close();
  return response;
}

/** The flights of a client, each when the server has answered the last, as OpenSSL makes them. */
class Client {
  readonly ssl: SslConnection;
  readonly connection: RawConnection;

  constructor(t: TestContext, connection: RawConnection, version: "TLSv1.2" | "TLSv1.3" = "TLSv1.3") {
    this.ssl = new SslConnection(tlsContext("client", { protocols: new Set([version] as const) }).ssl, "client");
    this.connection = connection;
    t.after(() => this.ssl.free());
  }

  static async open(t: TestContext, port: number, version?: "TLSv1.2" | "TLSv1.3"): Promise<Client> {
    return new Client(t, await RawConnection.open(port), version);
  }

  hello(): Buffer {
    this.ssl.handshake();
    return outputOf(this.ssl);
  }

  /** What has come from the server. */
  async answer(): Promise<Buffer> {
    await this.connection.until((received) => received.length > 0);
    const { received } = this.connection;
    this.connection.received = "";
    return Buffer.from(received, "latin1");
  }

  /** Until both have agreed. */
  async agree(): Promise<void> {
    for (;;) {
      const agreed = this.ssl.handshake() === 0;
      const flight = outputOf(this.ssl);
      if (flight.length > 0) this.connection.write(flight);
      if (agreed) return;
      const answer = await this.answer();
      if (answer.length === 0) throw new Error("closed within the handshake");
      this.ssl.receive(answer);
    }
  }

  /** What the server says until it closes, decrypted. */
  async last(): Promise<string> {
    return decrypted(this.ssl, Buffer.from(await this.connection.readAll(), "latin1"));
  }
}

const REQUEST = "GET /small HTTP/1.1\r\nHost: a\r\n\r\n";

for (const engine of ["io_uring", "node"]) {
  test(`${MUTATIONS} changed handshakes over sockets, while others work (${engine})`, { skip }, async (t) => {
    const { holdfast, port, settled } = await site(t, { engine: `use ${engine};`, times: "10s" });
    const load = startLoad(t, {
      target: port,
      tls: true,
      connections: 4,
      fresh: 2,
      rate: 100,
      path: () => "/small",
      retry: true,
    });
    const chance = new Chance(2);
    const attack = async (): Promise<void> => {
      const client = await Client.open(t, port, chance.below(2) === 0 ? "TLSv1.2" : "TLSv1.3");
      const { connection } = client;
      const at = chance.below(3);
      try {
        let flight = client.hello();
        for (let number = 0; number <= at && flight.length > 0; number++) {
          const sent = number === at ? mutated(flight, chance).bytes : flight;
          for (const piece of pieces(sent, chance)) connection.write(piece);
          if (number === at) break;
          client.ssl.receive(await client.answer());
          const agreed = client.ssl.handshake() === 0;
          flight = agreed
            ? Buffer.concat([outputOf(client.ssl), encrypted(client.ssl, REQUEST)])
            : outputOf(client.ssl);
        }
      } catch {
        // The server has closed.
      }
      if (chance.below(3) === 0) connection.socket.resetAndDestroy();
      else connection.end();
      await connection.until(() => false);
      connection.close();
    };
    for (let done = 0; done < MUTATIONS; done += 20) await Promise.all(Array.from({ length: 20 }, attack));
    await load.stop();
    assert.deepEqual(load.failures, []);
    await settled();
    assert.equal(workersOf(holdfast.pid).length, 1);
    assert.doesNotMatch(holdfast.errorLog(), /exited/);
  });
}

/** What clients send that no TLS allows, and the alert of the server. */
const WRONG: Readonly<Record<string, (client: Client) => Promise<Buffer>>> = {
  "a record too large in the handshake": async () => Buffer.from([22, 3, 1, 0xff, 0xff, ...Array(70_000).fill(1)]),
  async "a record too large behind it"(client) {
    await client.agree();
    return Buffer.from([23, 3, 3, 0x41, 0x01, ...Array(0x4101).fill(1)]);
  },
  async "records without bytes"(client) {
    await client.agree();
    return Buffer.alloc(5000, Buffer.from([23, 3, 3, 0, 0]));
  },
  "records of a handshake without bytes": async (client) =>
    Buffer.concat([client.hello().subarray(0, 50), Buffer.alloc(5000, Buffer.from([22, 3, 1, 0, 0]))]),
  async "alerts without end"(client) {
    client.connection.write(client.hello());
    await client.answer();
    return Buffer.alloc(7000, Buffer.from([21, 3, 3, 0, 2, 1, 90]));
  },
  async "plain text behind the handshake"(client) {
    await client.agree();
    return Buffer.from(REQUEST);
  },
  async "another hello behind the handshake"(client) {
    const hello = client.hello();
    client.connection.write(hello);
    client.ssl.receive(await client.answer());
    await client.agree();
    return hello;
  },
  "a hello without end": async () =>
    Buffer.concat(
      Array.from({ length: 200 }, (_, i) => {
        const record = Buffer.alloc(5 + 1024, 1);
        record.set([22, 3, 1, 4, 0]);
        if (i === 0) record.set([1, 0xff, 0xff, 0xff], 5);
        return record;
      }),
    ),
  "SSL 2": async () => Buffer.from([0x80, 0x2e, 1, 0, 2, 0, 21, 0, 0, 0, 16, ...Array(37).fill(7)]),
};

test("what no TLS allows: the connection is closed, and said at level info", { skip }, async (t) => {
  const { holdfast, port, settled } = await site(t);
  for (const [name, attack] of Object.entries(WRONG)) {
    const client = await Client.open(t, port);
    const { connection } = client;
    const before = holdfast.errorLog().length;
    connection.write(await attack(client));
    await connection.until(() => false);
    assert.ok(connection.ended, name);
    connection.close();
    await waitFor(
      () => /\[info\].* SSL_\w+\(\) failed \(SSL: error:/.test(holdfast.errorLog().slice(before)),
      () => `${name}: ${holdfast.errorLog().slice(before)}`,
    );
    assert.equal((await small(port)).body, "here");
  }
  await settled();
  assert.doesNotMatch(holdfast.errorLog(), /\[crit\]/);
});

test("renegotiation is refused", { skip }, async (t) => {
  const { holdfast, port, settled } = await site(t);
  const child = spawn("openssl", ["s_client", "-connect", `127.0.0.1:${port}`, "-tls1_2"], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin.write("R\n");
  assert.match((await finish(child)).stderr, /RENEGOTIATING\n.*no.renegotiation/s);
  await settled();
  assert.doesNotMatch(holdfast.errorLog(), /\[crit\]/);
});

test("a flood of hellos of clients that go away at once", { skip }, async (t) => {
  const { port, settled } = await site(t);
  const load = startLoad(t, { target: port, tls: true, connections: 4, fresh: 1, rate: 100, path: () => "/small" });
  const client = await Client.open(t, port);
  const hello = client.hello();
  client.connection.close();
  let opened = 0;
  const flood = async (): Promise<void> => {
    while (opened++ < 1500) {
      const connection = await RawConnection.open(port);
      connection.write(hello);
      if (opened % 3 === 0) await connection.until((received) => received.length > 0);
      if (opened % 2 === 0) connection.socket.resetAndDestroy();
      else connection.close();
    }
  };
  await Promise.all(Array.from({ length: 50 }, flood));
  await load.more(20);
  await load.stop();
  assert.deepEqual(load.failures, []);
  await settled();
});

test(`${SLOW} clients that send a byte a second, while a good one works`, { skip }, async (t) => {
  const { holdfast, port, settled } = await site(t, { times: "4s" });
  const client = await Client.open(t, port);
  const hello = client.hello();
  client.connection.close();
  const connections: RawConnection[] = [];
  t.after(() => {
    for (const connection of connections) connection.close();
  });
  const open = async (): Promise<void> => {
    while (connections.length < SLOW) {
      const connection = await RawConnection.open(port);
      connections.push(connection);
    }
  };
  await Promise.all(Array.from({ length: 50 }, open));
  let slowest = 0;
  const good = await RawConnection.openTls(port);
  for (let at = 0; connections.some(({ ended }) => !ended); at++) {
    assert.ok(at < 60, "they are not closed");
    for (const connection of connections) if (!connection.ended) connection.write(hello.subarray(at, at + 1));
    for (const end = performance.now() + 1000; performance.now() < end; ) {
      const start = performance.now();
      good.write(REQUEST);
      assert.equal((await good.readResponse()).body, "here");
      slowest = Math.max(slowest, performance.now() - start);
      await sleep(50);
    }
  }
  good.close();
  t.diagnostic(`the slowest good answer took ${Math.round(slowest)} ms`);
  await settled();
  const timeouts = holdfast.errorLog().match(/client timed out \(110: Connection timed out\) while SSL handshaking/g);
  assert.ok((timeouts?.length ?? 0) >= SLOW, `${timeouts?.length}`);
});

/** Where a client goes away, and how. */
const STEPS: Readonly<Record<string, (t: TestContext, port: number) => Promise<RawConnection>>> = {
  "before its hello": (_t, port) => RawConnection.open(port),
  async "within its hello"(t, port) {
    const client = await Client.open(t, port);
    client.connection.write(client.hello().subarray(0, 100));
    return client.connection;
  },
  async "after its hello"(t, port) {
    const client = await Client.open(t, port);
    client.connection.write(client.hello());
    return client.connection;
  },
  async "when the server has answered"(t, port) {
    const client = await Client.open(t, port, "TLSv1.2");
    client.connection.write(client.hello());
    await client.answer();
    return client.connection;
  },
  async "when both have agreed"(t, port) {
    const client = await Client.open(t, port);
    await client.agree();
    return client.connection;
  },
  async "within a request"(t, port) {
    const client = await Client.open(t, port);
    await client.agree();
    client.connection.write(encrypted(client.ssl, REQUEST.slice(0, 20)));
    return client.connection;
  },
  async "within a record"(t, port) {
    const client = await Client.open(t, port);
    await client.agree();
    client.connection.write(encrypted(client.ssl, REQUEST).subarray(0, 30));
    return client.connection;
  },
  async "within a response"(t, port) {
    const client = await Client.open(t, port);
    await client.agree();
    client.connection.write(encrypted(client.ssl, REQUEST.replace("small", "large")));
    await client.answer();
    client.connection.socket.pause();
    return client.connection;
  },
};

test("a client that goes away, is reset or says nothing more, at each step", { skip }, async (t) => {
  const { port, settled } = await site(t, { times: "3s" });
  const ways: readonly ((connection: RawConnection) => void)[] = [
    (connection) => connection.end(),
    (connection) => connection.close(),
    (connection) => connection.socket.resetAndDestroy(),
    () => {},
  ];
  const silent: RawConnection[] = [];
  const vanish = async (step: (typeof STEPS)[string], way: (connection: RawConnection) => void): Promise<void> => {
    const connection = await step(t, port);
    silent.push(connection);
    way(connection);
  };
  // One step after the other: a handshake has to be quicker than who says nothing more.
  for (const step of Object.values(STEPS)) await Promise.all(ways.map((way) => vanish(step, way)));
  await settled();
  for (const connection of silent) connection.close();
  assert.equal((await small(port)).body, "here");
});

test("slow readers of a large response cost no memory of its size", { skip }, async (t) => {
  const { holdfast, port, settled } = await site(t);
  const [worker] = workersOf(holdfast.pid);
  const before = memoryOf(worker, "Anonymous");
  const readers = await Promise.all(
    Array.from({ length: 30 }, async () => {
      const connection = await RawConnection.openTls(port);
      connection.socket.pause();
      connection.write(REQUEST.replace("small", "large").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
      return connection;
    }),
  );
  assert.equal((await small(port)).body, "here");
  let last = 0;
  await waitFor(() => {
    const now = memoryOf(worker, "Anonymous");
    const same = now === last;
    last = now;
    return same;
  }, "memory that stays");
  const grown = memoryOf(worker, "Anonymous") - before;
  t.diagnostic(`${grown} KiB more for ${readers.length} readers of ${LARGE.length} bytes`);
  assert.ok(grown < 100_000, `${grown} KiB`);
  const [first, ...others] = readers;
  first.socket.resume();
  const { body } = await first.readResponse({ ms: 2 * PATIENCE_MS });
  assert.ok(body === LARGE.toString("latin1"));
  for (const [i, { transport }] of others.entries()) {
    if (i % 2 === 0) transport.resetAndDestroy();
    else transport.destroy();
  }
  first.close();
  await settled();
});

test("a client that half-closes after its request gets the whole response, and the server's close_notify", {
  skip,
}, async (t) => {
  const { port, settled } = await site(t);
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    const client = await Client.open(t, port, version);
    await client.agree();
    const request = encrypted(client.ssl, "GET /small HTTP/1.0\r\n\r\n");
    client.ssl.shutdown();
    client.connection.write(Buffer.concat([request, outputOf(client.ssl)]));
    client.connection.end();
    assert.match(await client.last(), /^HTTP\/1.1 200 OK\r\n.*\r\n\r\nhere\[error 6\]$/s);
  }
  await settled();
});
