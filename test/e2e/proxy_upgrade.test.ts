import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { tcpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const SWITCH = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
const ASK = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

function start(t: TestContext, address: string, more = "") {
  return startHoldfast(t, {
    config: ([
      port,
    ]) => `http { log_format up "$status $upstream_status $upstream_bytes_received"; access_log logs/access.log up;
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://${address}; proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; ${more} } } }`,
  });
}

test("after 101 bytes go both ways, from the first one on, and a half-close goes through", async (t) => {
  const { address } = await tcpBackend(t, async (connection) => {
    const head = (await connection.readHeader()) ?? "";
    // The first bytes come with the head's last packet.
    connection.write(`${SWITCH}${/upgrade: echo/i.test(head) ? "hello " : "lost "}`);
    for (;;) {
      const bytes = await connection.read();
      if (bytes === undefined) break;
      connection.write(bytes);
    }
    connection.write("goodbye");
    connection.end();
  });
  const holdfast = await start(t, address);
  const client = await RawConnection.open(holdfast.port);
  // What follows the request at once belongs to the tunnel.
  client.write(`${ASK}eager `);
  await client.until((received) => received.endsWith("hello eager "));
  assert.match(client.received, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
  assert.match(client.received, /\r\nConnection: upgrade\r\n/i);
  client.write("x".repeat(300_000));
  await client.until((received) => received.length > 300_000);
  client.end();
  const all = await client.readAll();
  assert.match(all, /goodbye$/);
  await holdfast.waitForLog(/^101 101 \d+$/m, "logs/access.log");
});

test("a tunnel nobody uses ends after proxy_read_timeout, one in use lives on", async (t) => {
  const { address } = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write(SWITCH);
    for (;;) {
      const bytes = await connection.read();
      if (bytes === undefined) break;
      connection.write(bytes);
    }
  });
  const holdfast = await start(t, address, "proxy_read_timeout 400ms;");
  await waitFor(async () => {
    const client = await RawConnection.open(holdfast.port);
    client.write(ASK);
    await client.until((received) => received.includes("\r\n\r\n"));
    const end = performance.now() + 900;
    let slowest = 0;
    let last = performance.now();
    for (let length = client.received.length + 4; last < end && !client.ended; length += 4) {
      client.write("ping");
      await client.until((received) => received.length === length);
      slowest = Math.max(slowest, performance.now() - last);
      last = performance.now();
    }
    // Where the machine was busy with other things for so long, nobody has used it.
    if (slowest > 200) return false;
    assert.equal(client.ended, false);
    await client.readAll();
    assert.equal(client.ended, true);
    return true;
  }, "a tunnel that is in use all the time");
  await holdfast.waitForLog(/upstream timed out \(110: Connection timed out\) while proxying upgraded connection/);
});

test("101 without being asked for is passed on but makes no tunnel", async (t) => {
  const { address } = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write(SWITCH);
    await connection.read();
  });
  const holdfast = await start(t, address, "proxy_read_timeout 300ms;");
  const client = await RawConnection.open(holdfast.port);
  client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.readAll();
  assert.equal(client.ended, true);
});

test("one side that vanishes takes the other with it", async (t) => {
  let closed: ((value: unknown) => void) | undefined;
  const gone = new Promise((resolve) => {
    closed = resolve;
  });
  const { address } = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write(SWITCH);
    if (connection.number === 1) {
      await connection.read((received) => received === "reset");
      connection.reset();
      return;
    }
    await connection.read(() => false);
    closed?.(undefined);
  });
  const holdfast = await start(t, address);
  const first = await RawConnection.open(holdfast.port);
  first.write(ASK);
  await first.until((received) => received.includes("\r\n\r\n"));
  first.write("reset");
  await first.readAll();
  assert.equal(first.ended, true);
  const second = await RawConnection.open(holdfast.port);
  second.write(ASK);
  await second.until((received) => received.includes("\r\n\r\n"));
  second.socket.resetAndDestroy();
  await gone;
});

test("megabytes go through a tunnel in both directions, and all of them are counted", async (t) => {
  const length = 12_000_000;
  const { address } = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write(SWITCH);
    let got = 0;
    while (got < length) got += (await connection.read())?.length ?? length;
    connection.write("y".repeat(length));
    connection.end();
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http {
      log_format up "$bytes_sent $body_bytes_sent $upstream_bytes_sent $upstream_bytes_received $upstream_response_length";
      access_log logs/access.log up;
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://${address}; proxy_http_version 1.1;
        proxy_set_header Host a; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "Upgrade"; } } }`,
  });
  const client = await RawConnection.open(holdfast.port);
  client.write(ASK);
  await client.until((received) => received.includes("\r\n\r\n"));
  const head = client.received.length;
  client.write("x".repeat(length));
  const all = await client.readAll();
  assert.equal(all.length, head + length);
  assert.equal(all.slice(head) === "y".repeat(length), true);
  client.end();
  const sent = ASK.length + length;
  const received = SWITCH.length + length;
  await holdfast.waitForLog(
    new RegExp(`^${all.length} ${length} ${sent} ${received} ${length}$`, "m"),
    "logs/access.log",
  );
});
