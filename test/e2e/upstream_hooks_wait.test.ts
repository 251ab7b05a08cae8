import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Backend, type BackendConnection, tcpBackend } from "../support/backend.ts";
import { bundled, type Running, startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection, type RawResponse } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** A hook of the head that has the response wait (UpstreamPassage.proceed). */

const HOOKED = fileURLToPath(new URL("../support/hooked_main.ts", import.meta.url));

const LARGE = "0123456789abcdef".repeat(65536);

/** Holdfast before one server, with a module's hooks on the way; `more` is the location's. */
function startHooked(t: TestContext, { port: server }: Backend, more = "", http = ""): Promise<Running> {
  return startHoldfast(t, {
    entry: bundled(HOOKED),
    config: ([port]) => `
      worker_processes 1;
      http {
        ${http}
        upstream u { server 127.0.0.1:${server}; keepalive 4; }
        server {
          listen 127.0.0.1:${port};
          location / { hooks on; hooks_after on; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://u; ${more} }
          location /release { hooks on; proxy_pass http://u; proxy_connect_timeout 1s; }
        }
      }`,
  });
}

/** Answers every request with what `answer` makes of its request line. */
function server(t: TestContext, answer: (line: string) => string): Promise<Backend> {
  return tcpBackend(t, async (connection) => {
    for (;;) {
      const head = await connection.readHeader();
      if (head === undefined) return;
      connection.write(answer(head.slice(0, head.indexOf("\r\n"))));
    }
  });
}

/** Sends a request whose head waits, and comes back when it does; `lines` hold no line ends. */
async function waiting(holdfast: Running, line: string, ...fields: string[]): Promise<RawConnection> {
  const before = waits(holdfast);
  const connection = await RawConnection.open(holdfast.port);
  connection.write([`${line} HTTP/1.1`, "Host: a", ...fields, "", ""].join("\r\n"));
  await holdfast.waitForLog(new RegExp(`(?:the head waits[\\s\\S]*){${before + 1}}`));
  return connection;
}

function waits(holdfast: Running): number {
  return holdfast.errorLog().match(/the head waits/g)?.length ?? 0;
}

async function release(holdfast: Running): Promise<void> {
  assert.equal((await get(holdfast.port, "/release", "Release: on", "Peer-Code: 204")).status, 204);
}

/** The response to a request that waited, of which nothing may have come meanwhile. */
async function released(holdfast: Running, connection: RawConnection, head = false): Promise<RawResponse> {
  assert.equal(connection.received, "", "nothing is sent while the hook waits");
  await release(holdfast);
  const response = await connection.readResponse({ head });
  assert.equal(response.header("hook"), `0 ${response.status}`);
  return response;
}

const ANSWERS: Readonly<Record<string, readonly [answer: string, status: number, body: string]>> = {
  "/short": ["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, "abc"],
  "/none": ["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, ""],
  "/204": ["HTTP/1.1 204 No Content\r\n\r\n", 204, ""],
  "/large": [`HTTP/1.1 200 OK\r\nContent-Length: ${LARGE.length}\r\n\r\n${LARGE}`, 200, LARGE],
  "/chunked": ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n4\r\ncdef\r\n0\r\n\r\n", 200, "abcdef"],
  "/502": ["HTTP/1.1 502 Bad\r\nContent-Length: 1\r\n\r\nx", 502, "x"],
};

function answerTo(line: string): string {
  const [method, path] = line.split(" ");
  const [answer] = ANSWERS[path];
  return method === "HEAD" ? answer.slice(0, answer.indexOf("\r\n\r\n") + 4) : answer;
}

for (const buffering of ["on", "off"]) {
  test(`a response of any size waits for its head's hook (proxy_buffering ${buffering})`, async (t) => {
    const backend = await server(t, answerTo);
    const holdfast = await startHooked(t, backend, `proxy_buffering ${buffering};`);
    for (const [path, [, status, body]] of Object.entries(ANSWERS)) {
      const response = await released(holdfast, await waiting(holdfast, `GET ${path}`, "Head-Held: 0"));
      assert.deepEqual([response.status, response.body === body], [status, true], path);
    }
    const response = await released(holdfast, await waiting(holdfast, "HEAD /short", "Head-Held: 0"), true);
    assert.deepEqual([response.status, response.header("content-length")], [200, "3"]);
    const posted = await waiting(holdfast, "POST /short", "Head-Held: 0", "Content-Length: 1", "", "x");
    assert.equal((await released(holdfast, posted)).body, "abc");
    // HEAD closes: its answer may yet have a body.
    assert.ok(backend.connections <= 2, `${backend.connections} connections: those that waited are used again`);
  });
}

test("the hooks behind the one that waits are called when it goes on, and may wait themselves", async (t) => {
  const holdfast = await startHooked(t, await server(t, answerTo));
  const first = await released(holdfast, await waiting(holdfast, "GET /short", "Head-Held: 0"));
  assert.deepEqual([first.header("hook-after"), first.body], ["on", "abc"]);
  const connection = await waiting(holdfast, "GET /large", "Head-Held: 0", "After-Held: 0");
  await release(holdfast);
  await holdfast.waitForLog(/(?:the head waits[\s\S]*){3}/);
  const second = await released(holdfast, connection);
  assert.deepEqual([second.headers.filter(([name]) => name === "hook-after").length, second.body === LARGE], [1, true]);
});

test("a hook that has waited ends the request", async (t) => {
  const holdfast = await startHooked(t, await server(t, answerTo));
  const connection = await waiting(holdfast, "GET /large", "Head-Held: 503");
  await release(holdfast);
  const response = await connection.readResponse();
  assert.equal(response.status, 503);
  await holdfast.waitForLog(/hook end: 0 bytes, incomplete/);
});

test("a server that closes or resets meanwhile is found out about when the response goes on", async (t) => {
  const closed = new Map<string, () => void>();
  const backend = await tcpBackend(t, async (connection) => {
    const path = (await connection.readHeader())?.split(" ")[1] ?? "";
    const length = path === "/whole" ? "" : `Content-Length: ${LARGE.length}\r\n`;
    connection.write(`HTTP/1.1 200 OK\r\n${length}\r\nbegun`);
    closed.set(path, () => (path === "/reset" ? connection.reset() : connection.end()));
  });
  const holdfast = await startHooked(t, backend);
  for (const path of ["/whole", "/cut", "/reset"]) {
    const connection = await waiting(holdfast, `GET ${path}`, "Head-Held: 0", "Connection: close");
    closed.get(path)?.();
    await release(holdfast);
    const text = await connection.readAll();
    assert.match(
      text,
      path === "/whole" ? /^HTTP\/1.1 200 [\s\S]*begun/ : /^HTTP\/1.1 200 [\s\S]*\r\n\r\n(?:begun)?$/,
      path,
    );
  }
  await holdfast.waitForLog(/hook end: 5 bytes, complete/);
  await holdfast.waitForLog(/upstream prematurely closed connection while reading upstream/);
});

test("the server's timeout does not run while a hook waits", async (t) => {
  const backend = await server(t, (line) =>
    line.includes("/silent") ? "" : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na",
  );
  const holdfast = await startHooked(t, backend, "proxy_read_timeout 1s;");
  const connection = await waiting(holdfast, "GET /", "Head-Held: 0");
  // This one began later, and its time is over.
  assert.equal((await get(holdfast.port, "/silent")).status, 504);
  assert.doesNotMatch(holdfast.errorLog(), /while reading upstream/);
  await release(holdfast);
  assert.match(await connection.readAll(), /^HTTP\/1.1 200 [\s\S]*\r\n\r\na$/);
  await holdfast.waitForLog(/upstream timed out \(110: Connection timed out\) while reading upstream/);
});

test("a client that leaves while its response waits is given up, and its server's connection closed", async (t) => {
  const gone = Promise.withResolvers<void>();
  const backend = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na");
    await connection.read();
    gone.resolve();
  });
  const holdfast = await startHooked(t, backend);
  (await waiting(holdfast, "GET /", "Head-Held: 0")).close();
  await holdfast.waitForLog(
    /prematurely closed connection, so upstream connection is closed too while reading upstream/,
  );
  await gone.promise;
  await holdfast.waitForLog(/hook end: 0 bytes, incomplete/);
  await release(holdfast);
  assert.equal(holdfast.errorLog().match(/hook end/g)?.length, 1);
  assert.doesNotMatch(holdfast.errorLog(), /\[(?:alert|crit)\]/);
});

