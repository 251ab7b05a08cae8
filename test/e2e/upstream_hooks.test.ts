import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { cannedBackend } from "../support/backend.ts";
import { bundled, type Running, startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection } from "../support/tcp.ts";

const HOOKED = fileURLToPath(new URL("../support/hooked_main.ts", import.meta.url));

const OK_A = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
const OK_B = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb";

/** Two servers that give these answers, with a module's hooks in their way. */
async function startHooked(t: TestContext, answers: readonly [string, string]): Promise<Running> {
  const [a, b] = [await cannedBackend(t, answers[0]), await cannedBackend(t, answers[1])];
  return startHoldfast(t, {
    entry: bundled(HOOKED),
    config: ([port]) => `
      worker_processes 1;
      http {
        upstream u { server 127.0.0.1:${a.port}; server 127.0.0.1:${b.port}; }
        server {
          listen 127.0.0.1:${port};
          location / { hooks on; proxy_pass http://u; }
          location /plain { proxy_pass http://u; }
        }
      }`,
  });
}

test("a hook says which server is preferred, at once or later", async (t) => {
  const holdfast = await startHooked(t, [OK_A, OK_B]);
  for (const field of ["Peer: 1", "Peer-Later: 1", "Peer: 1", "Peer-Later: 1"]) {
    const response = await get(holdfast.port, "/", field);
    assert.deepEqual([response.status, response.body, response.header("hook")], [200, "b", "1 200"], field);
  }
  const response = await get(holdfast.port, "/", "Peer: 0");
  assert.deepEqual([response.body, response.header("hook")], ["a", "0 200"]);
  assert.equal((await get(holdfast.port, "/plain")).header("hook"), undefined, "a location without the hooks");
});

test("a preferred server that fails is followed by the next, and the hook of the head sees the last", async (t) => {
  const holdfast = await startHooked(t, [OK_A, ""]);
  const response = await get(holdfast.port, "/", "Peer-Later: 1");
  assert.deepEqual([response.status, response.body, response.header("hook")], [200, "a", "0 200"]);
});

test("a hook ends a request before a server is chosen, or instead of its answer", async (t) => {
  const holdfast = await startHooked(t, [OK_A, OK_B]);
  assert.equal((await get(holdfast.port, "/", "Peer-Code: 503")).status, 503);
  assert.equal((await get(holdfast.port, "/", "Head-Code: 502")).status, 502);
  assert.equal((await get(holdfast.port, "/", "Head-Take: on")).body, "the hook's");
  assert.equal((await get(holdfast.port, "/")).status, 200);
});

test("the hooks of the body and of the end hear of what came, and whether that was all", async (t) => {
  const cut = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc";
  const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n4\r\ncdef\r\n0\r\n\r\n";
  const holdfast = await startHooked(t, [cut, chunked]);
  assert.equal((await get(holdfast.port, "/", "Peer: 1")).body, "abcdef");
  await holdfast.waitForLog(/hook end: 6 bytes, complete/);
  const connection = await RawConnection.open(holdfast.port);
  connection.write("GET / HTTP/1.1\r\nHost: a\r\nPeer: 0\r\n\r\n");
  assert.match(await connection.readAll(), /\r\n\r\nabc$/);
  await holdfast.waitForLog(/hook end: 3 bytes, incomplete/);
});

test("a client that leaves while a hook waits is given up, and the hook's word comes too late", async (t) => {
  const holdfast = await startHooked(t, [OK_A, OK_B]);
  const connection = await RawConnection.open(holdfast.port);
  connection.write("GET / HTTP/1.1\r\nHost: a\r\nPeer-Held: 1\r\n\r\n");
  connection.close();
  await holdfast.waitForLog(/client prematurely closed connection/);
  assert.equal((await get(holdfast.port, "/plain", "Release: on")).status, 200);
  assert.doesNotMatch(holdfast.errorLog(), /the hook has proceeded/, "only a location with the hooks has them");
  assert.equal((await get(holdfast.port, "/?first", "Release: on", "Peer: 1")).body, "b");
  await holdfast.waitForLog(/the hook has proceeded/);
  await holdfast.waitForLog(/hook end/);
  assert.equal(holdfast.errorLog().match(/hook end/g)?.length, 1, "no passage was begun for the one that left");
});
