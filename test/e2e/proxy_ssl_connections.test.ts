import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createServer, TLSSocket, type TlsOptions } from "node:tls";
import { BackendConnection, httpsBackend, tcpBackend } from "../support/backend.ts";
import { noOpenssl, selfSigned, type TestCertificate } from "../support/certificates.ts";
import { makePrefix, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get, RawConnection } from "../support/tcp.ts";

/** What connections to servers over TLS are used for, and for how long. */

const skip = noOpenssl;

function shown({ certificate, key }: TestCertificate): { readonly cert: string; readonly key: string } {
  return { cert: certificate, key };
}

/** A TLS server whose every connection is handled by `script`; its port, or that path. */
async function tlsBackend(
  t: TestContext,
  options: TlsOptions,
  script: (connection: BackendConnection) => Promise<void>,
  path?: string,
): Promise<number> {
  let connections = 0;
  const sockets = new Set<TLSSocket>();
  const server = createServer({ allowHalfOpen: true, ...options }, (socket) => {
    sockets.add(socket);
    void script(new BackendConnection(socket, ++connections)).catch(() => socket.destroy());
  });
  const port = await freePort();
  await new Promise<void>((resolve) =>
    path === undefined ? server.listen(port, "127.0.0.1", resolve) : server.listen(path, resolve),
  );
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return port;
}

test("a connection is kept for those who ask for the same name with the same certificate and trust", {
  skip,
}, async (t) => {
  const own = selfSigned("a.example");
  const client = selfSigned("client");
  const other = selfSigned("other");
  const options = { ...shown(own), requestCert: true, rejectUnauthorized: false };
  const backend = await httpsBackend(t, options, ({ socket }, response) => {
    if (!(socket instanceof TLSSocket)) throw new Error("no TLS");
    response.end(`${socket.remotePort} ${socket.servername} ${socket.getPeerCertificate().subject?.CN}`);
  });
  const holdfast = await startHoldfast(t, {
    files: {
      "conf/a.crt": own.certificate,
      "conf/client.crt": client.certificate,
      "conf/client.key": client.key,
      "conf/other.crt": other.certificate,
      "conf/other.key": other.key,
    },
    config: ([port]) => `worker_processes 1; http { upstream a.example { server ${backend.address}; keepalive 16; }
      server { listen 127.0.0.1:${port}; proxy_ssl_server_name on; proxy_ssl_trusted_certificate a.crt;
        location /one { proxy_pass https://a.example; }
        location /two { proxy_pass https://a.example; }
        location /named { proxy_pass https://a.example; proxy_ssl_name $arg_name; }
        location /verified { proxy_pass https://a.example; proxy_ssl_verify on; }
        location /distrusted { proxy_pass https://a.example; proxy_ssl_verify on; proxy_ssl_trusted_certificate other.crt; }
        location /shown { proxy_pass https://a.example; proxy_ssl_certificate client.crt; proxy_ssl_certificate_key client.key; }
        location /variable { proxy_pass https://a.example; proxy_ssl_certificate $arg_who.crt; proxy_ssl_certificate_key $arg_who.key; }
      } }`,
  });
  const ask = async (path: string) => {
    const { status, body } = await get(holdfast.port, path);
    assert.equal(status, 200, path);
    const [port, ...rest] = body.split(" ");
    return { port, said: rest.join(" ") };
  };
  const seen = new Map<string, string>();
  for (const [path, alike, said] of [
    ["/one", "/two", "a.example undefined"],
    ["/named?name=b.example", "/named?name=b.example:443", "b.example undefined"],
    ["/named?name=c.example", "/named?name=c.example", "c.example undefined"],
    ["/verified", "/verified", "a.example undefined"],
    ["/shown", "/shown", "a.example client"],
    ["/variable?who=client", "/variable?who=client", "a.example client"],
    ["/variable?who=other", "/variable?who=other", "a.example other"],
  ]) {
    const first = await ask(path);
    assert.equal(first.said, said, path);
    assert.equal(seen.get(first.port), undefined, `${path} has the connection of ${seen.get(first.port)}`);
    seen.set(first.port, path);
    assert.deepEqual(await ask(alike), first, alike);
  }
  // What is kept for others that trust the server is no way around.
  assert.equal((await get(holdfast.port, "/distrusted")).status, 502);
  assert.equal((await ask("/named?name=a.example")).port, (await ask("/one")).port);
});

test("an upgraded connection: bytes both ways, each side's end", { skip }, async (t) => {
  const port = await tlsBackend(t, shown(selfSigned("a.example")), async (connection) => {
    await connection.readHeader();
    connection.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ");
    for (let said = await connection.read(); said !== undefined; said = await connection.read()) connection.write(said);
    connection.write("bye");
    connection.end();
  });
  const holdfast = await startHoldfast(t, {
    config: ([own]) => `worker_processes 1; http { server { listen 127.0.0.1:${own}; location / {
      proxy_pass https://127.0.0.1:${port}; proxy_set_header Connection upgrade; proxy_set_header Upgrade $http_upgrade; } } }`,
  });
  const client = await RawConnection.open(holdfast.port);
  client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
  await client.until((received) => received.endsWith("hello "));
  const large = "0123456789".repeat(30_000);
  client.write(large);
  await client.until((received) => received.endsWith(`hello ${large}`));
  client.socket.end();
  await client.until((received) => received.endsWith("bye"));
});