test("with proxy_ignore_client_abort, or a cache, the answer is read to its end all the same", async (t) => {
  for (const more of ["proxy_ignore_client_abort on;", "proxy_cache c; proxy_cache_valid any 1m;"]) {
    const backend = await server(t, answerTo);
    const holdfast = await startHooked(t, backend, more, "proxy_cache_path cache keys_zone=c:1m;");
    const connection = await waiting(holdfast, "GET /short", "Head-Held: 0");
    connection.close();
    // The client's end has been seen once a later connection was served.
    assert.equal((await get(holdfast.port, "/none")).status, 200);
    await release(holdfast);
    await holdfast.waitForLog(/hook end: 3 bytes, complete/);
  }
});

test("an upgrade waits, and the tunnel begins with what both sides have sent meanwhile", async (t) => {
  const upgraded = Promise.withResolvers<BackendConnection>();
  const backend = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nfirst");
    upgraded.resolve(connection);
  });
  const upgrade = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "Upgrade";';
  const holdfast = await startHooked(t, backend, upgrade);
  const client = await waiting(holdfast, "GET /", "Head-Held: 0", "Upgrade: echo", "Connection: Upgrade");
  const server = await upgraded.promise;
  server.write(" second");
  client.write("hello");
  const response = await released(holdfast, client);
  assert.equal(response.status, 101);
  await client.until((received) => received === "first second");
  assert.equal(await server.read((received) => received.length === 5), "hello");
  server.end();
  client.end();
  await client.readAll();
  await holdfast.waitForLog(/hook end/);
});

test("an answer that another takes the place of waits too, before that is asked for", async (t) => {
  const answers: Readonly<Record<string, string>> = {
    "/redirected": "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /short\r\nContent-Length: 0\r\n\r\n",
    "/intercepted": "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "/short": ANSWERS["/short"][0],
  };
  const backend = await server(t, (line) => answers[line.split(" ")[1]]);
  const holdfast = await startHooked(t, backend, "proxy_intercept_errors on; error_page 404 =404 /short;");
  for (const [path, status] of [
    ["/redirected", 200],
    ["/intercepted", 404],
  ] as const) {
    const before = waits(holdfast);
    const connection = await waiting(holdfast, `GET ${path}`, "Head-Held: 0");
    assert.equal(waits(holdfast), before + 1, path);
    await release(holdfast);
    await waitFor(() => waits(holdfast) === before + 2);
    assert.equal(connection.received, "");
    await release(holdfast);
    const response = await connection.readResponse();
    assert.deepEqual([response.status, response.body], [status, "abc"], path);
    assert.equal(response.headers.findLast(([name]) => name === "hook")?.[1], "0 200", path);
  }
});
