import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startHoldfast } from "../support/holdfast.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** What bounds a client's connection: time, numbers, sizes, rates. */

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

function server(port: number, inside: string): string {
  return `http { access_log logs/access.log; server { listen 127.0.0.1:${port}; ${inside} } }`;
}

test("a client that sends no whole head in time is logged with 408 and gets nothing", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => server(port, "client_header_timeout 100ms; location / { return 200; }"),
  });
  const silent = await RawConnection.open(holdfast.port);
  assert.equal(await silent.readAll(), "");
  await holdfast.waitForLog(
    /client timed out \(110: Connection timed out\) while waiting for request, client: 127\.0\.0\.1, server: 127/,
  );
  const logged = (sentence: RegExp) => () => sentence.test(holdfast.errorLog());
  /** Until it came in time: where the test was held up, the client was silent too. */
  const late = async (before: string, bytes: string, found: () => boolean) =>
    waitFor(
      async () => {
        const client = await RawConnection.open(holdfast.port);
        client.write(before);
        if (before !== "") await client.until((received) => received.endsWith("\r\n\r\n"));
        client.write(bytes);
        assert.match(await client.readAll(), before === "" ? /^$/ : /^(?:HTTP\/1\.1 200 [^<]*)?$/);
        client.close();
        return found();
      },
      `the end of ${JSON.stringify(bytes)}`,
    );
  await late(
    "",
    "GET /slow HTTP/1.1\r\nHost: a\r\n",
    logged(
      /timed out \(110: Connection timed out\) while reading client request headers, .*"GET \/slow HTTP\/1\.1", host: "a"/,
    ),
  );
  await late(
    GET,
    "GET /lat",
    logged(/timed out \(110: Connection timed out\) while reading client request line, .*request: "GET \/lat"/),
  );
  await holdfast.waitForLog(/"GET \/lat" 408 0 /, "logs/access.log");
  assert.match(holdfast.accessLog(), /"GET \/slow HTTP\/1\.1" 408 0 /);
  assert.doesNotMatch(holdfast.accessLog(), /"" 408 /, "who says nothing is not logged");
});

test("reset_timedout_connection resets, a plain timeout closes", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port, backend]) => `http {
      server { listen 127.0.0.1:${port}; client_body_timeout 50ms; location / { proxy_pass http://127.0.0.1:${backend}; }
        location /reset { reset_timedout_connection on; proxy_pass http://127.0.0.1:${backend}; }
        location /444 { reset_timedout_connection on; return 444; } }
      server { listen 127.0.0.1:${backend}; } }`,
  });
  const ask = async (path: string) => {
    const connection = await RawConnection.open(holdfast.port);
    connection.write(`POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12`);
    assert.equal(await connection.readAll(), "");
    await waitFor(() => connection.socket.destroyed || connection.error !== undefined || path === "/", "the end");
    return connection.error;
  };
  assert.equal(await ask("/reset"), "ECONNRESET");
  assert.equal(await ask("/444"), "ECONNRESET");
  assert.equal(await ask("/"), undefined);
});

test("keepalive_timeout closes what is idle; a body that is dropped has lingering_time", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) =>
      server(port, "keepalive_timeout 100ms; lingering_timeout 100ms; location / { return 200 fine; }"),
  });
  const idle = await RawConnection.open(holdfast.port);
  idle.write(GET);
  assert.equal((await idle.readResponse()).body, "fine");
  assert.equal(await idle.readAll(), "");
  const unfinished = await RawConnection.open(holdfast.port);
  unfinished.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n12345");
  assert.equal((await unfinished.readResponse()).header("connection"), "keep-alive");
  assert.equal(await unfinished.readAll(), "");
});

test("a client that takes nothing of its answer is let go after send_timeout; one that takes little is not", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => server(port, "send_timeout 1s; root files; access_log logs/access.log;"),
    files: { "files/large": "x".repeat(16 * 1024 * 1024) },
  });
  const ask = async (path: string) => {
    const connection = await RawConnection.open(holdfast.port);
    connection.socket.pause();
    connection.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    return connection;
  };
  const timedOut = (path: string) =>
    new RegExp(
      `client timed out \\(110: Connection timed out\\) while sending response to client, .*"GET ${path} `,
    ).test(holdfast.errorLog());
  let tries = 0;
  await waitFor(
    async () => {
      tries++;
      const [stopped, slow] = [await ask(`/large?stopped${tries}`), await ask(`/large?slow${tries}`)];
      // The system says that it takes more only when a third of its buffer is free: what is read must amount to that in time.
      const began = performance.now();
      let read = began;
      let pause = 0;
      while (read - began < 2500) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        slow.socket.read(256 * 1024);
        pause = Math.max(pause, performance.now() - read);
        read = performance.now();
      }
      await waitFor(() => timedOut(`/large\\?stopped${tries}`), "the end of the client that takes nothing");
      stopped.close();
      slow.socket.resume();
      const { body } = await slow.readResponse().catch(() => ({ body: "" }));
      slow.close();
      // Where the test was held up for so long, this client too has taken nothing.
      if (pause > 500) return false;
      assert.equal(body.length, 16 * 1024 * 1024);
      assert.ok(!timedOut(`/large\\?slow${tries}`));
      return true;
    },
    "a client that reads all the time",
    60_000,
  );
});

