import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** `listen`: which sockets there are, who answers on them, and how they come and go. */

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async function askOn(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, host, () => socket.write("GET / HTTP/1.0\r\n\r\n"));
    let text = "";
    socket.setEncoding("latin1");
    socket.on("data", (part: string) => {
      text += part;
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(text.slice(text.indexOf("\r\n\r\n") + 4)));
  });
}

test("a wildcard socket serves the port's other addresses, each its own servers", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http {
      server { listen 127.0.0.2:${port}; return 200 two; }
      server { listen ${port}; server_name any; return 200 any; }
      server { listen ${port} default_server; server_name default; return 200 "default $server_addr"; } }`,
  });
  assert.equal(await askOn("127.0.0.2", holdfast.port), "two");
  assert.equal(await askOn("127.0.0.3", holdfast.port), "default 127.0.0.3");
});

test("a duplicate listen names the address it came to", async (t) => {
  const outcome = await runHoldfast(t, {
    config: "http { server { listen 8080; listen *:8080; } }",
    args: ["-t"],
  });
  assert.equal(outcome.code, 1);
  assert.match(outcome.stderr, /\[emerg\] a duplicate listen 0\.0\.0\.0:8080 in .*conf\/nginx\.conf:1/);
});

test("several workers accept on one unix socket; a reload takes it away with its file", async (t) => {
  const config = (port: number, path: string) => `worker_processes 3; http {
      server { listen 127.0.0.1:${port}; location / { return 200 tcp; } }
      ${path === "" ? "" : `server { listen unix:${path}; location / { return 200 "$remote_addr $server_addr"; } }`} }`;
  const name = "holdfast.sock";
  const holdfast = await startHoldfast(t, {
    config: ([port]) => config(port, "logs/../holdfast.sock"),
    args: [],
    files: {},
  });
  // The path is relative to where the program was started.
  const path = join(process.cwd(), "logs", "..", name);
  t.after(() => spawnSync("rm", ["-f", path]));
  await waitFor(() => existsSync(path), "the socket");
  assert.equal(statSync(path).mode & 0o777, 0o666);
  const answers = await Promise.all(Array.from({ length: 30 }, () => get(path, "/")));
  for (const { body } of answers) assert.equal(body, "unix: unix:logs/../holdfast.sock");
  assert.equal(await holdfast.reload(config(holdfast.port, "")), true);
  assert.equal(existsSync(path), false);
  assert.equal(await holdfast.reload(config(holdfast.port, "logs/../holdfast.sock")), true);
  assert.match((await get(path, "/")).body, /^unix:/);
  await holdfast.stop();
  assert.equal(existsSync(path), false);
});

test("parameters reach the socket", { skip: have("ss") }, async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) =>
      `http { server { listen 127.0.0.1:${port} backlog=77 so_keepalive=30m::10 rcvbuf=32k sndbuf=16k fastopen=5 deferred; return 200; } }`,
  });
  const { stdout } = spawnSync("ss", ["-ltnm", `sport = :${holdfast.port}`], { encoding: "latin1" });
  assert.match(stdout, /\b77\b/);
  // The kernel doubles what it is asked for.
  assert.match(stdout, /rb65536,.*tb32768/);
  const connection = await RawConnection.open(holdfast.port);
  connection.write("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
  await connection.readResponse();
  const timers = spawnSync("ss", ["-tno", `sport = :${holdfast.port}`], { encoding: "latin1" }).stdout;
  assert.match(timers, /keepalive,(29|30)min/);
  assert.doesNotMatch(holdfast.errorLog(), /\[(alert|error)\]/);
});

test("QUIT closes idle connections at once, and running ones after their answer", async (t) => {
  const backend = await httpBackend(t, (_request, response) => response.end("done"));
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen 127.0.0.1:${port};
      location / { proxy_pass http://${backend.address}; } location /end { return 200 fine; }
      location /kept { keepalive_min_timeout 1h; return 200 kept; } } }`,
  });
  const [idle, running, kept] = await Promise.all([1, 2, 3].map(() => RawConnection.open(holdfast.port)));
  idle.write(GET.replace("/", "/end"));
  await idle.readResponse();
  kept.write(GET.replace("/", "/kept"));
  await kept.readResponse();
  running.write("POST /run HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  assert.equal((await running.readResponse()).status, 100);
  holdfast.signal("SIGQUIT");
  assert.equal(await idle.readAll(), "");
  kept.write(GET.replace("/", "/kept"));
  assert.equal((await kept.readResponse()).body, "kept");
  assert.equal(holdfast.exit, undefined);
  running.write("ok");
  const answer = await running.readResponse();
  assert.equal(answer.body, "done");
  assert.equal(answer.header("connection"), "close");
  assert.equal(await holdfast.exited, 0);
});

