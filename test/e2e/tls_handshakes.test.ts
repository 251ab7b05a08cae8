/** Handshakes that fail, and what comes to a port for TLS without TLS: what clients get, and nginx's words in the log. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { before, type TestContext, test } from "node:test";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { noOpenssl, selfSigned } from "../support/certificates.ts";
import { have } from "../support/have.ts";
import { finish, type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { send } from "../support/tcp.ts";
import { exchangeOverTls } from "../support/tls.ts";
import { waitFor } from "../support/wait.ts";

const { certificate, key } = noOpenssl ? { certificate: "", key: "" } : selfSigned("localhost");
const files = { "conf/crt": certificate, "conf/key": key };

/** The ClientHello of a client with these options. */
async function recordHello(options: ConnectionOptions = {}): Promise<Buffer> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const client = connectTls({ port: address.port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
  client.on("error", () => {});
  const [socket] = (await once(server, "connection")) as [Socket];
  const [hello] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  client.destroy();
  server.close();
  return hello;
}

let hello: Buffer = Buffer.alloc(0);
let oldHello: Buffer = Buffer.alloc(0);

before(async () => {
  hello = await recordHello();
  oldHello = await recordHello({ maxVersion: "TLSv1.2" });
});

interface BrokenClient {
  /** What it sends, and where it waits until the server has answered. */
  readonly sends: readonly (Buffer | "answer")[];
  readonly ends: "fin" | "reset" | "waits";
  readonly says: RegExp;
}

/** Resolves when the connection is closed. */
async function broken(port: number, { sends, ends }: BrokenClient): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  // The server may close it, with a reset, while bytes are on their way.
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  const answer = () => Promise.race([closed, new Promise<void>((resolve) => socket.once("data", () => resolve()))]);
  await once(socket, "connect");
  let answered = answer();
  for (const bytes of sends) {
    if (bytes === "answer") await answered;
    else socket.write(bytes);
    answered = answer();
  }
  if (ends === "fin") socket.end();
  else if (ends === "reset") socket.resetAndDestroy();
  socket.resume();
  await closed;
}

const FAILED = "SSL_do_handshake\\(\\) failed \\(SSL: error:";

function clients(): Record<string, BrokenClient> {
  const alert = (level: number, description: number) => Buffer.from([0x15, 3, 3, 0, 2, level, description]);
  const part = hello.subarray(0, 50);
  return {
    nothing: { sends: [], ends: "fin", says: /client closed connection while SSL/ },
    "part of a hello": { sends: [part], ends: "fin", says: /peer closed connection in SSL handshake while SSL/ },
    "no more than a hello": {
      sends: [hello, "answer"],
      ends: "fin",
      says: /peer closed connection in SSL handshake while/,
    },
    "a hello, and a reset": {
      sends: [hello, "answer"],
      ends: "reset",
      says: /peer closed connection in SSL handshake \(104: Connection reset by peer\) while SSL/,
    },
    "what looks like TLS": {
      sends: [Buffer.from("\x16 and the rest does not")],
      ends: "fin",
      says: new RegExp(`${FAILED}0A00010B:`),
    },
    "what looks like SSL 2": { sends: [Buffer.alloc(100, 0x80)], ends: "fin", says: new RegExp(FAILED) },
    "a record that is too large": {
      sends: [Buffer.concat([Buffer.from([0x16, 3, 1, 0xff, 0xff]), Buffer.alloc(70_000)])],
      ends: "fin",
      says: new RegExp(FAILED),
    },
    "data before the handshake is over": {
      sends: [oldHello, "answer", Buffer.from([0x17, 3, 3, 0, 1, 1])],
      ends: "fin",
      says: new RegExp(`${FAILED}0A0000F5:SSL routines::unexpected record`),
    },
    "an alert": {
      sends: [oldHello, "answer", alert(2, 48)],
      ends: "fin",
      says: new RegExp(`${FAILED}0A000418:SSL routines::tlsv1 alert unknown ca:SSL alert number 48\\)`),
    },
    "a close_notify": {
      sends: [oldHello, "answer", alert(1, 0)],
      ends: "fin",
      says: /peer closed connection in SSL handshake while/,
    },
    "nothing, for too long": {
      sends: [],
      ends: "waits",
      says: /client timed out \(110: Connection timed out\) while SSL/,
    },
    "part of a hello, for too long": {
      sends: [part],
      ends: "waits",
      says: /client timed out \(110: Connection timed out\) while/,
    },
  };
}