test("a unix socket; an answer that ends with the connection", { skip }, async (t) => {
  const path = join(makePrefix(t), "backend");
  const body = "0123456789".repeat(20_000);
  await tlsBackend(
    t,
    shown(selfSigned("a.example")),
    async (connection) => {
      const head = await connection.readHeader();
      connection.write(`HTTP/1.0 200 OK\r\nX-Request: ${head?.split("\r\n")[0]}\r\n\r\n${body}`);
      connection.end();
    },
    path,
  );
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `user root; worker_processes 1; http { server { listen 127.0.0.1:${port};
      location /a/ { proxy_pass https://unix:${path}:/b/; proxy_ssl_server_name on; } } }`,
  });
  const answer = await get(holdfast.port, "/a/c");
  assert.equal(answer.header("x-request"), "GET /b/c HTTP/1.1");
  assert.ok(answer.body === body);
});

test("ports, names, redirects and times", { skip }, async (t) => {
  const backend = await httpsBackend(t, shown(selfSigned("a.example")), ({ url, headers }, response) => {
    if (url === "/to/moved") response.writeHead(302, { Location: `https://${headers.host}/to/elsewhere` });
    response.end(headers.host);
  });
  const { address } = backend;
  // Its first packet waits: that is the handshake's time.
  const slow = await tcpBackend(t, async (connection) => {
    const hello = await connection.read();
    await new Promise((resolve) => setTimeout(resolve, 120));
    const to = await RawConnection.open(backend.port);
    connection.socket.removeAllListeners("data");
    to.write(Buffer.from(hello ?? "", "latin1"));
    connection.socket.pipe(to.socket).pipe(connection.socket);
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http { add_header X-Passed "$proxy_host $proxy_port";
      add_header X-Times "$upstream_connect_time $upstream_header_time";
      upstream group { server ${address}; }
      server { listen 127.0.0.1:${port};
        location /group/ { proxy_pass https://group/to/; }
        location /address/ { proxy_pass HTTPS://${address}/to/; }
        location /slow/ { proxy_pass https://${slow.address}/to/; }
        location /variable/ { set $scheme_of_it https; proxy_pass $scheme_of_it://${address}; } } }`,
  });
  const passed = async (path: string) => (await get(holdfast.port, path)).header("x-passed");
  assert.equal(await passed("/group/"), "group 443");
  assert.equal(await passed("/address/"), `${address} ${backend.port}`);
  assert.equal(await passed("/variable/"), `${address} ${backend.port}`);
  const moved = await get(holdfast.port, "/group/moved");
  assert.equal(moved.header("location"), `http://localhost:${holdfast.port}/group/elsewhere`);
  const times = (await get(holdfast.port, "/slow/")).header("x-times")?.split(" ").map(Number) ?? [];
  assert.ok(times[0] >= 0.1 && times[1] >= times[0], String(times));
});

test("a client that leaves: the server is told, and what it has sent is not waited for", { skip }, async (t) => {
  let ended: (() => void) | undefined;
  const over = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const port = await tlsBackend(t, shown(selfSigned("a.example")), async (connection) => {
    connection.socket.on("end", () => ended?.());
    await connection.readHeader();
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
  });
  const holdfast = await startHoldfast(t, {
    config: ([own]) => `worker_processes 1; http { server { listen 127.0.0.1:${own};
      location / { proxy_pass https://127.0.0.1:${port}; proxy_buffering off; } } }`,
  });
  const client = await RawConnection.open(holdfast.port);
  client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.until((received) => received.endsWith("part"));
  client.socket.destroy();
  // "end" is close_notify: a connection that was cut would be an error.
  await over;
});

test("a server that answers before it has read the body", { skip }, async (t) => {
  const port = await tlsBackend(t, shown(selfSigned("a.example")), async (connection) => {
    await connection.readHeader();
    connection.socket.pause();
    connection.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nearly");
  });
  const holdfast = await startHoldfast(t, {
    config: ([own]) => `worker_processes 1; http { client_max_body_size 0; server { listen 127.0.0.1:${own};
      location / { proxy_pass https://127.0.0.1:${port}; proxy_request_buffering off; } } }`,
  });
  const client = await RawConnection.open(holdfast.port);
  client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n");
  client.write("0".repeat(8_000_000));
  const answer = await client.readResponse();
  assert.equal(answer.status, 403);
  assert.equal(answer.body, "early");
});

test("a server that renegotiates when it has read the request (TLS 1.2)", { skip }, async (t) => {
  const options = { ...shown(selfSigned("a.example")), maxVersion: "TLSv1.2" } as const;
  const backend = await httpsBackend(t, options, ({ socket }, response) => {
    if (!(socket instanceof TLSSocket)) throw new Error("no TLS");
    socket.renegotiate({}, (error) => response.end(error?.message ?? "renegotiated"));
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http {
      server { listen 127.0.0.1:${port}; location / { proxy_pass https://${backend.address}; } } }`,
  });
  assert.equal((await get(holdfast.port, "/")).body, "renegotiated");
});
