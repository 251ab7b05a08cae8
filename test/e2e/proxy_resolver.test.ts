import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { type TestContext, test } from "node:test";
import { cannedBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

interface Question {
  readonly name: string;
  readonly type: number;
}

interface NameServer {
  readonly address: string;
  readonly questions: Question[];
}

/** A record's fixed part and data, for the name asked for. */
function record(type: number, ttl: number, data: Buffer): Buffer {
  const head = Buffer.from([0xc0, 0x0c, 0, type, 0, 1, 0, 0, 0, 0, 0, data.length]);
  head.writeUInt32BE(ttl, 6);
  return Buffer.concat([head, data]);
}

const a = (ttl: number, ip: string) => record(1, ttl, Buffer.from(ip.split(".").map(Number)));
const name = (text: string) =>
  Buffer.concat([
    ...text.split(".").map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`)),
    Buffer.from([0]),
  ]);

/** A name server of the test's own: `answer` gives the response code and the records, or nothing for no answer. */
async function nameServer(
  t: TestContext,
  answer: (question: Question, count: number) => { code?: number; records?: Buffer[] } | undefined,
): Promise<NameServer> {
  const socket = createSocket("udp4");
  const questions: Question[] = [];
  socket.on("message", (bytes, from) => {
    let at = 12;
    const labels: string[] = [];
    while (bytes[at] !== 0) {
      labels.push(bytes.toString("latin1", at + 1, at + 1 + bytes[at]));
      at += 1 + bytes[at];
    }
    const question = { name: labels.join("."), type: bytes.readUInt16BE(at + 1) };
    questions.push(question);
    const given = answer(
      question,
      questions.filter((q) => q.name === question.name && q.type === question.type).length,
    );
    if (given === undefined) return;
    const { code = 0, records = [] } = given;
    const head = Buffer.from([bytes[0], bytes[1], 0x81, 0x80 | code, 0, 1, 0, records.length, 0, 0, 0, 0]);
    socket.send(Buffer.concat([head, bytes.subarray(12, at + 5), ...records]), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  t.after(() => socket.close());
  return { address: `127.0.0.1:${socket.address().port}`, questions };
}

test("a name from a variable is resolved while serving, and its answer kept as long as it says", async (t) => {
  const { port: backend } = await cannedBackend(t, OK);
  const dns = await nameServer(t, ({ name: asked, type }) => {
    if (asked === "alias.test") return { records: [record(5, 60, name("real.test"))] };
    if (asked === "gone.test") return { code: 3 };
    if (asked === "mute.test") return undefined;
    return type === 1 ? { records: [a(asked === "short.test" ? 0 : 60, "127.0.0.1")] } : {};
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { log_format up "$host $status [$upstream_addr]"; access_log logs/access.log up;
      resolver ${dns.address}; resolver_timeout 300ms;
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://$host:${backend}; } } }`,
  });
  const of = (host: string) => get(holdfast.port, "/", `Host: ${host}`);
  for (let i = 0; i < 3; i++) assert.equal((await of("real.test")).body, "ok");
  assert.equal(dns.questions.filter(({ name: asked }) => asked === "real.test").length, 2, "one A, one AAAA");
  assert.equal((await of("alias.test")).body, "ok");
  assert.equal((await of("gone.test")).status, 502);
  assert.equal((await of("mute.test")).status, 502);
  for (let i = 0; i < 2; i++) assert.equal((await of("short.test")).body, "ok");
  assert.equal(dns.questions.filter(({ name: asked }) => asked === "short.test").length, 4, "no lifetime, not kept");
  await holdfast.waitForLog(/gone\.test could not be resolved \(3: Host not found\), client: 127\.0\.0\.1/);
  await holdfast.waitForLog(/mute\.test could not be resolved \(110: Operation timed out\)/);
  await holdfast.waitForLog(new RegExp(`^real\\.test 200 \\[127\\.0\\.0\\.1:${backend}\\]$`, "m"), "logs/access.log");
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
  const log = holdfast.errorLog();
  assert.match(log, /no resolver defined to resolve some\.test/);
  assert.match(log, /some\.test could not be resolved \(2: Server failure\)/);
  assert.match(log, /a\.\.b could not be resolved \(3: Host not found\)/);
  assert.match(log, /invalid port in upstream "host:0"/);
});
