import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { noOpenssl, selfSigned } from "../support/certificates.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { askWithSession } from "../support/s_client.ts";
import { waitFor } from "../support/wait.ts";

/** `ssl_early_data`: requests before the handshake is complete, by OpenSSL's own client. */

const certificate = noOpenssl ? { certificate: "", key: "" } : selfSigned("localhost");
const files = { "conf/cert.pem": certificate.certificate, "conf/key.pem": certificate.key };
const TLS = "ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_early_data on;";
const SHARED = "ssl_session_cache shared:SSL:1m;";
const EARLY = "GET /early HTTP/1.1\r\nHost: localhost\r\n\r\n";

test("a request before the handshake is complete is answered, and known as such", { skip: noOpenssl }, async (t) => {
  for (const cache of ["", SHARED, "ssl_session_cache builtin; ssl_session_tickets off;"]) {
    const holdfast = await startHoldfast(t, {
      files,
      config: ([port]) => `worker_processes 1; http { ${TLS} ${cache}
        server { listen 127.0.0.1:${port} ssl; return 200 "$uri early=$ssl_early_data $ssl_session_reused\\n"; } }`,
    });
    const { port, prefix } = holdfast;
    const session = join(prefix, "session.pem");
    const early = join(prefix, "early");
    writeFileSync(early, EARLY);
    assert.equal(await askWithSession(port, session), "/ early= .\n");
    const both = await askWithSession(port, session, "-early_data", early);
    assert.match(both, /^\/early early=1 r\nHTTP\/1\.1 200 [\s\S]*\r\n\r\n\/ early= r\n$/, cache);
    // TLS 1.2 has none.
    const old = join(prefix, "old.pem");
    await askWithSession(port, old, "-tls1_2");
    assert.equal(await askWithSession(port, old, "-tls1_2"), "/ early= r\n");
    await holdfast.stop();
  }
});

test("a server behind is told of early data, and answers 425", { skip: noOpenssl }, async (t) => {
  const backend = await httpBackend(t, (request, response) => {
    let length = 0;
    request.on("data", (bytes: Buffer) => {
      length += bytes.length;
    });
    request.on("end", () => {
      response.statusCode = request.headers["early-data"] === "1" ? 425 : 200;
      response.end(`${response.statusCode} ${length};`);
    });
  });
  const holdfast = await startHoldfast(t, {
    files,
    config: ([port]) => `worker_processes 1; http { ${TLS} server { listen 127.0.0.1:${port} ssl; location / {
      proxy_pass http://127.0.0.1:${backend.port}; proxy_set_header Early-Data $ssl_early_data; } } }`,
  });
  const session = join(holdfast.prefix, "session.pem");
  const early = join(holdfast.prefix, "early");
  const body = "x".repeat(10_000);
  writeFileSync(early, `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  assert.equal(await askWithSession(holdfast.port, session), "200 0;");
  const both = await askWithSession(holdfast.port, session, "-early_data", early);
  assert.match(both, /425 10000;[\s\S]*HTTP\/1\.1 200 OK[\s\S]*200 0;/);
});

test("without it early data is not taken", { skip: noOpenssl }, async (t) => {
  const config = (on: string) => (ports: readonly number[]) =>
    `worker_processes 1; http { access_log off;
    ssl_certificate cert.pem; ssl_certificate_key key.pem; ${SHARED}
    server { listen 127.0.0.1:${ports[0]} ssl; ssl_early_data ${on}; return 200 "$uri early=$ssl_early_data\\n"; } }`;
  const holdfast = await startHoldfast(t, { files, config: config("on") });
  const { port, prefix } = holdfast;
  const session = join(prefix, "session.pem");
  const early = join(prefix, "early");
  writeFileSync(early, EARLY);
  await askWithSession(port, session);
  assert.ok(await holdfast.reload(config("off")(holdfast.ports)));
  assert.equal(await askWithSession(port, session, "-early_data", early), "/ early=\n");
});

/** Passes connections on to a port, and keeps what clients send until the server has sent something. */
async function recorder(t: TestContext, port: number): Promise<{ readonly port: number; recorded(): Buffer }> {
  let recorded = Buffer.alloc(0);
  const server = createServer((client: Socket) => {
    const behind = connect(port, "127.0.0.1");
    let answered = false;
    recorded = Buffer.alloc(0);
    client.on("data", (bytes: Buffer) => {
      if (!answered) recorded = Buffer.concat([recorded, bytes]);
      behind.write(bytes);
    });
    behind.on("data", (bytes) => {
      answered = true;
      client.write(bytes);
    });
    client.on("error", () => {}).on("close", () => behind.destroy());
    behind.on("error", () => {}).on("close", () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return { port: address.port, recorded: () => recorded };
}

/** Sends bytes on a connection of their own, and waits until the server says something to them. */
function replay(port: number, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    socket.once("data", () => {
      socket.destroy();
      resolve();
    });
    socket.on("error", reject);
  });
}

test("early data that is sent again is taken once by all workers with a shared cache", {
  skip: noOpenssl,
}, async (t) => {
  for (const [cache, taken] of [
    [SHARED, 1],
    ["ssl_session_ticket_key ticket.key;", 1 + 10],
  ] as const) {
    const holdfast = await startHoldfast(t, {
      files: { ...files, "conf/ticket.key": Buffer.alloc(80, "ticket key ") },
      config: ([port]) => `worker_processes 2;
        http { log_format uri "$pid $uri"; access_log logs/access.log uri; ${TLS} ${cache}
        server { listen 127.0.0.1:${port} ssl; return 200 ok; } }`,
    });
    const { port, prefix } = holdfast;
    const session = join(prefix, "session.pem");
    const early = join(prefix, "early");
    writeFileSync(early, EARLY);
    await askWithSession(port, session);
    const between = await recorder(t, port);
    assert.match(await askWithSession(between.port, session, "-early_data", early), /^okHTTP/);
    for (let times = 0; times < 10; times++) await replay(port, between.recorded());
    // A worker logs in the order in which it answers.
    const before = holdfast.accessLog().length;
    await waitFor(async () => {
      await askWithSession(port, session);
      return (
        new Set(
          holdfast
            .accessLog()
            .slice(before)
            .match(/^\d+ \/$/gm),
        ).size === 2
      );
    }, "a request to each worker");
    assert.equal(holdfast.accessLog().match(/^\d+ \/early$/gm)?.length, taken, cache);
    await holdfast.stop();
  }
});
