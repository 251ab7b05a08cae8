import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type TestContext, test } from "node:test";
import { bodyOf, cannedBackend, httpBackend, tcpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { RawConnection, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

function start(t: TestContext, server: string, http = "") {
  return startHoldfast(t, {
    config: ([port]) =>
      `http { log_format up "$request_method $uri $status [$upstream_status]"; access_log logs/access.log up;
        client_max_body_size 0; ${http} server { listen 127.0.0.1:${port}; ${server} } }`,
  });
}

const post = (path: string, length: number) =>
  `POST ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${length}\r\n\r\n`;

function digest(bytes: string | Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

test("bodies arrive whole: small, larger than memory, chunked, buffered and not", async (t) => {
  const { address } = await httpBackend(t, async (incoming, response) => {
    const body = await bodyOf(incoming);
    response.end(
      `${incoming.headers["content-length"] ?? incoming.headers["transfer-encoding"]} ${digest(Buffer.from(body, "latin1"))}`,
    );
  });
  const holdfast = await start(
    t,
    `location /buffered { proxy_pass http://${address}; client_body_buffer_size 4k; }
     location /direct { proxy_pass http://${address}; proxy_request_buffering off; }
     location /set { proxy_pass http://${address}; proxy_set_body "<$request_body>"; }
     location /none { proxy_pass http://${address}; proxy_pass_request_body off; proxy_set_header Content-Length ""; }`,
  );
  for (const size of [0, 10, 5000, 3_000_000]) {
    const body = Buffer.alloc(size, "0123456789abc");
    for (const path of ["/buffered", "/direct"]) {
      const response = await request(holdfast.port, Buffer.concat([Buffer.from(post(path, size)), body]));
      assert.equal(response.body, `${size} ${digest(body)}`, `${path} ${size}`);
    }
  }
  const piece = Buffer.alloc(70_000, "chunk");
  const chunks = Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n")]);
  const all = [...Array(20).fill(chunks), Buffer.from("0\r\n\r\n")];
  const expected = digest(Buffer.concat(Array(20).fill(piece)));
  for (const [path, framing] of [
    ["/buffered", String(20 * piece.length)],
    ["/direct", "chunked"],
  ]) {
    const head = `POST ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const response = await request(holdfast.port, Buffer.concat([Buffer.from(head), ...all]));
    assert.equal(response.body, `${framing} ${expected}`, path);
  }
  assert.equal((await request(holdfast.port, `${post("/set", 3)}abc`)).body, `5 ${digest("<abc>")}`);
  assert.equal((await request(holdfast.port, `${post("/none", 3)}abc`)).body, `undefined ${digest("")}`);
});

test("chunks are too large as soon as one's size says so, whatever came with it", async (t) => {
  const backend = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
  });
  const holdfast = await start(
    t,
    `location / { proxy_pass http://${backend.address}; client_max_body_size 20; }
     location /direct { proxy_pass http://${backend.address}; proxy_request_buffering off; client_max_body_size 20; }`,
  );
  const head = "HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
  const small = "6\r\n012345\r\n";
  for (const path of ["/", "/direct"]) {
    const whole = `POST ${path} ${head}${small}${small}8\r\nabcdefgh\r\n0\r\n\r\n`;
    assert.equal((await request(holdfast.port, whole)).status, 200, path);
    for (const rest of ["9\r\na", "9\r\nabcdefghi\r\n", `9\r\nabcdefghi\r\n${small}0\r\n\r\n`]) {
      const refused = await request(holdfast.port, `POST ${path} ${head}${small}${small}${rest}`);
      assert.equal(refused.status, 413, `${path} ${rest}`);
    }
  }
  await waitFor(
    () => holdfast.errorLog().split("client intended to send too large chunked body: 12+9 bytes").length === 7,
    "the sentence of each refusal",
  );
});

test("an unbuffered body is passed on before it is complete, and its answer may come before its end", async (t) => {
  const backend = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    await connection.read((received) => received === "first");
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
  });
  const holdfast = await start(t, `location / { proxy_pass http://${backend.address}; proxy_request_buffering off; }`);
  const client = await RawConnection.open(holdfast.port);
  client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
  client.write("first");
  const response = await client.readResponse();
  assert.deepEqual([response.status, response.body], [200, "early"]);
  client.close();
});

test("a body in memory or in a file is sent again to the next server; an unbuffered one is not", async (t) => {
  const bad = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    await connection.read();
    connection.reset();
  });
  const good = await httpBackend(t, async (incoming, response) =>
    response.end(String((await bodyOf(incoming)).length)),
  );
  const holdfast = await start(
    t,
    `location / { proxy_pass http://u; client_body_buffer_size 1k; }
     location /direct { proxy_pass http://u; proxy_request_buffering off; client_body_buffer_size 1k; }`,
    `upstream u { server ${bad.address} max_fails=0; server ${good.address} backup; }`,
  );
  const put = (path: string, size: number) =>
    request(
      holdfast.port,
      `PUT ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${size}\r\n\r\n${"x".repeat(size)}`,
    );
  assert.equal((await put("/", 10)).body, "10");
  assert.equal((await put("/", 400_000)).body, "400000");
  assert.equal((await put("/direct", 400_000)).status, 502);
  assert.equal((await put("/direct", 10)).body, "10", "what came at once with the head can be sent again");
});

test("a client that goes away takes the server's connection with it: 499; not with proxy_ignore_client_abort", async (t) => {
  const begun: string[] = [];
  const ended: string[] = [];
  const backend = await tcpBackend(t, async (connection) => {
    const head = (await connection.readHeader()) ?? "";
    const path = head.split(" ")[1];
    begun.push(path);
    await connection.read();
    ended.push(path);
  });
  const holdfast = await start(
    t,
    `location / { proxy_pass http://${backend.address}; }
     location /ignored { proxy_pass http://${backend.address}; proxy_ignore_client_abort on; proxy_read_timeout 300ms; }`,
  );
  for (const path of ["/gone", "/ignored"]) {
    const client = await RawConnection.open(holdfast.port);
    client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await waitFor(() => begun.includes(path) || undefined, `${path} to come to the server`);
    client.close();
    await waitFor(() => ended.includes(path) || undefined, `the end of ${path}`);
  }
  await holdfast.waitForLog(/^GET \/gone 499 \[-\]$/m, "logs/access.log");
  await holdfast.waitForLog(/^GET \/ignored \d+ \[504\]$/m, "logs/access.log");
  await holdfast.waitForLog(/client prematurely closed connection, so upstream connection is closed too while/);
});

test("a response larger than the buffers waits in a file for a slow client", async (t) => {
  const size = 8 * 1024 * 1024;
  const backend = await httpBackend(t, (_, response) => response.end(Buffer.alloc(size, "abcdefg")));
  const holdfast = await start(
    t,
    `location / { proxy_pass http://${backend.address}; }
     location /none { proxy_pass http://${backend.address}; proxy_max_temp_file_size 0; }
     location /unbuffered { proxy_pass http://${backend.address}; proxy_buffering off; }`,
  );
  for (const path of ["/", "/none", "/unbuffered"]) {
    const client = await RawConnection.open(holdfast.port);
    client.socket.pause();
    client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    if (path === "/") await holdfast.waitForLog(/an upstream response is buffered to a temporary file/);
    client.socket.resume();
    const all = await client.readAll();
    const body = all.slice(all.indexOf("\r\n\r\n") + 4);
    assert.equal(digest(Buffer.from(body, "latin1")), digest(Buffer.alloc(size, "abcdefg")), path);
  }
});

test("a client's Expect is answered here, and the field goes no further", async (t) => {
  const backend = await httpBackend(t, async (incoming, response) => {
    const body = await bodyOf(incoming);
    response.end(`${incoming.headers.expect} ${body}`);
  });
  const holdfast = await start(
    t,
    `location / { proxy_pass http://${backend.address}; }
     location /direct { proxy_pass http://${backend.address}; proxy_request_buffering off; }`,
  );
  for (const path of ["/", "/direct"]) {
    const client = await RawConnection.open(holdfast.port);
    client.write(`POST ${path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n`);
    await client.until((received) => received.includes("100 Continue\r\n\r\n"));
    client.write("body");
    await client.until((received) => received.includes("undefined body"));
    client.close();
  }
});

test("a request whose body is gone is not passed on as if it had none", async (t) => {
  const first = await httpBackend(t, (_incoming, response) => {
    response.writeHead(404).end();
  });
  const second = await httpBackend(t, async (incoming, response) => {
    const body = await bodyOf(incoming);
    response.end(`${incoming.method} ${body.length}`);
  });
  const holdfast = await start(
    t,
    `proxy_intercept_errors on; proxy_request_buffering off;
     location /limited { client_max_body_size 5; proxy_pass http://${first.address}; error_page 413 = @other; }
     location /named { proxy_pass http://${first.address}; error_page 404 = @other; }
     location /buffered { proxy_pass http://${first.address}; error_page 404 = @buffered; }
     location /again { proxy_pass http://${first.address}; error_page 404 502 = @other; recursive_error_pages on; }
     location /page { proxy_pass http://${first.address}; error_page 404 /shown; }
     location /answered { proxy_pass http://${first.address}; error_page 404 = @answered; }
     location /set { proxy_pass http://${first.address}; error_page 404 = @set; }
     location /shown { proxy_pass http://${second.address}; }
     location @other { proxy_pass http://${second.address}; }
     location @buffered { proxy_request_buffering on; proxy_pass http://${second.address}; }
     location @answered { return 200 "answered here"; }
     location @set { proxy_set_body set; proxy_pass http://${second.address}; }`,
  );
  const put = (path: string, framing: string): string => `PUT ${path} HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n`;
  /** Sends half of a body, and what is left of it once the answer is there: it is no request of its own. */
  const exchange = async (path: string): Promise<string> => {
    const half = "a".repeat(100_000);
    const connection = await RawConnection.open(holdfast.port);
    connection.write(`${put(path, "Content-Length: 200000")}${half}`);
    const { status, body } = await connection.readResponse();
    connection.write(`${half}GET /shown HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    assert.equal((await connection.readResponse()).body, "GET 0", path);
    connection.close();
    return status === 200 || path === "/page" ? `${status} ${body}` : `${status}`;
  };
  assert.equal(await exchange("/named"), "404");
  assert.equal(await exchange("/buffered"), "404");
  assert.equal(await exchange("/again"), "404");
  assert.equal(await exchange("/page"), "404 GET 0");
  assert.equal(await exchange("/answered"), "200 answered here");
  assert.equal(await exchange("/set"), "200 PUT 3");
  // A body that was refused is gone as well.
  assert.equal((await request(holdfast.port, `${put("/limited", "Content-Length: 10")}0123456789`)).status, 413);
  await holdfast.waitForLog(/the request body is gone, so the request cannot be passed on/);
  // A whole one at hand is there for the second server too.
  const whole = await request(holdfast.port, `${put("/named", "Content-Length: 4")}body`);
  assert.equal(whole.body, "PUT 4");
});

test("proxy_limit_rate slows reading down", async (t) => {
  const { address } = await cannedBackend(t, `HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n${"x".repeat(3000)}`);
  const holdfast = await start(t, `location / { proxy_pass http://${address}; proxy_limit_rate 2000; }`);
  const from = performance.now();
  const response = await request(holdfast.port, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  assert.equal(response.body.length, 3000);
  assert.ok(performance.now() - from > 400);
  assert.equal((await request(holdfast.port, "GET / HTTP/1.0\r\n\r\n")).status, 200);
});
