import assert from "node:assert/strict";
import { test } from "node:test";
import { cannedBackend } from "../support/backend.ts";
import { a, cname, nameServer, TYPE } from "../support/dns.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { openBy, workersOf } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

test("a name from a variable is resolved while serving, and its answer kept as long as it says", async (t) => {
  const { port: backend } = await cannedBackend(t, OK);
  const dns = await nameServer(t, ({ name: asked, type }) => {
    if (asked === "alias.test") return { records: [cname(60, "real.test")] };
    if (asked === "gone.test") return { code: 3 };
    if (asked === "mute.test") return undefined;
    return type === 1 ? { records: [a(asked === "short.test" ? 0 : 60, "127.0.0.1")] } : {};
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { log_format up "$host $status [$upstream_addr]"; access_log logs/access.log up;
      resolver ${dns.address};
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://$host:${backend}; }
        location /soon { resolver_timeout 300ms; proxy_pass http://$host:${backend}; } } }`,
  });
  const of = (host: string, path = "/") => get(holdfast.port, path, `Host: ${host}`);
  for (let i = 0; i < 3; i++) assert.equal((await of("real.test")).body, "ok");
  assert.equal(dns.questions.filter(({ name: asked }) => asked === "real.test").length, 2, "one A, one AAAA");
  assert.equal((await of("alias.test")).body, "ok");
  assert.equal((await of("gone.test")).status, 502);
  assert.equal((await of("mute.test", "/soon")).status, 502);
  for (let i = 0; i < 2; i++) assert.equal((await of("short.test")).body, "ok");
  assert.equal(dns.questions.filter(({ name: asked }) => asked === "short.test").length, 4, "no lifetime, not kept");
  await holdfast.waitForLog(/gone\.test could not be resolved \(3: Host not found\), client: 127\.0\.0\.1/);
  await holdfast.waitForLog(/mute\.test could not be resolved \(110: Operation timed out\)/);
  await holdfast.waitForLog(new RegExp(`^real\\.test 200 \\[127\\.0\\.0\\.1:${backend}\\]$`, "m"), "logs/access.log");
});

test("an alias is known from the answer it came in, hostile ones beside it or not, and kept as long as it says", async (t) => {
  const { port: backend } = await cannedBackend(t, OK);
  const dns = await nameServer(t, ({ name, type }) => {
    if (type === TYPE.cname) return { code: 3 };
    if (name === "real.test") return type === TYPE.a ? { records: [a(600, "127.0.0.1")] } : {};
    if (type === TYPE.a) return {};
    return {
      records: [cname(name === "short.test" ? 0 : 600, "real.test")],
      before: (query, answer) => {
        const otherId = Buffer.from(answer);
        otherId[1] ^= 1;
        const otherQuestion = Buffer.from(answer);
        otherQuestion[13] ^= 1;
        const loop = Buffer.from(answer);
        loop.writeUInt16BE(0xc000 | (answer.length - 11), answer.length - 11);
        return name === "hostile.test" ? [otherId, otherQuestion, loop, answer.subarray(0, -3), query] : [];
      },
    };
  });
  const questionsOf = (wanted: string) => dns.questions.filter(({ name }) => name === wanted).length;
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http { resolver ${dns.address};
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://$host:${backend}; } } }`,
  });
  for (const [host, questions] of [
    ["long.test", 2],
    ["short.test", 6],
    ["hostile.test", 2],
  ] as const) {
    for (let i = 0; i < 3; i++) assert.equal((await get(holdfast.port, "/", `Host: ${host}`)).body, "ok", host);
    assert.equal(questionsOf(host), questions, host);
  }
});

test("several that wait for one name share its question", async (t) => {
  const { port: backend } = await cannedBackend(t, OK);
  const dns = await nameServer(t, ({ type }) => (type === 1 ? { records: [a(60, "127.0.0.1")] } : {}));
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http { resolver ${dns.address} ipv6=off;
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://$host:${backend}; } } }`,
  });
  const all = await Promise.all(Array.from({ length: 10 }, () => get(holdfast.port, "/", "Host: many.test")));
  assert.deepEqual(new Set(all.map(({ status }) => status)), new Set([200]));
  assert.deepEqual(dns.questions, [{ name: "many.test", type: 1 }]);
});

test("without a resolver, and for what is no name, the answer is 502", async (t) => {
  const dns = await nameServer(t, () => ({ code: 2 }));
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen 127.0.0.1:${port};
      location /none { proxy_pass http://$arg_h; }
      location /some { resolver ${dns.address}; proxy_pass http://$arg_h; } } }`,
  });
  assert.equal((await get(holdfast.port, "/none?h=some.test")).status, 502);
  assert.equal((await get(holdfast.port, "/some?h=some.test")).status, 502);
  assert.equal((await get(holdfast.port, `/some?h=a..b`)).status, 502);
  assert.equal((await get(holdfast.port, "/some?h=host:0")).status, 500);
  assert.equal((await get(holdfast.port, "/some?h=")).status, 500);
  await holdfast.waitForLog(/no resolver defined to resolve some\.test/);
  await holdfast.waitForLog(/some\.test could not be resolved \(2: Server failure\)/);
  await holdfast.waitForLog(/a\.\.b could not be resolved \(3: Host not found\)/);
  await holdfast.waitForLog(/invalid port in upstream "host:0"/);
});

test("names that nobody answers for take one socket, and none once the clients have left", async (t) => {
  const dns = await nameServer(t, () => undefined);
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http { resolver ${dns.address};
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://$host; } } }`,
  });
  const CLIENTS = 200;
  const [worker] = workersOf(holdfast.pid);
  const open = () => openBy(worker).length;
  await get(holdfast.port, "/", "Host: a..b");
  const before = open();
  const clients = await Promise.all(
    Array.from({ length: CLIENTS }, async (_, i) => {
      const client = await RawConnection.open(holdfast.port);
      client.write(`GET / HTTP/1.1\r\nHost: n${i}.test\r\n\r\n`);
      return client;
    }),
  );
  await waitFor(
    () => (new Set(dns.questions.map(({ name }) => name)).size === CLIENTS ? true : undefined),
    "questions",
  );
  assert.ok(open() <= before + CLIENTS + 2, `${open() - before - CLIENTS} descriptors for questions`);
  for (const client of clients) client.socket.destroy();
  await waitFor(() => (open() <= before ? true : undefined), "the end of all descriptors");
});
