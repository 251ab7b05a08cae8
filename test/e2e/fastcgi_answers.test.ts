import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { BackendConnection } from "../support/backend.ts";
import { answer, END_REQUEST, err, type FastcgiRequest, fastcgiBackend, OVER, out } from "../support/fastcgi.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** What Holdfast makes of a FastCGI application's answers where nginx does not say, or says worse. */

type Respond = (request: FastcgiRequest, connection: BackendConnection) => void | Promise<void>;

/** An application, and Holdfast before it. */
async function start(t: TestContext, respond: Respond, options = ""): Promise<Running> {
  const { address } = await fastcgiBackend(t, respond);
  return startHoldfast(t, {
    config: ([port]) => `http { upstream app { server ${address} max_fails=0; keepalive 2; }
      server { listen 127.0.0.1:${port}; location / { fastcgi_pass app; fastcgi_param URI $uri; ${options} } } }`,
  });
}

const HEAD = "Content-Type: text/plain\r\n\r\n";
const KNOWN = `Content-Length: 4\r\n${HEAD}`;

test("the response is over with the end of stdout, and its connection when the application closes it", async (t) => {
  const app: { connection?: BackendConnection } = {};
  const { port } = await start(t, (_request, connection) => {
    app.connection = connection;
    connection.write(out(`${HEAD}body`) + out(""));
  });
  assert.equal((await get(port, "/")).body, "body");
  const { connection } = app;
  assert.ok(connection);
  assert.equal(connection.ended, false, "not closed under what the application has still to say");
  connection.write(err("late") + END_REQUEST);
  connection.end();
  await waitFor(() => connection.ended, "Holdfast closes it too");
});

test("an application that closes a connection it was to keep has answered whole", async (t) => {
  const answers = [out(`${HEAD}body`) + out(""), out(`${KNOWN}body`), answer("Content-Type: text/plain", "body")];
  let asked = 0;
  const holdfast = await start(
    t,
    ({ keepConn }, connection) => {
      assert.equal(keepConn, true);
      connection.write(answers[asked++ % answers.length]);
      connection.end();
    },
    "fastcgi_keep_conn on;",
  );
  for (let i = 0; i < 6; i++) assert.equal((await get(holdfast.port, "/")).body, "body");
  assert.doesNotMatch(holdfast.errorLog(), /\[error\]/);
});

test("a response that ends within a record is broken off", async (t) => {
  const whole = out(`${HEAD}a body`);
  for (const [sent, options] of [
    [whole.slice(0, -1), ""],
    [`${whole}\x01\x06`, ""],
    [whole, "fastcgi_keep_conn on;"],
    [out(`${KNOWN}bod`), ""],
    [out(`${KNOWN}bod`) + OVER, "fastcgi_buffering off;"],
  ]) {
    const holdfast = await start(
      t,
      (_request, connection) => {
        connection.write(sent);
        connection.end();
      },
      options,
    );
    await assert.rejects(get(holdfast.port, "/"), /the peer closed within a/);
    await holdfast.waitForLog(
      /\[error\] .*upstream prematurely closed (connection|FastCGI stdout) while reading upstream/,
    );
  }
});

test("the response goes on with data behind what was kept: that connection is not used again", async (t) => {
  const connections: number[] = [];
  const { port } = await start(
    t,
    (_request, connection) => {
      connections.push(connection.number);
      connection.write(answer("Content-Type: text/plain", "body") + (connections.length === 2 ? out("late") : ""));
    },
    "fastcgi_keep_conn on;",
  );
  for (let i = 0; i < 4; i++) assert.equal((await get(port, "/")).body, "body");
  assert.deepEqual(connections, [1, 1, 2, 2]);
});

test("a kept connection that the application closes meanwhile costs no request", async (t) => {
  const { port } = await start(
    t,
    ({ params }, connection) => {
      // From the second request on a connection, the application says nothing and closes.
      if (connection.socket.bytesWritten > 0) connection.reset();
      else connection.write(answer("Content-Type: text/plain", params.get("URI")));
    },
    "fastcgi_keep_conn on;",
  );
  for (let i = 0; i < 6; i++) assert.equal((await get(port, `/${i}`)).body, `/${i}`);
});

