import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { bodyOf, cannedBackend, httpBackend, tcpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get, RawConnection, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Subrequests as auth_request, mirror and addition make them. Each scenario holds for nginx too. */

type Start = (t: TestContext, config: string) => Promise<Running>;

const files = {
  "html/index.html": "home",
  "html/secret.txt": "secret",
  "html/page": "page",
  "html/many": `${"x".repeat(20_000)}on`,
};

const PROGRAMS: readonly (readonly [name: string, start: Start, skip: false | string])[] = [
  [
    "holdfast",
    (t, config) => startHoldfast(t, { config: (p) => config.replaceAll("PORT", String(p[0])), files }),
    false,
  ],
  [
    "nginx",
    (t, config) => startNginx(t, { config: (p) => config.replaceAll("PORT", String(p[0])), files }),
    have("nginx"),
  ],
];

function scenario(name: string, run: (t: TestContext, start: Start) => Promise<void>): void {
  for (const [program, start, skip] of PROGRAMS) test(`${name} (${program})`, { skip }, (t) => run(t, start));
}

/** An authorization service: the status that the client asks for, and who it is. */
function authority(t: TestContext) {
  const asked: string[] = [];
  return httpBackend(t, (incoming, response) => {
    asked.push(`${incoming.method} ${incoming.url} ${incoming.headers["content-length"] ?? "-"}`);
    const status = Number(incoming.headers["x-want"] ?? 200);
    response.writeHead(status, {
      "X-User": "ada",
      ...(status === 401 ? { "WWW-Authenticate": 'Basic realm="there"' } : {}),
    });
    response.end("not for the client");
  }).then((backend) => ({ backend, asked }));
}

function guarded(auth: string, more = ""): string {
  return `http { log_format s "$uri $status $http_x_want"; access_log logs/access.log s;
    server { listen 127.0.0.1:PORT; root html;
      location /secret.txt { auth_request /auth; auth_request_set $user $upstream_http_x_user; add_header X-Seen $user always; }
      location = /auth { internal; proxy_pass http://${auth}/check; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
      ${more} } }`;
}

scenario("auth_request lets a request on, or answers what the authorization said", async (t, start) => {
  const { backend, asked } = await authority(t);
  const { port } = await start(t, guarded(backend.address));
  const allowed = await get(port, "/secret.txt");
  assert.equal(allowed.body, "secret");
  assert.equal(allowed.header("x-seen"), "ada");
  assert.equal(asked[0], "GET /check -");
  const denied = await get(port, "/secret.txt", "X-Want: 403");
  assert.equal(denied.status, 403);
  assert.equal(denied.header("x-seen"), "ada");
  const unknown = await get(port, "/secret.txt", "X-Want: 401");
  assert.equal(unknown.status, 401);
  assert.equal(unknown.header("www-authenticate"), 'Basic realm="there"');
  assert.equal((await get(port, "/secret.txt", "X-Want: 204")).status, 200);
});

scenario("anything else of the authorization is an error", async (t, start) => {
  const { backend } = await authority(t);
  const program = await start(t, guarded(backend.address));
  assert.equal((await get(program.port, "/secret.txt", "X-Want: 404")).status, 500);
  await program.waitForLog(/auth request unexpected status: 404/);
  await backend.close();
  assert.equal((await get(program.port, "/secret.txt")).status, 500);
  await program.waitForLog(/auth request unexpected status: 502/);
});

scenario("an authorization that answers no HTTP is an error, and no consent", async (t, start) => {
  const backend = await cannedBackend(t, "HTTP/1.1 forbidden\r\n\r\n");
  const program = await start(t, guarded(backend.address));
  assert.equal((await get(program.port, "/secret.txt")).status, 500);
  await program.waitForLog(/auth request unexpected status: 0/);
});

scenario("only the main request is logged", async (t, start) => {
  const { backend } = await authority(t);
  const program = await start(t, guarded(backend.address));
  await get(program.port, "/secret.txt", "X-Want: 403");
  await program.waitForLog(/^\/secret.txt 403 403$/m, "logs/access.log");
  assert.doesNotMatch(program.accessLog(), /auth/);
});

scenario("log_subrequest logs the others too", async (t, start) => {
  const { backend } = await authority(t);
  const config = guarded(backend.address).replace("internal;", "internal; log_subrequest on;");
  const program = await start(t, config);
  await get(program.port, "/secret.txt");
  await program.waitForLog(/^\/auth 200 -\n\/secret.txt 200 -$/m, "logs/access.log");
});

scenario("requests on one connection are authorized one after another", async (t, start) => {
  const { backend, asked } = await authority(t);
  const { port } = await start(t, guarded(backend.address));
  const client = await RawConnection.open(port);
  const head = (want: number) => `GET /secret.txt HTTP/1.1\r\nHost: a\r\nX-Want: ${want}\r\n\r\n`;
  client.write(head(200) + head(403) + head(204));
  const statuses: number[] = [];
  for (let i = 0; i < 3; i++) statuses.push((await client.readResponse()).status);
  assert.deepEqual(statuses, [200, 403, 200]);
  assert.equal(asked.length, 3);
  client.socket.destroy();
});

scenario("the body of the request goes to the backend once it is authorized", async (t, start) => {
  const { backend: auth, asked } = await authority(t);
  const bodies: string[] = [];
  const backend = await httpBackend(t, (incoming, response) => {
    void bodyOf(incoming).then((body) => {
      bodies.push(body);
      response.end("taken");
    });
  });
  const more = `location /up { auth_request /auth; proxy_pass http://${backend.address}; }`;
  const { port } = await start(t, guarded(auth.address, more));
  const body = "b".repeat(100_000);
  const sent = await request(
    port,
    `POST /up HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  assert.equal(sent.body, "taken");
  assert.deepEqual(bodies, [body]);
  assert.deepEqual(asked, ["GET /check -"]);
});

scenario("a subrequest may be redirected to a named location", async (t, start) => {
  const config = `http { server { listen 127.0.0.1:PORT; root html;
    location /secret.txt { auth_request /auth; }
    location = /auth { error_page 404 = @no; }
    location @no { return 403; } } }`;
  const { port } = await start(t, config);
  assert.equal((await get(port, "/secret.txt")).status, 403);
});

scenario("a subrequest that asks for itself ends with an error", async (t, start) => {
  const config = `http { server { listen 127.0.0.1:PORT; root html;
    location /secret.txt { auth_request /auth; }
    location = /auth { mirror /auth; return 204; } } }`;
  const { port } = await start(t, config);
  assert.equal((await get(port, "/secret.txt")).body, "secret");
});

scenario("mirrors get what the client sent, and nobody waits for what they answer", async (t, start) => {
  const seen: string[] = [];
  let answer: (() => void) | undefined;
  const copy = await httpBackend(t, (incoming, response) => {
    void bodyOf(incoming).then((body) => {
      seen.push(`${incoming.method} ${incoming.url} ${body.length}`);
      answer = () => response.end("ignored");
    });
  });
  const backend = await httpBackend(t, (incoming, response) => {
    incoming.resume();
    incoming.on("end", () => response.end("real"));
  });
  const config = `http { client_max_body_size 0; server { listen 127.0.0.1:PORT;
    location / { mirror /copy; proxy_pass http://${backend.address}; }
    location = /copy { internal; proxy_pass http://${copy.address}/copied$is_args$args; } } }`;
  const { port } = await start(t, config);
  const client = await RawConnection.open(port);
  const body = "m".repeat(1_000_000);
  client.write(`PUT /x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  assert.equal((await client.readResponse()).body, "real");
  await waitFor(() => answer !== undefined, "the mirrored request");
  assert.deepEqual(seen, ["PUT /copied?y=1 1000000"]);
  answer?.();
  // Then the connection goes on.
  client.write("GET /again HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await client.readResponse()).body, "real");
  client.socket.destroy();
});

scenario("a mirror goes on though the client has gone", async (t, start) => {
  let arrived = "";
  const copy = await httpBackend(t, (incoming, response) => {
    response.flushHeaders();
    void bodyOf(incoming).then((body) => {
      arrived = body;
      response.end();
    });
  });
  const config = `http { server { listen 127.0.0.1:PORT;
    location / { mirror /copy; return 200 done; }
    location /page { mirror /copy; root html; }
    location = /copy { internal; proxy_pass http://${copy.address}; } } }`;
  const { port } = await start(t, config);
  const response = await request(port, "POST /page HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello");
  assert.equal(response.status, 405);
  await waitFor(() => arrived === "hello", "the mirrored body");
});

async function refuses(port: number): Promise<boolean> {
  try {
    (await RawConnection.open(port)).socket.destroy();
    return false;
  } catch {
    return true;
  }
}

scenario("a worker that exits waits for a mirror whose client has gone", async (t, start) => {
  let release: (() => void) | undefined;
  let ended = "";
  const copy = await httpBackend(t, (_incoming, response) => {
    response.on("close", () => {
      ended = response.writableFinished ? "answered" : "broken off";
    });
    release = () => response.end();
  });
  const program = await start(
    t,
    `http { server { listen 127.0.0.1:PORT; location / { mirror /copy; root html; }
      location = /copy { internal; proxy_pass http://${copy.address}; } } }`,
  );
  const client = await RawConnection.open(program.port);
  client.write("GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await client.readResponse()).body, "page");
  await waitFor(() => release !== undefined, "the mirrored request");
  client.socket.resetAndDestroy();
  program.signal("SIGQUIT");
  await waitFor(() => refuses(program.port), "the listening socket to close");
  release?.();
  await waitFor(() => ended !== "", "the end of the mirrored request");
  assert.equal(ended, "answered");
  assert.equal(await program.exited, 0);
});

scenario("a connection is free again when a mirror has failed that its client did not wait for", async (t, start) => {
  let asked = false;
  const copy = await tcpBackend(t, async (connection) => {
    asked = (await connection.readHeader()) !== undefined;
    await connection.read(() => false);
  });
  const { port } = await start(
    t,
    `http { server { listen 127.0.0.1:PORT; location / { mirror /copy; root html; } location /status { stub_status; }
      location = /copy { internal; proxy_read_timeout 200ms; proxy_pass http://${copy.address}; } } }`,
  );
  const client = await RawConnection.open(port);
  client.write("GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await client.readResponse()).body, "page");
  await waitFor(() => asked, "the mirrored request");
  client.socket.resetAndDestroy();
  await waitFor(async () => (await get(port, "/status")).body.startsWith("Active connections: 1 "), "one connection");
});

scenario("a mirror's answer that ends the connection leaves nothing behind", async (t, start) => {
  let answer: (() => void) | undefined;
  const copy = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    answer = () => connection.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
    await connection.read(() => false);
  });
  const { port } = await start(
    t,
    `http { server { listen 127.0.0.1:PORT; location / { mirror /copy; root html; } location /status { stub_status; }
      location = /copy { internal; proxy_pass http://${copy.address}; } } }`,
  );
  const client = await RawConnection.open(port);
  client.write("GET /page HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n");
  assert.equal((await client.readResponse()).body, "page");
  await waitFor(() => answer !== undefined, "the mirrored request");
  answer?.();
  assert.equal(await client.readAll(), "");
  await waitFor(async () => (await get(port, "/status")).body.startsWith("Active connections: 1 "), "one connection");
});

scenario("a dead mirror is nobody's concern", async (t, start) => {
  const dead = await freePort();
  const config = `http { server { listen 127.0.0.1:PORT; root html;
    location / { mirror /copy; mirror_request_body off; }
    location = /copy { internal; proxy_pass http://127.0.0.1:${dead}; } } }`;
  const program = await start(t, config);
  assert.equal((await get(program.port, "/page")).body, "page");
  await program.waitForLog(/connect\(\) failed \(111: Connection refused\).*subrequest: "\/copy"/);
});

scenario("a client that leaves during the authorization ends it", async (t, start) => {
  let asked = false;
  let gone = false;
  const auth = await httpBackend(t, (_incoming, response) => {
    asked = true;
    response.on("close", () => {
      gone = true;
    });
  });
  const program = await start(t, guarded(auth.address));
  const client = await RawConnection.open(program.port);
  client.write("GET /secret.txt HTTP/1.1\r\nHost: a\r\n\r\n");
  await waitFor(() => asked, "the authorization");
  client.socket.destroy();
  await waitFor(() => gone, "the end of the authorization");
  await program.waitForLog(/^\/secret.txt 499 -$/m, "logs/access.log");
});

scenario("a client that closes its side while an addition is awaited ends it", async (t, start) => {
  const asked: string[] = [];
  let gone = "";
  const slow = await httpBackend(t, (incoming, response) => {
    const path = incoming.url ?? "";
    asked.push(path);
    if (path === "/before") response.end("<before>");
    else response.on("close", () => (gone = path));
  });
  const config = `http { server { listen 127.0.0.1:PORT; default_type text/html;
    location /page { root html; add_before_body /before; add_after_body /after; }
    location /before { proxy_pass http://${slow.address}; } location /after { proxy_pass http://${slow.address}; } } }`;
  const { port } = await start(t, config);
  const client = await RawConnection.open(port);
  client.write("GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
  await waitFor(() => asked.length === 2, "both subrequests");
  client.socket.end();
  await waitFor(() => gone === "/after", "the end of the second");
});

scenario("what subrequests answer stands before and after the response, whoever is quicker", async (t, start) => {
  let release: (() => void) | undefined;
  const slow = await httpBackend(t, (_incoming, response) => {
    release = () => response.end("<before>");
  });
  const backend = await httpBackend(t, (_incoming, response) => {
    response.writeHead(200, { "Content-Type": "text/html", "Content-Length": "6", ETag: '"strong"' });
    response.end("<body>");
  });
  const config = `http { server { listen 127.0.0.1:PORT; root html;
    location / { add_before_body /before; add_after_body /after; proxy_pass http://${backend.address}; }
    location /before { internal; proxy_pass http://${slow.address}; }
    location /after { internal; alias html/page; default_type text/html; } } }`;
  const { port } = await start(t, config);
  const client = await RawConnection.open(port);
  client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await waitFor(() => backend.connections === 1 && release !== undefined, "both requests");
  release?.();
  const response = await client.readResponse();
  assert.equal(response.body, "<before><body>page");
  assert.equal(response.header("content-length"), undefined);
  assert.equal(response.header("etag"), 'W/"strong"');
  client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await waitFor(() => backend.connections >= 1 && slow.connections >= 1, "the second");
  client.socket.destroy();
});

scenario("a client takes its time over a big response between two others", async (t, start) => {
  const big = 20 * 1024 * 1024;
  const piece = Buffer.alloc(1024 * 1024, "0123456789abcdef");
  const backend = await httpBackend(t, (incoming, response) => {
    response.writeHead(200, { "Content-Type": "text/html" });
    const count = incoming.url === "/small" ? 0 : big / piece.length;
    let sent = 0;
    const more = () => {
      while (sent < count) {
        sent++;
        if (!response.write(piece)) {
          response.once("drain", more);
          return;
        }
      }
      response.end("!");
    };
    more();
  });
  const config = `http { server { listen 127.0.0.1:PORT; proxy_max_temp_file_size 0;
    location / { add_before_body /before; add_after_body /after; proxy_pass http://${backend.address}; }
    location /before { internal; proxy_pass http://${backend.address}/big; }
    location /after { internal; proxy_pass http://${backend.address}/small; } } }`;
  const { port } = await start(t, config);
  const client = await RawConnection.open(port);
  client.socket.pause();
  client.write("GET / HTTP/1.0\r\n\r\n");
  await waitFor(() => backend.connections >= 2, "the backend's connections");
  client.socket.resume();
  const whole = await client.readAll(60_000);
  const body = whole.slice(whole.indexOf("\r\n\r\n") + 4);
  assert.equal(body.length, 2 * big + 3);
  assert.equal(body[big], "!");
  assert.equal(body[2 * big + 1], "!");
  assert.equal(body.at(-1), "!");
});

scenario("an error page of a subrequest is part of the response", async (t, start) => {
  const config = `http { server { listen 127.0.0.1:PORT; root html; default_type text/html;
    location / { add_after_body /missing; return 200 "body "; }
    location /missing { internal; error_page 404 = /page; root nowhere; }
    location = /page { root html; } } }`;
  const { port } = await start(t, config);
  assert.equal((await get(port, "/")).body, "body page");
});

scenario("HEAD and other statuses have nothing added", async (t, start) => {
  const config = `http { server { listen 127.0.0.1:PORT; root html; default_type text/html;
    location / { add_before_body /page; return 202 "body"; }
    location = /page {} location /ok { add_before_body /page; return 200 "body"; } } }`;
  const { port } = await start(t, config);
  assert.equal((await get(port, "/")).body, "body");
  const head = await request(port, "HEAD /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  assert.equal(head.status, 200);
  assert.equal(head.body, "");
  assert.equal((await get(port, "/ok")).body, "pagebody");
});

scenario("a client that leaves in the middle of a subrequest ends all of it", async (t, start) => {
  const gone = { body: false, before: false };
  const backend = await httpBackend(t, (incoming, response) => {
    const which = incoming.url === "/before" ? "before" : "body";
    response.on("close", () => {
      gone[which] = true;
    });
    response.writeHead(200, { "Content-Type": "text/html" });
    response.write("some");
  });
  const config = `http { server { listen 127.0.0.1:PORT; proxy_buffering off;
    location / { add_before_body /before; proxy_pass http://${backend.address}; }
    location /before { internal; proxy_pass http://${backend.address}; } } }`;
  const { port } = await start(t, config);
  const client = await RawConnection.open(port);
  client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.until((received) => received.includes("some"));
  client.socket.resetAndDestroy();
  await waitFor(() => gone.body && gone.before, "the end of both");
});

scenario("addition goes by a backend's media type, whatever parameters follow it", async (t, start) => {
  const backend = await cannedBackend(
    t,
    "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 4\r\n\r\nthis",
  );
  const { port } = await start(
    t,
    `http { server { listen 127.0.0.1:PORT; location /before { return 200 "before "; }
      location / { proxy_pass http://${backend.address}; add_before_body /before; } } }`,
  );
  assert.equal((await get(port, "/")).body, "before this");
});

scenario("what is put around a response is recoded into its charset", async (t, start) => {
  const backend = await cannedBackend(
    t,
    "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=koi8-r\r\nContent-Length: 2\r\n\r\na\xc1",
  );
  const { port } = await start(
    t,
    `http { default_type text/html; charset_map koi8-r utf-8 { C1 D0B0; }
      server { listen 127.0.0.1:PORT;
      location / { charset utf-8; add_before_body /before; add_after_body /after; return 200 " body "; }
      location /before { proxy_pass http://${backend.address}; }
      location /after { charset koi8-r; source_charset utf-8; return 200 "z\u0430"; } } }`,
  );
  const response = await get(port, "/");
  assert.equal(response.header("content-type"), "text/html; charset=utf-8");
  assert.equal(response.body, "a\xd0\xb0 body z\xd0\xb0");
});

scenario("what a filter keeps of a response comes before what is added behind it", async (t, start) => {
  const value = "v".repeat(100);
  const config = `http { default_type text/html; server { listen 127.0.0.1:PORT; root html;
    location /many { sub_filter x ${value}; sub_filter one 1; sub_filter_once off; add_after_body /after; }
    location /after { return 200 e; } } }`;
  const { port } = await start(t, config);
  const { body } = await get(port, "/many");
  assert.equal(body.length, 2_000_003);
  assert.equal(body.slice(-5), "vvone");
});
