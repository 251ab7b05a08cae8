/** `sendfile`: files that the kernel sends, on the engine that can have it do so; the same bytes as any other way. */
import assert from "node:assert/strict";
import { truncateSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { openBy, workersOf } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const BIG = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * 7 + (i >> 10)) & 127)).toString("latin1");

/** More than a socket of each side takes. */
const HUGE = BIG.repeat(8);

function start(t: TestContext, files: Record<string, string> = {}): Promise<Running> {
  return startHoldfast(t, {
    files: {
      ...files,
      "html/big.bin": BIG,
      "html/page.txt": "word ".repeat(20_000),
    },
    config: ([port]) => `events { use io_uring; }
      http {
        log_format sent "$uri $status $bytes_sent $body_bytes_sent";
        access_log logs/sent.log sent;
        server {
          listen 127.0.0.1:${port};
          send_timeout 20s;
          location /off/ { sendfile off; alias html/; }
          location /small/ { sendfile_max_chunk 10k; alias html/; }
          location /slow/ { limit_rate 2m; alias html/; }
          location /sub/ { alias html/; sub_filter word WORD; sub_filter_once off; sub_filter_types *; }
        }
      }`,
  });
}

test("whole files and ranges, however they are sent, and what follows on the connection", async (t) => {
  const holdfast = await start(t);
  const { port } = holdfast;
  for (const path of ["/big.bin", "/off/big.bin", "/small/big.bin"]) {
    const connection = await RawConnection.open(port);
    for (let i = 0; i < 2; i++) {
      connection.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      const response = await connection.readResponse();
      assert.equal(response.status, 200);
      assert.equal(response.body === BIG, true, path);
    }
    connection.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nRange: bytes=100000-1099999\r\n\r\n`);
    assert.equal((await connection.readResponse()).body === BIG.slice(100_000, 1_100_000), true);
    connection.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nRange: bytes=5-300004, 2000000-2100000\r\n\r\n`);
    const { body } = await connection.readResponse();
    assert.ok(body.includes(`\r\n\r\n${BIG.slice(5, 300_005)}\r\n--`), "the first part");
    assert.ok(body.includes(`\r\n\r\n${BIG.slice(2_000_000, 2_100_001)}\r\n--`), "the second part");
    connection.close();
  }
  await holdfast.waitForLog(new RegExp(`/big.bin 200 \\d+ ${BIG.length}`), "logs/sent.log");
});

test("a rate and a filter hold for a file as well", async (t) => {
  const { port } = await start(t);
  assert.equal((await get(port, "/slow/big.bin")).body === BIG, true);
  assert.equal((await get(port, "/sub/page.txt")).body, "WORD ".repeat(20_000));
});

test("clients that read slowly get all of it; who leaves leaves no descriptor behind", async (t) => {
  const holdfast = await start(t, { "html/huge.bin": HUGE });
  const clients = await Promise.all(Array.from({ length: 10 }, () => RawConnection.open(holdfast.port)));
  for (const client of clients) {
    client.socket.pause();
    client.write("GET /huge.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  }
  const [worker] = workersOf(holdfast.pid);
  const open = () => openBy(worker).filter((path) => path.endsWith("huge.bin")).length;
  await waitFor(() => open() === 10, "ten open files");
  for (const client of clients.slice(5)) client.socket.destroy();
  await waitFor(() => open() === 5, "those of who stayed");
  const bodies = await Promise.all(
    clients.slice(0, 5).map(async (client) => {
      client.socket.resume();
      return (await client.readResponse()).body;
    }),
  );
  assert.ok(bodies.every((body) => body === HUGE));
  await waitFor(() => open() === 0, "all files to be closed");
});

test("a file that is cut while it is sent is said to be, and its connection closes", async (t) => {
  const holdfast = await start(t, { "html/half.bin": HUGE });
  const client = await RawConnection.open(holdfast.port);
  client.write("GET /half.bin HTTP/1.1\r\nHost: x\r\n\r\n");
  await client.until((received) => received !== "");
  client.socket.pause();
  truncateSync(join(holdfast.prefix, "html/half.bin"), 100);
  client.socket.resume();
  await client.until(() => false);
  await holdfast.waitForLog(/\[alert\] .*half\.bin" was truncated while it was sent/);
});
