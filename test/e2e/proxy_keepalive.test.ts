import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Backend, httpBackend } from "../support/backend.ts";
import { h2Backend } from "../support/h2_backend.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** A backend that says where each connection came from, and how many of them are open. */
async function backendOf(t: TestContext): Promise<Backend & { readonly open: () => number }> {
  const sockets = new Set<object>();
  const backend = await httpBackend(t, (incoming, response) => {
    const { socket } = incoming;
    if (!sockets.has(socket)) {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
    }
    response.end(socket.remoteAddress);
  });
  return Object.defineProperty(Object.create(backend), "open", { value: () => sockets.size });
}

/** Each way to an upstream: what its block has beside the server, and what its location has. */
const WAYS = [
  ["by itself", "", ""],
  ["keepalive", "keepalive 4;", ""],
  ["keepalive local", "keepalive 4 local;", ""],
  ["from an address", "", "proxy_bind 127.0.0.3;"],
  ["from an address in a variable", "", "proxy_bind 127.0.0.$arg_host;"],
] as const;

test("after a reload the next request has the connection that the last one before it left", async (t) => {
  const backends = await Promise.all(WAYS.map(() => backendOf(t)));
  const plain = await backendOf(t);
  const config = (port: number, changed: string) => `http { ${changed}
    ${WAYS.map(([, block], i) => `upstream u${i} { server ${backends[i].address}; ${block} }`).join("\n")}
    server { listen 127.0.0.1:${port}; ${changed}
      location /outer { location /outer/0 { proxy_pass http://u0; } }
      ${WAYS.map(([, , lines], i) => `location /${i} { ${lines} proxy_pass http://u${i}; ${changed} }`).join("\n")}
      location /plain { proxy_pass http://${plain.address}; } } }`;
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, "") });
  const ask = async () => {
    for (const i of WAYS.keys()) assert.equal((await get(holdfast.port, `/${i}?host=3`)).status, 200);
    for (const path of ["/outer/0", "/plain"]) assert.equal((await get(holdfast.port, path)).status, 200);
  };
  const made = () => WAYS.map(([name], i) => `${name}: ${backends[i].connections}`);
  await ask();
  const before = made();
  // The first is spoken to from two locations, each of which has a connection of its own (`local`).
  assert.deepEqual(
    before,
    WAYS.map(([name], i) => `${name}: ${i === 0 ? 2 : 1}`),
  );
  assert.equal(await holdfast.reload(), true);
  await ask();
  assert.deepEqual(made(), before, "nothing changed");
  assert.equal(await holdfast.reload(config(holdfast.port, "proxy_read_timeout 59s;")), true);
  await ask();
  assert.deepEqual(made(), before, "settings changed");
  assert.equal(plain.connections, 3, "an address without an upstream block is connected to for each request");
});

test("what is idle at a reload obeys the new settings", async (t) => {
  const backend = await backendOf(t);
  const config = (port: number, lines: string) => `http { upstream u { server ${backend.address}; ${lines} }
    server { listen 127.0.0.1:${port}; location / { proxy_pass http://u; } } }`;
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, "") });
  const closes = async (lines: string) => {
    assert.equal(await holdfast.reload(config(holdfast.port, "")), true);
    await get(holdfast.port, "/");
    await get(holdfast.port, "/");
    assert.equal(backend.open(), 1, `before ${lines}`);
    assert.equal(await holdfast.reload(config(holdfast.port, lines)), true);
    await waitFor(() => (backend.open() === 0 ? true : undefined), `the end of a connection under ${lines}`);
  };
  for (const lines of ["keepalive 0;", "keepalive_timeout 20ms;", "keepalive_requests 2;", "keepalive_time 1ms;"]) {
    await closes(lines);
  }
});

test("a request that began before a reload leaves no connection to a server that the reload took away", async (t) => {
  const waiting: (() => void)[] = [];
  const closed: string[] = [];
  const old = await httpBackend(t, (incoming, response) => {
    incoming.socket.on("close", () => closed.push("closed"));
    waiting.push(() => response.end("old"));
  });
  const fresh = await backendOf(t);
  const config = (port: number, address: string) => `http { upstream u { server ${address}; keepalive 4; }
    server { listen 127.0.0.1:${port}; location / { proxy_pass http://u; } } }`;
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, old.address) });
  const answer = get(holdfast.port, "/");
  const [release] = await waitFor(() => (waiting.length > 0 ? waiting : undefined));
  assert.equal(await holdfast.reload(config(holdfast.port, fresh.address)), true);
  release();
  assert.equal((await answer).body, "old");
  await waitFor(() => (closed.length > 0 ? true : undefined), "the end of the connection");
});