test("megabytes of stderr are logged in pieces, before and behind the head", async (t) => {
  const record = err("x".repeat(65_000));
  const holdfast = await start(t, (_request, connection) => {
    for (let i = 0; i < 80; i++) connection.write(record);
    connection.write(out(`${HEAD}body`));
    for (let i = 0; i < 80; i++) connection.write(record);
    connection.write(OVER);
    connection.end();
  });
  assert.equal((await get(holdfast.port, "/")).body, "body");
  await holdfast.waitForLog(/FastCGI sent in stderr: "x{500,}/);
  // A line is cut, as in nginx.
  for (const line of holdfast.errorLog().split("\n")) assert.ok(line.length < 4096, `${line.length}`);
});

test("a Status without a text gets the usual one", async (t) => {
  const { port } = await start(t, ({ params }, connection) => {
    connection.write(answer(`Status: ${params.get("URI")?.slice(1)}`));
    connection.end();
  });
  assert.equal((await get(port, "/201")).statusLine, "HTTP/1.1 201 Created");
  assert.equal((await get(port, "/503")).statusLine, "HTTP/1.1 503 Service Temporarily Unavailable");
  assert.equal((await get(port, "/299")).statusLine, "HTTP/1.1 299 ");
});

test("a unix socket that cannot be connected to is named, as in nginx", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) =>
      `http { server { listen 127.0.0.1:${port}; location / { fastcgi_pass unix:/nowhere/php.sock; } } }`,
  });
  assert.equal((await get(holdfast.port, "/")).status, 502);
  await holdfast.waitForLog(
    /\[crit\] .*connect\(\) to unix:\/nowhere\/php\.sock failed \(2: No such file or directory\) while connecting to upstream/,
  );
});

test("over node:net too, connections with buffers of their own size are made and used again", async (t) => {
  const { address } = await fastcgiBackend(t, (_request, connection) => {
    connection.write(answer(`X-Connection: ${connection.number}`, "x".repeat(100_000)));
  });
  for (const use of ["", "use node;"]) {
    const { port } = await startHoldfast(t, {
      config: ([port]) => `events { ${use} }\n http { upstream app { server ${address}; keepalive 1; }
        fastcgi_socket_rcvbuf 8k; fastcgi_socket_sndbuf 8k; fastcgi_keep_conn on;
        server { listen 127.0.0.1:${port}; location / { fastcgi_pass app; } } }`,
    });
    const first = await get(port, "/");
    assert.equal(first.body.length, 100_000);
    assert.equal((await get(port, "/")).header("x-connection"), first.header("x-connection"));
  }
});

test("an answer that catch_stderr refuses is asked for elsewhere; at the end of all servers it is 502", async (t) => {
  const bad = await fastcgiBackend(t, (_request, connection) => {
    connection.write(err("PHP Fatal error: no memory") + answer(HEAD, "broken"));
    connection.end();
  });
  const good = await fastcgiBackend(t, (_request, connection) => {
    connection.write(answer("Content-Type: text/plain", "page"));
    connection.end();
  });
  const start = (servers: string) =>
    startHoldfast(t, {
      config: ([port]) => `http { upstream app { ${servers} }
        server { listen 127.0.0.1:${port}; location / { fastcgi_pass app; fastcgi_catch_stderr "PHP Fatal";
          fastcgi_next_upstream error invalid_header; add_header X-Upstream $upstream_addr always; } } }`,
    });
  const both = await start(`server ${bad.address}; server ${good.address};`);
  const page = await get(both.port, "/");
  assert.deepEqual([page.body, page.header("x-upstream")], ["page", `${bad.address}, ${good.address}`]);
  const alone = await start(`server ${bad.address};`);
  assert.equal((await get(alone.port, "/")).status, 502);
});