test("a reload leaves connections alone, idle or at work; what is asked next has the new configuration", async (t) => {
  const config = (port: number, text: string) =>
    `http { server { listen 127.0.0.1:${port}; location / { return 200 ${text}; } location /read { proxy_pass http://127.0.0.1:${port}/; } } }`;
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, "old") });
  const [idle, running] = await Promise.all([1, 2].map(() => RawConnection.open(holdfast.port)));
  idle.write(GET);
  assert.equal((await idle.readResponse()).body, "old");
  running.write("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  assert.equal((await running.readResponse()).status, 100);
  assert.equal(await holdfast.reload(config(holdfast.port, "new")), true);
  idle.write(GET);
  assert.equal((await idle.readResponse()).body, "new");
  running.write("ok");
  assert.equal((await running.readResponse()).status, 200);
  running.write(GET);
  assert.equal((await running.readResponse()).body, "new");
});

test("an address that a reload takes away is let go of", async (t) => {
  const config = (ports: readonly number[]) =>
    `http { server { ${ports.map((port) => `listen 127.0.0.1:${port};`).join(" ")} location / { return 200; } } }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(ports.slice(0, 2)) });
  const [, other] = holdfast.ports;
  const idle = await RawConnection.open(other);
  idle.write(GET);
  await idle.readResponse();
  assert.equal(await holdfast.reload(config([holdfast.port])), true);
  assert.equal(await idle.readAll(), "");
  await assert.rejects(RawConnection.open(other), { code: "ECONNREFUSED" });
});

test("a client that times out on a unix socket is closed, though there is no reset to send, and the worker lives", async (t) => {
  const path = join(tmpdir(), `holdfast-timed-out-${process.pid}.sock`);
  t.after(() => rmSync(path, { force: true }));
  const holdfast = await startHoldfast(t, {
    config: ([port]) =>
      `worker_processes 1; http { reset_timedout_connection on; client_header_timeout 50ms; client_body_timeout 50ms;
        server { listen 127.0.0.1:${port}; listen unix:${path}; location / { return 200 alive; }
          location /pass { proxy_pass http://127.0.0.1:${port}; } } }`,
  });
  for (const sent of ["GET /head", "POST /pass HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx"]) {
    const client = await RawConnection.open(path);
    client.write(sent);
    assert.equal(await client.readAll(), "");
    client.close();
    assert.equal((await get(holdfast.port, "/")).body, "alive");
  }
  assert.doesNotMatch(holdfast.errorLog(), /exited|exception/);
});

test("a head that is refused before its host is known belongs to the default server", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http {
      server { listen 127.0.0.1:${port}; server_name one; add_header X-Server one always; }
      server { listen 127.0.0.1:${port}; add_header X-Server unnamed always; } }`,
  });
  const server = async (head: string) => (await request(holdfast.port, `${head}\r\n\r\n`)).header("x-server");
  assert.equal(await server("GET / HTTP/1.0"), "unnamed");
  assert.equal(await server("GET / HTTP/1.1"), "unnamed");
  assert.equal(await server("GET / HTTP/1.1\r\nHost: bad..host"), "one");
  assert.equal(await server("GET / HTTP/1.1\r\nHost: two\r\nHost: three"), "one");
});