/** Requests of two locations that share a server, from addresses of their own. */
async function sources(holdfast: Running): Promise<string[]> {
  const bodies: string[] = [];
  for (const path of ["/2", "/3", "/2", "/3", "/any?host=2", "/any?host=4"]) {
    bodies.push((await get(holdfast.port, path)).body);
  }
  return bodies;
}

test("a connection from one address is never used where proxy_bind says another", async (t) => {
  for (const keepalive of ["keepalive 4;", "keepalive 4 local;"]) {
    const backend = await backendOf(t);
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `http { upstream u { server ${backend.address}; ${keepalive} }
        server { listen 127.0.0.1:${port}; location /2 { proxy_bind 127.0.0.2; proxy_pass http://u; }
          location /3 { proxy_bind 127.0.0.3; proxy_pass http://u; }
          location /any { proxy_bind 127.0.0.$arg_host; proxy_pass http://u; } } }`,
    });
    assert.deepEqual(
      await sources(holdfast),
      ["2", "3", "2", "3", "2", "4"].map((host) => `127.0.0.${host}`),
    );
    assert.equal(backend.connections, keepalive.includes("local") ? 4 : 3);
  }
});

test("an error page over the connection that brought the error has its own fields", async (t) => {
  const backend = await httpBackend(t, (incoming, response) => {
    const found = incoming.url === "/page";
    const fields = { "X-From": found ? "page" : "error", "Content-Length": found ? 2 : 0 };
    response.writeHead(found ? 200 : 404, fields).end(found ? "ok" : "");
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { upstream u { server ${backend.address}; keepalive 4; }
      server { listen 127.0.0.1:${port}; proxy_http_version 1.1; proxy_set_header Connection "";
        location / { proxy_pass http://u; proxy_intercept_errors on; error_page 404 /page; }
        location = /page { proxy_pass http://u; add_header X-Seen $upstream_http_x_from always; } } }`,
  });
  for (let i = 0; i < 3; i++) {
    const answer = await get(holdfast.port, "/none");
    const { status, body } = answer;
    assert.deepEqual([status, answer.header("x-from"), answer.header("x-seen"), body], [404, "page", "page", "ok"]);
  }
  assert.equal(backend.connections, 1);
});

/** What a server does with a request: answers it, or closes its connection. */
type Serve = (path: string, answer: (text: string) => void, close: () => void) => void;

const servers: Readonly<Record<string, (t: TestContext, serve: Serve) => Promise<{ readonly address: string }>>> = {
  "1.1": (t, serve) =>
    httpBackend(t, ({ url = "", socket }, response) =>
      serve(
        url,
        (text) => response.end(text),
        () => socket.destroy(),
      ),
    ),
  2: (t, serve) =>
    h2Backend(t, (stream, { ":path": path = "" }) =>
      serve(
        path,
        (text) => {
          stream.respond({ ":status": 200 });
          stream.end(text);
        },
        () => stream.session?.destroy(),
      ),
    ),
};

for (const [version, server] of Object.entries(servers)) {
  test(`HTTP/${version}: a request whose kept connections its server closes gets a new one after three, and one try of its own`, async (t) => {
    let tries = 0;
    let waiting: (() => void)[] = [];
    const backend = await server(t, (path, answer, close) => {
      if (path !== "/first") {
        if (++tries > 3 && path === "/late") answer("taken");
        else close();
        return;
      }
      // Answered together, so that each has a connection.
      waiting.push(() => answer("first"));
      if (waiting.length < 8) return;
      for (const answerOne of waiting) answerOne();
      waiting = [];
    });
    const holdfast = await startHoldfast(t, {
      config: ([
        port,
      ]) => `http { upstream u { server ${backend.address} max_fails=0; keepalive 8; keepalive_streams 1; }
        server { listen ${port}; location / { proxy_http_version ${version}; proxy_pass http://u; } } }`,
    });
    for (const [path, status] of [
      ["/fatal", 502],
      ["/late", 200],
    ] as const) {
      await Promise.all(Array.from({ length: 8 }, () => get(holdfast.port, "/first")));
      tries = 0;
      assert.equal((await get(holdfast.port, path)).status, status);
      assert.equal(tries, 4, path);
    }
  });
}
