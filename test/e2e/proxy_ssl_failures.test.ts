import assert from "node:assert/strict";
import { test } from "node:test";
import { httpsBackend, tcpBackend } from "../support/backend.ts";
import { noOpenssl, selfSigned } from "../support/certificates.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { getLogged } from "../support/logged.ts";
import { RawConnection } from "../support/tcp.ts";

/** Handshakes with servers that fail: what the client gets, and what the log says. */

/** Without what OpenSSL says. */
async function ask(server: Running, path: string, lines: number): Promise<readonly string[]> {
  const { status, body, log } = await getLogged(server, path, lines);
  const shown = log.map((line) => line.replace(/\(SSL: error:\w+:SSL routines:[^)]*\)/, "(SSL)"));
  return [status === 200 ? body : String(status), ...shown];
}

test("what fails is said as nginx says it, and the next server is tried", {
  skip: noOpenssl || have("nginx"),
}, async (t) => {
  const { certificate: cert, key } = selfSigned("a.example");
  const good = await httpsBackend(t, { cert, key }, (_request, response) => response.end("good"));
  const plain = await tcpBackend(t, async (connection) => {
    await connection.read();
    connection.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  });
  const closing = await tcpBackend(t, async (connection) => {
    await connection.read();
    connection.end();
  });
  const resetting = await tcpBackend(t, async (connection) => {
    await connection.read();
    connection.reset();
  });
  const silent = await tcpBackend(t, () => {});
  const old = await httpsBackend(t, { cert, key, maxVersion: "TLSv1.2" }, (_request, response) => response.end("old"));
  const strict = await httpsBackend(t, { cert, key, requestCert: true, maxVersion: "TLSv1.2" }, () => {});
  const demanding = await httpsBackend(t, { cert, key, requestCert: true }, () => {});
  const config = ([port]: readonly number[]) => `worker_processes 1; http { access_log off;
    upstream failing { server ${closing.address} max_fails=0; server ${good.address} backup; }
    upstream slow { server ${silent.address} max_fails=0; server ${good.address} backup; }
    server { listen 127.0.0.1:${port}; proxy_ssl_protocols TLSv1.2 TLSv1.3;
      location /plain { proxy_pass https://${plain.address}; }
      location /closing { proxy_pass https://${closing.address}; }
      location /resetting { proxy_pass https://${resetting.address}; }
      location /silent { proxy_pass https://${silent.address}; proxy_connect_timeout 100ms; }
      location /version { proxy_pass https://${old.address}; proxy_ssl_protocols TLSv1.3; }
      location /strict { proxy_pass https://${strict.address}; }
      location /demanding { proxy_pass https://${demanding.address}; }
      location /next { proxy_pass https://failing; }
      location /no-next { proxy_pass https://failing; proxy_next_upstream timeout; }
      location /next-timeout { proxy_pass https://slow; proxy_connect_timeout 1s; }
      location /no-timeout { proxy_pass https://slow; proxy_connect_timeout 100ms; proxy_next_upstream error; }
      location /unknown-ca { proxy_pass https://${good.address}; proxy_ssl_verify on; proxy_ssl_trusted_certificate other; }
      location /long { proxy_pass https://${good.address}; proxy_ssl_server_name on; proxy_ssl_name $arg_name; }
    } }`;
  const files = { "conf/other": selfSigned("other").certificate };
  const ours = await startHoldfast(t, { config, files });
  const nginx = await startNginx(t, { config, files });
  const during = "while SSL handshaking to upstream";
  const expected: Record<string, readonly string[]> = {
    "/plain": ["502", `[error] SSL_do_handshake() failed (SSL) ${during}`],
    "/closing": ["502", `[error] peer closed connection in SSL handshake ${during}`],
    "/resetting": ["502", `[error] peer closed connection in SSL handshake (104: Connection reset by peer) ${during}`],
    "/silent": ["504", `[error] upstream timed out (110: Connection timed out) ${during}`],
    "/version": ["502", `[error] SSL_do_handshake() failed (SSL) ${during}`],
    "/strict": ["502", `[error] SSL_do_handshake() failed (SSL) ${during}`],
    "/next": ["good", `[error] peer closed connection in SSL handshake ${during}`],
    "/no-next": ["502", `[error] peer closed connection in SSL handshake ${during}`],
    "/next-timeout": ["good", `[error] upstream timed out (110: Connection timed out) ${during}`],
    "/no-timeout": ["504", `[error] upstream timed out (110: Connection timed out) ${during}`],
    "/unknown-ca": ["502", `[error] upstream SSL certificate verify error: (18:self-signed certificate) ${during}`],
    [`/long?name=${"a".repeat(300)}`]: [
      "500",
      `[error] SSL_set_tlsext_host_name("${"a".repeat(300)}") failed (SSL) while connecting to upstream`,
    ],
  };
  for (const [path, outcome] of Object.entries(expected)) {
    const answer = await ask(ours, path, outcome.length - 1);
    assert.deepEqual(answer, await ask(nginx, path, outcome.length - 1), path);
    assert.deepEqual(answer, outcome, path);
  }
  // nginx 1.22 knows no alerts of such high numbers.
  assert.deepEqual(await ask(ours, "/demanding", 1), [
    "502",
    "[error] SSL_read() failed (SSL) while reading response header from upstream",
  ]);
});

test("a client that leaves during the handshake ends it", { skip: noOpenssl }, async (t) => {
  let over: (() => void) | undefined;
  const ended = new Promise<void>((resolve) => {
    over = resolve;
  });
  const begun = { read: () => {} };
  const reading = new Promise<void>((resolve) => {
    begun.read = resolve;
  });
  const silent = await tcpBackend(t, async (connection) => {
    connection.socket.on("close", () => over?.());
    await connection.read();
    begun.read();
    await connection.read();
    connection.end();
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http { server { listen 127.0.0.1:${port};
      location / { proxy_pass https://${silent.address}; } } }`,
  });
  const client = await RawConnection.open(holdfast.port);
  client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await reading;
  client.close();
  await ended;
  await holdfast.waitForLog(
    /client prematurely closed connection, so upstream connection is closed too while SSL handshaking to upstream, /,
  );
});