test("limit_rate with a variable, after a part that goes at once", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => server(port, "root files; limit_rate $arg_rate; limit_rate_after 1k; location / { }"),
    files: { "files/data": "x".repeat(3000) },
  });
  const ask = async (rate: string) => {
    const connection = await RawConnection.open(holdfast.port);
    t.after(() => connection.close());
    connection.write(`GET /data?rate=${rate} HTTP/1.1\r\nHost: a\r\n\r\n`);
    return connection;
  };
  // This one would take half a minute: the others come to their ends meanwhile.
  const slowest = await ask("50");
  await slowest.until((received) => received.length > 1024);
  const start = performance.now();
  const limited = await ask("1k");
  const free = await ask("0");
  const { body } = await free.readResponse();
  assert.equal(body.length, 3000);
  assert.equal((await limited.readResponse()).body.length, 3000);
  const took = performance.now() - start;
  assert.ok(took >= 900, `${took} ms`);
  assert.ok(slowest.received.length < 2500, `${slowest.received.length} bytes`);
  await holdfast.waitForLog(/rate=1k/, "logs/access.log");
  const [first, second] = [...holdfast.accessLog().matchAll(/rate=(\w+)/g)].map(([, rate]) => rate);
  assert.deepEqual([first, second], ["0", "1k"]);
});

test("worker_connections: idle connections make room, and where there are none the newest is closed", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) =>
      `events { worker_connections 6; } ${server(port, "location / { return 200 fine; } location /read { proxy_pass http://127.0.0.1:1; }")}`,
  });
  const oldest = await RawConnection.open(holdfast.port);
  oldest.write(GET);
  await oldest.readResponse();
  // With the listening socket they fill the six places, once the oldest has made room for the last of them.
  const busy: RawConnection[] = [];
  for (let i = 0; i < 5; i++) {
    const connection = await RawConnection.open(holdfast.port);
    connection.write("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert.equal((await connection.readResponse()).status, 100);
    busy.push(connection);
  }
  assert.equal(await oldest.readAll(), "");
  await holdfast.waitForLog(/\[warn\] .*: 6 worker_connections are not enough, reusing connections/);
  const refused = await RawConnection.open(holdfast.port);
  assert.equal(await refused.readAll(), "");
  await holdfast.waitForLog(
    /\[alert\] .*: 6 worker_connections are not enough while accepting new connection on 127\.0\.0\.1:/,
  );
  busy[0].close();
  const after = await waitFor(async () => {
    const connection = await RawConnection.open(holdfast.port);
    connection.write(GET);
    const answer = await connection.until((received) => received.includes("fine"));
    connection.close();
    return answer || undefined;
  }, "a place again");
  assert.match(after, /fine/);
});

test("a large body is spooled; where it cannot be, that request alone gets 500", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port, backend]) => `http {
      client_body_buffer_size 1k; client_max_body_size 0;
      server { listen 127.0.0.1:${port};
        location / { client_body_temp_path spool 1 2; proxy_pass http://127.0.0.1:${backend}; }
        location /kept { client_body_temp_path kept; client_body_in_file_only on; proxy_pass http://127.0.0.1:${backend}; proxy_set_body $request_body_file; }
        location /clean { client_body_temp_path clean; client_body_in_file_only clean; proxy_pass http://127.0.0.1:${backend}; proxy_set_body $request_body_file; }
        location /full { client_body_temp_path full 1; proxy_pass http://127.0.0.1:${backend}; } }
      server { listen 127.0.0.1:${backend}; location / { proxy_pass http://127.0.0.1:${backend}/end; } location /end { return 200 "$http_content_length"; } } }`,
  });
  const post = async (path: string, length: number, chunked = false) => {
    const connection = await RawConnection.open(holdfast.port);
    const body = chunked ? `${length.toString(16)}\r\n${"x".repeat(length)}\r\n0\r\n\r\n` : "x".repeat(length);
    const framing = chunked ? "Transfer-Encoding: chunked" : `Content-Length: ${length}`;
    connection.write(`POST ${path} HTTP/1.1\r\nHost: a\r\n${framing}\r\nConnection: close\r\n\r\n${body}`);
    const answer = await connection.readResponse();
    connection.close();
    return answer;
  };
  assert.equal((await post("/", 300_000)).body, "300000");
  assert.equal((await post("/", 300_000, true)).body, "300000");
  await holdfast.waitForLog(
    /\[warn\] .* a client request body is buffered to a temporary file \S+\/spool\/\d\/\d\d\/\d{10}, client/,
  );
  assert.deepEqual(readdirSync(join(holdfast.prefix, "clean")), []);
  assert.equal((await post("/kept", 5)).status, 200);
  const [kept] = readdirSync(join(holdfast.prefix, "kept"));
  assert.equal(readFileSync(join(holdfast.prefix, "kept", kept), "latin1"), "xxxxx");
  assert.equal((await post("/clean", 5000)).status, 200);
  await waitFor(() => readdirSync(join(holdfast.prefix, "clean")).length === 0, "the file's removal");
  // Something is where a subdirectory would have to be made.
  for (let digit = 0; digit < 10; digit++) writeFileSync(join(holdfast.prefix, "full", String(digit)), "");
  assert.equal((await post("/full", 5000)).status, 500);
  await holdfast.waitForLog(/\[crit\] .* failed \(20: Not a directory\), client: 127\.0\.0\.1/);
  assert.equal((await post("/full", 500)).status, 200);
});