function start(t: TestContext, program = startHoldfast): Promise<Running> {
  return program(t, {
    files,
    config: ([one, two, three]) => `worker_processes 1; http { ssl_certificate crt; ssl_certificate_key key;
      server { listen 127.0.0.1:${one} ssl; server_name one; return 200 one; }
      server { listen 127.0.0.1:${two} ssl proxy_protocol; server_name two; error_page 497 =200 @plain;
        location / { return 200 two; } location @plain { return 200 "plain $scheme $request_uri"; } }
      server { listen 127.0.0.1:${three} ssl; client_header_timeout 1s; } }`,
  });
}

/** What the error log says of each client. */
async function lines(running: Running): Promise<Map<string, string>> {
  const [one, , three] = running.ports;
  const said = new Map<string, string>();
  const logged = () => running.errorLog().match(/^.*while SSL handshaking.*$/gm) ?? [];
  for (const [what, client] of Object.entries(clients())) {
    await broken(client.ends === "waits" ? three : one, client);
    said.set(what, await waitFor(() => logged().at(said.size), `a line about ${what}`));
  }
  return said;
}

test("each way to fail is said at [info], as nginx says it", { skip: noOpenssl }, async (t) => {
  const holdfast = await start(t);
  const said = await lines(holdfast);
  for (const [what, { says }] of Object.entries(clients())) {
    const line = said.get(what) ?? "";
    assert.match(line, says, what);
    assert.match(line, / \[info\] .*while SSL handshaking, client: 127\.0\.0\.1, server: 127\.0\.0\.1:\d+$/, what);
  }
  assert.match(await exchangeOverTls(holdfast.port, "GET / HTTP/1.0\r\n\r\n"), /one$/);
});

test("nginx says the same", { skip: noOpenssl || have("nginx") }, async (t) => {
  // Another OpenSSL may have other words, and an older nginx takes some for [crit].
  const compared = (line: string) =>
    line
      .replace(/^\S+ \S+ \[\w+\] \S+ \S+ /, "")
      .replace(/\(SSL: .*\) while/, "(SSL: …) while")
      .replace(/:\d+$/, "");
  const [ours, theirs] = [await lines(await start(t)), await lines(await start(t, startNginx))];
  for (const [what, line] of theirs) assert.equal(compared(ours.get(what) ?? ""), compared(line), what);
});

test("requests without TLS are refused, whatever they are", { skip: noOpenssl }, async (t) => {
  const holdfast = await start(t);
  const [one, two] = holdfast.ports;
  const plain = /<title>400 The plain HTTP request was sent to HTTPS port<\/title>/;
  assert.match(await send(one, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), plain);
  assert.match(await send(one, "GET /\r\n"), plain);
  assert.match(
    await send(one, "HEAD / HTTP/1.0\r\n\r\n"),
    /^HTTP\/1\.1 400 Bad Request\r\n.*Connection: close\r\n\r\n$/s,
  );
  assert.match(await send(one, "no request\r\n\r\n"), /<title>400 Bad Request<\/title>/);
  await holdfast.waitForLog(
    /\[info\] .* client sent plain HTTP request to HTTPS port while reading client request line, client: 127\.0\.0\.1, server: one, request: "GET \/"$/m,
  );
  const proxied = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
  assert.match(await send(two, `${proxied}GET /x HTTP/1.1\r\nHost: a\r\n\r\n`), /\r\n\r\nplain http \/x$/);
});

test("a client cannot renegotiate", { skip: noOpenssl }, async (t) => {
  const { port } = await start(t);
  const child = spawn("openssl", ["s_client", "-connect", `127.0.0.1:${port}`, "-tls1_2"], { stdio: "pipe" });
  child.stdin.on("error", () => {});
  child.stdin.write("R\n");
  const { stderr } = await finish(child);
  assert.match(stderr, /no renegotiation/);
});
