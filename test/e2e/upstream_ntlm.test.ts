import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { tcpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** A server that answers with the number of the connection that a request came over. */
async function countingServer(t: TestContext) {
  const open = new Set<number>();
  const backend = await tcpBackend(t, async (connection) => {
    open.add(connection.number);
    while ((await connection.readHeader()) !== undefined) {
      const text = String(connection.number);
      connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
    }
    open.delete(connection.number);
    connection.end();
  });
  return { backend, open };
}

test("from its first NTLM or Negotiate credentials on a client has a server's connection of its own", async (t) => {
  const servers = [await countingServer(t), await countingServer(t)];
  const holdfast = await startHoldfast(t, {
    config: ([listen]) => `worker_processes 1; http { upstream u {
        ${servers.map(({ backend }) => `server ${backend.address};`).join(" ")} keepalive 4; ntlm; }
      server { listen ${listen}; location / { proxy_pass http://u; add_header X-Server $upstream_addr; }
        location /other/ { proxy_pass http://u; add_header X-Server $upstream_addr; } } }`,
  });
  const ask = async (client: RawConnection, path = "/", authorization = "") => {
    const line = authorization === "" ? "" : `Authorization: ${authorization}\r\n`;
    client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n${line}\r\n`);
    const response = await client.readResponse();
    return `${response.header("x-server")} ${response.body}`;
  };
  const one = await RawConnection.open(holdfast.port);
  const other = await RawConnection.open(holdfast.port);
  const plain = await RawConnection.open(holdfast.port);
  assert.notEqual((await ask(one)).split(" ")[0], (await ask(one)).split(" ")[0], "nothing is bound yet");
  const mine = await ask(one, "/", "NTLM TlRMTVNTUAAB");
  const others = await ask(other, "/", "negotiate x");
  assert.notEqual(mine, others);
  for (let i = 0; i < 4; i++) {
    assert.equal(await ask(one, i % 2 === 0 ? "/" : "/other/"), mine);
    assert.equal(await ask(other), others);
    const shared = await ask(plain, "/", "Basic Zm9vOmJhcg==");
    assert.ok(shared !== mine && shared !== others);
  }
  const count = () => servers.reduce((sum, { open }) => sum + open.size, 0);
  const before = count();
  one.close();
  await waitFor(() => count() === before - 1, "the end of the client's own connection");
});
