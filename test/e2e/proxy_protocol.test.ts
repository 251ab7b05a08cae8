import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { bundled, type Running, startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** `listen … proxy_protocol`: the stage before a connection's first request. */

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const V1 = "PROXY TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n";
const V2 = Buffer.from("0d0a0d0a000d0a515549540a2111000cc0000201c000020204d2162e", "hex").toString("latin1");
const ADDRESSES = `"$remote_addr|$proxy_protocol_addr|$proxy_protocol_port|$proxy_protocol_server_addr|$proxy_protocol_server_port"`;

/** What a client gets that sends these pieces one after the other, without the head. */
async function ask(port: number, ...pieces: readonly string[]): Promise<string> {
  const connection = await RawConnection.open(port);
  for (const piece of pieces) {
    connection.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const answer = await connection.until((received) => received.includes("\r\n\r\n"));
  connection.close();
  return answer.slice(answer.indexOf("\r\n\r\n") + 4);
}

/** The second port tells of connections without the PROXY protocol. */
function start(t: TestContext, server: string): Promise<Running> {
  return startHoldfast(t, { config: (ports) => config(ports, server) });
}

function config([port, other]: readonly number[], server: string): string {
  return `worker_processes 1; http { access_log off; server { listen 127.0.0.1:${port} proxy_protocol; ${server} }
    server { listen 127.0.0.1:${other}; location / { stub_status; } } }`;
}

function connections(holdfast: Running, active: number, waiting: number): Promise<unknown> {
  const wanted = new RegExp(`^Active connections: ${active + 1} \n(?:.*\n)*Reading: 0 Writing: 1 Waiting: ${waiting} `);
  return waitFor(
    async () => wanted.test((await get(holdfast.ports[1], "/")).body),
    `${active} open, ${waiting} waiting`,
  );
}

test("the header, versions 1 and 2, in any pieces, with the request behind it", async (t) => {
  const holdfast = await start(t, `return 200 ${ADDRESSES};`);
  const { port } = holdfast;
  const said = "127.0.0.1|192.0.2.1|1234|192.0.2.2|5678";
  assert.equal(await ask(port, V1 + GET), said);
  assert.equal(await ask(port, ...(V1 + GET)), said);
  assert.equal(await ask(port, V2 + GET), said);
  assert.equal(await ask(port, ...V2, GET), said);
  assert.equal(await ask(port, "PROXY UNKNOWN\r\n", GET), "127.0.0.1||||");
  await connections(holdfast, 0, 0);
});

test("what is no header is not answered, and the log says why in nginx's words", async (t) => {
  const holdfast = await start(t, "return 200;");
  const { port } = holdfast;
  const logged = (level: string, sentence: string) =>
    holdfast.waitForLog(
      new RegExp(
        `\\[${level}\\] \\S+ \\*\\d+ ${sentence} while reading PROXY protocol, client: 127\\.0\\.0\\.1, server: 127\\.0\\.0\\.1:${port}\n`,
      ),
    );
  assert.equal(await ask(port, GET), "");
  await logged("error", 'broken header: "GET / HTTP/1.1"');
  assert.equal(await ask(port, `PROXY UNKNOWN ${"x".repeat(4096)}`), "");
  // The log cuts a line at 2,048 bytes, as nginx does.
  await holdfast.waitForLog(/\[error\] \S+ \*\d+ broken header: "PROXY UNKNOWN x{1900}/);
  assert.equal(await ask(port, V2.replace("\x00\x0c", "\x10\x00")), "");
  await logged("error", "header is too large");

  const ending = await RawConnection.open(port);
  ending.write("PROXY TCP4 192.0.2.1");
  ending.end();
  assert.equal(await ending.readAll(), "");
  await logged("info", "client closed connection");

  const resetting = await RawConnection.open(port);
  resetting.write("PROXY TCP4 192.0.2.1");
  await connections(holdfast, 1, 1);
  resetting.socket.resetAndDestroy();
  await logged("info", "recv\\(\\) failed \\(104: Connection reset by peer\\)");
  await connections(holdfast, 0, 0);
});

test("client_header_timeout holds for the header", async (t) => {
  const holdfast = await start(t, "client_header_timeout 300ms; return 200;");
  assert.equal(await ask(holdfast.port, "PROXY TCP4 192.0.2.1"), "");
  await holdfast.waitForLog(
    /\[info\] .* client timed out \(110: Connection timed out\) while reading PROXY protocol, client: 127\.0\.0\.1/,
  );
  assert.equal(await ask(holdfast.port, V1), "");
  await holdfast.waitForLog(/client timed out \(110: Connection timed out\) while waiting for request, client/);
  await connections(holdfast, 0, 0);
});

test("a reload and a leaving worker wait for a header under way, and its request is answered", async (t) => {
  const holdfast = await start(t, "return 200 old;");
  const first = await RawConnection.open(holdfast.port);
  first.write(V1.slice(0, 10));
  await connections(holdfast, 1, 1);
  assert.equal(await holdfast.reload(config(holdfast.ports, "return 200 new;")), true);
  first.write(V1.slice(10) + GET);
  assert.equal((await first.readResponse()).body, "new");

  const second = await RawConnection.open(holdfast.port);
  second.write(V1.slice(0, 10));
  await connections(holdfast, 2, 2);
  process.kill(holdfast.pid, "SIGQUIT");
  assert.equal(await first.readAll(), "", "idle, it is closed as soon as the worker leaves");
  first.close();
  second.write(V1.slice(10) + GET);
  const answer = await second.readResponse();
  assert.deepEqual([answer.body, answer.header("connection")], ["new", "close"]);
  assert.equal(await holdfast.exited, 0);
});

test("an exception in the request that came with the header is the request's", async (t) => {
  const holdfast = await startHoldfast(t, {
    entry: bundled(fileURLToPath(new URL("../support/throwing_main.ts", import.meta.url))),
    config: (ports) => config(ports, "location / { throw_at content; }"),
  });
  const connection = await RawConnection.open(holdfast.port);
  connection.write(V1 + GET);
  assert.equal((await connection.readResponse()).status, 500);
  assert.equal(await connection.readAll(), "");
  connection.close();
  await holdfast.waitForLog(/\[alert\] .*thrown on demand .*, client: 127\.0\.0\.1, .*request: "GET \/ HTTP\/1\.1"/);
  await connections(holdfast, 0, 0);
});
