import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { cannedBackend, tcpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

function start(t: TestContext, server: string, http = "") {
  return startHoldfast(t, {
    config: ([port]) =>
      `http { log_format up "$request_method $uri $status [$upstream_status]"; access_log logs/access.log up;
        client_max_body_size 0; ${http} server { listen 127.0.0.1:${port}; ${server} } }`,
  });
}

const BIG = 8 * 1024 * 1024;

test("the warning of a server held out names that server", async (t) => {
  const dead = `127.0.0.1:${await freePort()}`;
  const { address } = await cannedBackend(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  const holdfast = await start(
    t,
    "location / { proxy_pass http://u; }",
    `upstream u { server ${dead}; server ${address} backup; }`,
  );
  assert.equal((await get(holdfast.port, "/a")).body, "ok");
  await holdfast.waitForLog(
    new RegExp(`upstream server temporarily disabled while connecting to upstream, .*upstream: "http://${dead}/a"`),
  );
});

test("a connection whose server has not taken the whole request is not used again", async (t) => {
  const backend = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.socket.pause();
    connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${connection.number}`);
  });
  const holdfast = await start(
    t,
    "location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ''; client_body_buffer_size 16m; }",
    `upstream u { server ${backend.address}; keepalive 4; }`,
  );
  const client = await RawConnection.open(holdfast.port);
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${BIG}\r\n\r\n`);
  client.write(Buffer.alloc(BIG));
  assert.equal((await client.readResponse()).body, "1");
  assert.equal((await get(holdfast.port, "/")).body, "2");
  client.close();
});

test("proxy_send_timeout is the server's time, not a slow client's", async (t) => {
  const backend = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    await connection.read((received) => received.length === 4);
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
  const holdfast = await start(
    t,
    `location / { proxy_pass http://${backend.address}; proxy_request_buffering off; proxy_send_timeout 100ms; }`,
  );
  const client = await RawConnection.open(holdfast.port);
  client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
  await waitFor(() => backend.connections === 1 || undefined);
  await assert.rejects(
    client.until((received) => received !== "", 400),
    /nothing more came/,
  );
  client.write("cd");
  assert.equal((await client.readResponse()).body, "ok");
  client.close();
});

test("a client that leaves in the middle of an answer frees the server, with proxy_ignore_client_abort too", async (t) => {
  const gone: string[] = [];
  const backend = await tcpBackend(t, async (connection) => {
    const path = (await connection.readHeader())?.split(" ")[1] ?? "";
    connection.socket.on("close", () => gone.push(path));
    connection.socket.on("end", () => connection.end());
    connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${4 * BIG}\r\n\r\n`);
    connection.write(Buffer.alloc(4 * BIG));
  });
  const holdfast = await start(
    t,
    `proxy_ignore_client_abort on; proxy_read_timeout 200ms;
     location /none { proxy_pass http://${backend.address}; proxy_max_temp_file_size 0; }
     location /unbuffered { proxy_pass http://${backend.address}; proxy_buffering off; }`,
  );
  for (const path of ["/none", "/unbuffered"]) {
    const client = await RawConnection.open(holdfast.port);
    client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await client.until((received) => received.length > 1000);
    client.socket.pause();
    await assert.rejects(client.until(() => false, 100));
    client.socket.resetAndDestroy();
    await waitFor(() => gone.includes(path) || undefined);
  }
});

test("a slow client gets all that came of an answer that broke off", async (t) => {
  const backend = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${2 * BIG}\r\n\r\n`);
    connection.write(Buffer.alloc(BIG, "x"));
    connection.end();
  });
  const holdfast = await start(t, `location / { proxy_pass http://${backend.address}; proxy_buffers 4 4k; }`);
  const client = await RawConnection.open(holdfast.port);
  client.socket.pause();
  client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await holdfast.waitForLog(/upstream prematurely closed connection while reading upstream/);
  client.socket.resume();
  const all = await client.readAll();
  assert.equal(all.length - all.indexOf("\r\n\r\n") - 4, BIG);
});

test("an answer that cannot be kept for a slow client does not look complete", async (t) => {
  const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
  const backend = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    connection.write(`${chunk.repeat(BIG / 0x10000)}0\r\n\r\n`);
  });
  const holdfast = await start(
    t,
    `location / { proxy_pass http://${backend.address}; proxy_buffers 4 4k; proxy_temp_path spool; }`,
  );
  const directory = join(holdfast.prefix, "spool");
  rmSync(directory, { recursive: true, force: true });
  writeFileSync(directory, "");
  const client = await RawConnection.open(holdfast.port);
  client.socket.pause();
  client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await holdfast.waitForLog(/\[crit\].*while reading upstream/);
  client.socket.resume();
  assert.doesNotMatch((await client.readAll()).slice(-20), /\r\n0\r\n\r\n$/);
});

test("a server chosen by the error page of a filter's refusal hears of a client that leaves", async (t) => {
  const first = await cannedBackend(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  let asked = false;
  let gone = false;
  const second = await tcpBackend(t, async (connection) => {
    connection.socket.on("end", () => {
      gone = true;
    });
    await connection.readHeader();
    asked = true;
  });
  const holdfast = await start(
    t,
    `location / { proxy_pass http://${first.address}; proxy_force_ranges on; error_page 416 /other; }
     location /other { proxy_pass http://${second.address}; }`,
  );
  const client = await RawConnection.open(holdfast.port);
  client.write("GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=100-200\r\n\r\n");
  await waitFor(() => asked || undefined);
  client.close();
  await waitFor(() => gone || undefined);
  await holdfast.waitForLog(/ \d+ \[200 : -\]$/m, "logs/access.log");
});

test("an answer without the body its length announces ends the connection", async (t) => {
  const { address } = await cannedBackend(t, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
  const holdfast = await start(t, `location / { proxy_pass http://${address}; proxy_method HEAD; }`);
  const client = await RawConnection.open(holdfast.port);
  client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.readAll(2000);
  assert.equal(client.ended, true);
});

test("answers to HEAD, 204 and 304 have no body though the server sends one", async (t) => {
  const backend = await tcpBackend(t, async (connection) => {
    const status = (await connection.readHeader())?.split(" ")[1].slice(1);
    connection.write(`HTTP/1.1 ${status} X\r\nContent-Length: 5\r\n\r\nextra`);
  });
  const holdfast = await start(
    t,
    "location / { proxy_pass http://u; }",
    `upstream u { server ${backend.address}; keepalive 4; }`,
  );
  const client = await RawConnection.open(holdfast.port);
  for (const [method, status] of [
    ["HEAD", 200],
    ["GET", 204],
    ["GET", 304],
    ["HEAD", 404],
  ]) {
    client.write(`${method} /${status} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const response = await client.readResponse({ head: true });
    assert.deepEqual([response.status, client.received], [status, ""]);
  }
  assert.equal(backend.connections, 4, "none of the connections is used again");
  client.close();
});

test("informational answers without end are over when proxy_read_timeout is", async (t) => {
  const backend = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    while (!connection.ended) {
      for (const piece of ["HTTP/1.1 100 Continue\r", "\n\r\n"]) {
        connection.write(piece);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  });
  const holdfast = await start(t, `location / { proxy_pass http://${backend.address}; proxy_read_timeout 300ms; }`);
  assert.equal((await get(holdfast.port, "/")).status, 504);
});

test("a field of a server's that a pattern cannot be searched for in bounded time is passed on as it came", async (t) => {
  const location = `/${"a".repeat(60)}c`;
  const { address } = await cannedBackend(
    t,
    `HTTP/1.1 302 Found\r\nLocation: ${location}\r\nContent-Length: 0\r\n\r\n`,
  );
  const holdfast = await start(
    t,
    `location / { proxy_pass http://${address}; proxy_redirect "~^/(a+)+(b)?\\2$" /found; }`,
  );
  const response = await get(holdfast.port, "/");
  assert.equal(response.status, 302);
  assert.deepEqual(
    response.headers.filter(([name]) => name.toLowerCase() === "location").map(([, value]) => value),
    [location],
  );
  assert.doesNotMatch(holdfast.errorLog(), /worker process \d+ exited/);
});
