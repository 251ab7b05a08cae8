/** WebSocket over HTTP/2 (RFC 8441), to a server that speaks HTTP/1.1. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { ClientHttp2Stream, OutgoingHttpHeaders } from "node:http2";
import type { Duplex } from "node:stream";
import { type TestContext, test } from "node:test";
import { startBrowser } from "../support/browser.ts";
import { selfSigned } from "../support/certificates.ts";
import { h2Request, h2Session } from "../support/h2.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { waitFor } from "../support/wait.ts";

interface Server {
  readonly address: string;
  /** What each upgrade asked for, and its connection. */
  readonly upgrades: { readonly head: string; readonly socket: Duplex }[];
}

/** Agrees to every upgrade, and then leaves the connection to `serve`; other requests get 200. */
async function webSocketServer(t: TestContext, serve: (socket: Duplex, url: string) => void): Promise<Server> {
  const upgrades: { head: string; socket: Duplex }[] = [];
  const server = createServer((_request, response) => response.end("no upgrade"));
  server.on("upgrade", (request, socket, first) => {
    upgrades.push({ head: `${request.method} ${request.url} ${JSON.stringify(request.headers)}`, socket });
    const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash("sha1").update(key).digest("base64");
    const fields = `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}`;
    socket.on("error", () => {});
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${fields}\r\nSec-WebSocket-Protocol: chat\r\n\r\n`);
    if (first.length > 0) socket.unshift(first);
    serve(socket, request.url ?? "");
  });
  const port = await freePort();
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const { socket } of upgrades) socket.destroy();
    server.close();
  });
  return { address: `127.0.0.1:${port}`, upgrades };
}

async function start(t: TestContext, { address }: Server, more = ""): Promise<Running> {
  const { certificate, key } = selfSigned("localhost");
  return startHoldfast(t, {
    files: { "conf/c.pem": certificate, "conf/k.pem": key, "html/index.html": "<!doctype html><title>Chat</title>" },
    config: ([port, secure]) => `http { root html; types { text/html html; }
      log_format own "$request|$status|$http2|$http_upgrade|$bytes_sent|$upstream_status"; access_log logs/access.log own;
      map $http_upgrade $connection_upgrade { default upgrade; "" close; }
      server { listen 127.0.0.1:${port}; listen 127.0.0.1:${secure} ssl; ssl_certificate c.pem; ssl_certificate_key k.pem;
        http2 on; http2_connect_protocol on;
        location /chat { proxy_pass http://${address}; proxy_http_version 1.1; ${more}
          proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; }
        location /plain { proxy_pass http://${address}; } } }`,
  });
}

const CONNECT = { ":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":authority": "localhost" };

/** Opens a tunnel: the stream, and the head of its answer. */
async function connect(
  t: TestContext,
  holdfast: Running,
  fields: OutgoingHttpHeaders,
): Promise<{ stream: ClientHttp2Stream; status: unknown; head: Record<string, unknown> }> {
  const session = h2Session(t, `http://127.0.0.1:${holdfast.port}`);
  await once(session, "remoteSettings");
  assert.equal(session.remoteSettings.enableConnectProtocol, true);
  const stream = session.request({ ...CONNECT, "sec-websocket-version": "13", ...fields }, { endStream: false });
  stream.on("error", () => {});
  const [head] = await once(stream, "response");
  return { stream, status: head[":status"], head };
}

test("bytes go both ways, as over HTTP/1.1, and either side may end", async (t) => {
  const server = await webSocketServer(t, (socket) => socket.pipe(socket));
  const holdfast = await start(t, server);
  const { stream, status, head } = await connect(t, holdfast, { ":path": "/chat?room=1", origin: "http://localhost" });
  assert.equal(status, 200);
  assert.equal(head["sec-websocket-protocol"], "chat");
  for (const name of ["sec-websocket-accept", "upgrade", "connection", "content-length"])
    assert.equal(head[name], undefined);
  assert.match(server.upgrades[0].head, /^GET \/chat\?room=1 /);
  assert.match(server.upgrades[0].head, /"upgrade":"websocket"/);
  assert.match(server.upgrades[0].head, /"sec-websocket-key":"[A-Za-z0-9+/]{22}=="/);
  assert.match(server.upgrades[0].head, /"sec-websocket-version":"13"/);
  let came = "";
  stream.setEncoding("latin1").on("data", (text: string) => {
    came += text;
  });
  stream.write("hello");
  await waitFor(() => came === "hello", "the echo");
  const large = "0123456789abcdef".repeat(40_000);
  stream.end(large);
  await once(stream, "close");
  assert.equal(came, `hello${large}`);
  assert.equal(stream.rstCode, 0);
  const log = (): string => holdfast.read("logs/access.log");
  await waitFor(
    () => /^GET \/chat\?room=1 HTTP\/2\.0\|200\|h2c\|websocket\|64\d{4}\|101$/m.test(log()),
    () => log(),
  );
});

test("a server that ends, and a client that resets", async (t) => {
  const server = await webSocketServer(t, (socket, url) => {
    socket.resume();
    if (url === "/chat/end") socket.end("bye");
  });
  const holdfast = await start(t, server);
  const { stream } = await connect(t, holdfast, { ":path": "/chat/end" });
  let came = "";
  stream.setEncoding("latin1").on("data", (text: string) => {
    came += text;
  });
  await once(stream, "end");
  assert.equal(came, "bye");
  stream.end();
  await once(stream, "close");
  assert.equal(stream.rstCode, 0);

  const other = await connect(t, holdfast, { ":path": "/chat/stay" });
  const closed = once(server.upgrades[1].socket, "end");
  other.stream.close(8);
  await closed;
});

test("a tunnel goes on while its worker leaves, which waits for its end", async (t) => {
  const server = await webSocketServer(t, (socket) => socket.pipe(socket));
  const holdfast = await start(t, server);
  const { stream } = await connect(t, holdfast, { ":path": "/chat" });
  let came = "";
  stream.setEncoding("latin1").on("data", (text: string) => {
    came += text;
  });
  const last: number[] = [];
  stream.session?.on("goaway", (_code, id) => last.push(id));
  holdfast.signal("SIGQUIT");
  await waitFor(() => last.length === 2, "both steps of GOAWAY");
  assert.deepEqual(last, [2 ** 31 - 1, 1]);
  stream.write("hello");
  await waitFor(() => came === "hello", "the echo");
  assert.equal(holdfast.exit, undefined);
  stream.end();
  await once(stream, "close");
  assert.equal(stream.rstCode, 0);
  assert.equal(await holdfast.exited, 0);
});

test("a reader that is slow slows the other side down, both ways", async (t) => {
  let written = 0;
  let read = 0;
  const server = await webSocketServer(t, (socket, url) => {
    if (url === "/chat/down") {
      const more = (): void => {
        while (written < 64 * 1024 * 1024) {
          written += 64 * 1024;
          if (!socket.write(Buffer.alloc(64 * 1024))) return;
        }
      };
      socket.on("drain", more);
      more();
      return;
    }
    socket.on("data", (bytes: Buffer) => {
      read += bytes.length;
    });
    socket.pause();
  });
  const holdfast = await start(t, server);
  const down = await connect(t, holdfast, { ":path": "/chat/down" });
  let before = -1;
  await waitFor(() => {
    const same = written === before && written > 0;
    before = written;
    return same;
  }, "a server that waits");
  assert.ok(written < 32 * 1024 * 1024, `${written}`);
  let received = 0;
  down.stream.on("data", (bytes: Buffer) => {
    received += bytes.length;
  });
  await waitFor(
    () => received === 64 * 1024 * 1024,
    () => `all: ${received}`,
  );

  const up = await connect(t, holdfast, { ":path": "/chat/up" });
  const size = 16 * 1024 * 1024;
  up.stream.write(Buffer.alloc(size));
  await waitFor(() => server.upgrades.length === 2, "the upgrade");
  // What the kernel and the window hold is not all of it.
  let waits = -1;
  await waitFor(() => {
    const same = up.stream.writableLength === waits;
    waits = up.stream.writableLength;
    return same;
  }, "a client that waits");
  assert.ok(waits > 0);
  assert.equal(read, 0);
  server.upgrades[1].socket.resume();
  await waitFor(
    () => read === size,
    () => `all: ${read}`,
  );
});

test("proxy_read_timeout ends a tunnel in which nobody speaks", async (t) => {
  const server = await webSocketServer(t, (socket) => socket.resume());
  const holdfast = await start(t, server, "proxy_read_timeout 200ms;");
  const { stream } = await connect(t, holdfast, { ":path": "/chat" });
  stream.resume();
  await once(stream, "end");
  await holdfast.waitForLog(/upstream timed out \(110: Connection timed out\) while proxying upgraded connection/);
});

test("what is no WebSocket: another protocol, no upgrade, another method, and where it is off", async (t) => {
  const server = await webSocketServer(t, (socket) => socket.resume());
  const holdfast = await start(t, server);
  const cases: readonly (readonly [fields: OutgoingHttpHeaders, status: number])[] = [
    [{ ":path": "/chat", ":protocol": "connect-udp" }, 501],
    [{ ":path": "/plain" }, 501],
    [{ ":path": "/index.html" }, 501],
    [{ ":path": "/none" }, 404],
    [{ ":path": "/chat", "content-length": "5" }, 400],
  ];
  for (const [fields, expected] of cases) {
    const { stream, status } = await connect(t, holdfast, fields);
    assert.equal(status, expected, JSON.stringify(fields));
    stream.resume().end();
    await once(stream, "close");
  }
  assert.equal(server.upgrades.length, 0);
  const session = h2Session(t, `http://127.0.0.1:${holdfast.port}`);
  assert.equal((await h2Request(session, { ":path": "/index.html" })).status, 200);
});

test("Chromium opens its WebSocket on the connection of the page", { skip: have("chromium") }, async (t) => {
  // A text frame of a server: not masked, and short.
  const server = await webSocketServer(t, (socket) => {
    socket.write(Buffer.concat([Buffer.from([0x81, 7]), Buffer.from("welcome")]));
    socket.on("data", (frame: Buffer) => {
      if ((frame[0] & 0x0f) === 8) {
        socket.end(Buffer.from([0x88, 2, 0x03, 0xe8]));
        return;
      }
      const length = frame[1] & 0x7f;
      const text = Buffer.from(frame.subarray(6, 6 + length).map((byte, at) => byte ^ frame[2 + (at % 4)]));
      socket.write(Buffer.concat([Buffer.from([0x81, length]), text]));
    });
  });
  const holdfast = await start(t, server);
  const browser = await startBrowser(t);
  const site = `127.0.0.1:${holdfast.ports[1]}`;
  await browser.open(`https://${site}/`);
  const talk = `new Promise((resolve, reject) => {
    const socket = new WebSocket("wss://${site}/chat", "chat");
    const said = [socket.protocol];
    socket.onerror = () => reject("error");
    socket.onmessage = ({ data }) => {
      said.push(data);
      if (data === "welcome") socket.send("hello");
      else socket.close(1000);
    };
    socket.onclose = ({ code, wasClean }) => resolve([...said, code, wasClean].join());
  })`;
  assert.equal(await browser.evaluate(talk), ",welcome,hello,1000,true");
  const log = (): string => holdfast.read("logs/access.log");
  await waitFor(
    () => /^GET \/chat HTTP\/2\.0\|200\|h2\|websocket\|\d+\|101$/m.test(log()),
    () => log(),
  );
});
