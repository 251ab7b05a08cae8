/** The configurations under examples/ and those shown in docs/: each is one that works as it says. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import * as grpc from "@grpc/grpc-js";
import { type Backend, httpBackend, tcpBackend } from "../support/backend.ts";
import { certificateDirectory, createCertificate, createRevocationList } from "../support/certificates.ts";
import { h2Request, h2Session } from "../support/h2.ts";
import { h2Backend, unary } from "../support/h2_backend.ts";
import { have } from "../support/have.ts";
import { type Running, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const EXAMPLES = join(ROOT, "examples");
const PAGE = { "examples/pages/maintenance.html": readFileSync(join(EXAMPLES, "pages/maintenance.html")) };

/** An example with ports of the test's in place of its own: servers in their order, one that is left out does not answer. */
async function example(t: TestContext, name: string, servers: readonly Pick<Backend, "address">[]): Promise<Running> {
  const dead = await Promise.all([1, 2, 3].map(freePort));
  return startHoldfast(t, {
    files: PAGE,
    config: ([port]) =>
      readFileSync(join(EXAMPLES, name), "utf8")
        .replaceAll("127.0.0.1:8080", `127.0.0.1:${port}`)
        .replace("error_log        logs/error.log notice;", "")
        .replace(/127\.0\.0\.1:300([1-3])/g, (_, number: string) => {
          const at = Number(number) - 1;
          return servers[at]?.address ?? `127.0.0.1:${dead[at]}`;
        })
        .replaceAll("interval=1000", "interval=50"),
  });
}

function named(t: TestContext, ...names: string[]): Promise<Backend[]> {
  return Promise.all(names.map((name) => httpBackend(t, (_request, response) => response.end(name))));
}

async function answers(count: number, ask: (number: number) => ReturnType<typeof get>): Promise<string[]> {
  const bodies: string[] = [];
  for (let i = 0; i < count; i++) bodies.push((await ask(i)).body);
  return bodies;
}

/** The files of conf/ that a configuration includes. */
function includedFiles(config: string): Record<string, string> {
  const names = [...config.matchAll(/\binclude (\w+(?:\.\w+)?);/g)].map(([, name]) => name);
  return Object.fromEntries(names.map((name) => [`conf/${name}`, readFileSync(join(ROOT, "conf", name), "utf8")]));
}

/** What is shown is of the http block, where it does not have that itself. */
function wrapped(config: string): string {
  return /^(?:http|cluster) /m.test(config) ? config : `http {\n${config}}\n`;
}

/** One certificate, its key and a list of its CA's, in place of all that a configuration names. */
function certificateFiles(t: TestContext, config: string): Record<string, string> {
  const names = [...config.matchAll(/[\w.-]+\.(?:crt|key|crl)(?=;)/g)].map(([name]) => name);
  if (names.length === 0) return {};
  const directory = certificateDirectory(t);
  const own = createCertificate(directory, "localhost");
  const contents = { crt: own.certificate, key: own.key, crl: createRevocationList(directory, own) };
  const contentOf = (name: string) => contents[name.slice(-3) as keyof typeof contents];
  return Object.fromEntries(names.map((name) => [`conf/${name}`, contentOf(name)]));
}

for (const name of readdirSync(EXAMPLES, { recursive: true, encoding: "utf8" }).filter((file) =>
  /\.conf$/.test(file),
)) {
  test(`examples/${name} passes -t`, async (t) => {
    const config = readFileSync(join(EXAMPLES, name), "utf8");
    const { code, stderr } = await runHoldfast(t, {
      config,
      files: { ...PAGE, ...certificateFiles(t, config), ...includedFiles(config) },
      args: ["-t"],
    });
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stderr, /\[(warn|emerg)\]/);
  });
}

for (const page of readdirSync(join(ROOT, "docs")).filter((file) => file.endsWith(".md"))) {
  const text = readFileSync(join(ROOT, "docs", page), "utf8");
  [...text.matchAll(/^```nginx\n([\s\S]*?)^```$/gm)].forEach(([, config], number) => {
    const skip =
      config.includes("virtual_ip") && (have("keepalived") || (process.geteuid?.() !== 0 && "it needs root"));
    test(`docs/${page}, configuration ${number + 1}, passes -t`, { skip }, async (t) => {
      const { code, stderr } = await runHoldfast(t, {
        config: wrapped(config)
          .replaceAll(/listen (443|80)\b/g, "listen 127.0.0.1:8$1")
          .replaceAll("dev=eth0", "dev=lo")
          .replaceAll("10.0.0.1:11211", "127.0.0.1:18112"),
        files: {
          ...certificateFiles(t, config),
          ...includedFiles(config),
          "conf/cluster.secret": "a secret of the test's own\n",
          "conf/cluster.tokens": "a-token-of-the-test's-own app\n",
        },
        args: ["-t"],
      });
      assert.equal(code, 0, `${stderr}\n${config}`);
    });
  });
}

test("checks.conf: a server whose check fails gets nothing; the spare one serves when the others are down", async (t) => {
  const health = [200, 200, 200];
  const servers = await Promise.all(
    ["a", "b", "spare"].map((name, number) =>
      httpBackend(t, (request, response) => {
        response.statusCode = request.url === "/health" ? health[number] : 200;
        response.end(name);
      }),
    ),
  );
  const { port } = await example(t, "checks.conf", servers);
  const states = async () => (await get(port, "/status?format=csv")).body.split("\n").map((line) => line.split(",")[3]);
  const become = (wanted: string) =>
    waitFor(async () => (await states()).join(" ").trim() === wanted, `states: ${wanted}`);
  await become("up up up");
  assert.deepEqual(new Set(await answers(6, () => get(port, "/"))), new Set(["a", "b"]));
  health[0] = 503;
  await become("down up up");
  assert.deepEqual(new Set(await answers(4, () => get(port, "/"))), new Set(["b"]));
  health[1] = 503;
  await become("down down up");
  assert.equal((await get(port, "/")).body, "spare");
  health[0] = 200;
  await become("up down up");
  assert.equal((await get(port, "/")).body, "a");
});

test("sticky.conf: a shopper stays on a server until its check fails, and then on another one", async (t) => {
  const health = [200, 200, 200];
  const servers = await Promise.all(
    ["one", "two", "three"].map((name, number) =>
      httpBackend(t, (request, response) => {
        response.statusCode = request.url === "/health" ? health[number] : 200;
        if (request.url === "/own/login") response.setHeader("Set-Cookie", "SHOPID=7");
        response.end(name);
      }),
    ),
  );
  const { port } = await example(t, "sticky.conf", servers);
  // Checks are quick at first: the next ones come when these have passed.
  await waitFor(async () => (await get(port, "/", "Cookie: srv=three")).body === "three", "the first checks");
  const asShopper = (cookie: string) => answers(5, () => get(port, "/", `Cookie: ${cookie}`));
  for (const name of ["one", "two", "three"]) assert.deepEqual(await asShopper(`srv=${name}`), Array(5).fill(name));
  health[1] = 503;
  await waitFor(async () => (await get(port, "/", "Cookie: srv=two")).body === "one", "the failure of a check");
  const moved = await get(port, "/", "Cookie: srv=two");
  assert.equal(moved.body, "one");
  assert.match(
    moved.header("set-cookie") ?? "",
    /^srv=one; expires=.*; max-age=3600; httponly; samesite=lax; path=\/$/,
  );
  const home = (await get(port, "/own/login")).body;
  await waitFor(async () => new Set(await answers(4, () => get(port, "/own/", "Cookie: SHOPID=7"))).size === 1);
  assert.equal((await get(port, "/own/", "Cookie: SHOPID=7")).body, home);
});

test("weighted.conf: six, two and one of nine requests", async (t) => {
  const servers = await named(t, "a", "b", "c");
  const { port } = await example(t, "weighted.conf", servers);
  const bodies = await answers(18, () => get(port, "/"));
  const count = (name: string) => bodies.filter((body) => body === name).length;
  assert.deepEqual([count("a"), count("b"), count("c")], [12, 4, 2]);
  assert.match((await get(port, "/")).header("x-served-by") ?? "", /^127\.0\.0\.1:\d+$/);
});

test("hash.conf: a user, or a page, always has the same server, and they are spread", async (t) => {
  const { port } = await example(t, "hash.conf", await named(t, "a", "b", "c"));
  for (const ask of [
    (key: number) => get(port, "/", `Cookie: user=u${key}`),
    (key: number) => get(port, `/pages/${key}`),
  ]) {
    const first = await answers(30, ask);
    assert.deepEqual(await answers(30, ask), first);
    assert.equal(new Set(first).size, 3);
  }
  assert.equal(new Set(await answers(5, () => get(port, "/"))).size, 1);
});

test("websocket.conf: an upgrade becomes a tunnel, other requests are passed on as ever", async (t) => {
  const server = await tcpBackend(t, async (connection) => {
    const head = (await connection.readHeader()) ?? "";
    if (!/^upgrade: websocket\r$/im.test(head)) {
      connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain`);
      connection.end();
      return;
    }
    connection.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    for (let bytes = await connection.read(); bytes !== undefined; bytes = await connection.read())
      connection.write(bytes);
    connection.end();
  });
  const { port } = await example(t, "websocket.conf", [server, server]);
  assert.equal((await get(port, "/")).body, "plain");
  const client = await RawConnection.open(port);
  t.after(() => client.close());
  client.write("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  await client.until((received) => received.includes("\r\n\r\n"));
  assert.match(client.received, /^HTTP\/1\.1 101 /);
  client.write("there and back");
  await client.until((received) => received.endsWith("there and back"));
});

test("cache.conf: a page is kept, but not for who has logged in, and shown when no server answers", async (t) => {
  const [server] = await named(t, "the site");
  const { port } = await example(t, "cache.conf", [server]);
  const page = async (...headers: string[]) => {
    const { body, header } = await get(port, "/", ...headers);
    return `${header("x-cache-status")} ${body}`;
  };
  assert.equal(await page("Cookie: session=me"), "BYPASS the site");
  assert.equal(await page(), "MISS the site");
  await server.close();
  assert.equal(await page(), "HIT the site");
});

test("grpc.conf: calls go to the servers that serve, the website is beside them, and both are in the log", async (t) => {
  const healthy = [true, false];
  const called: string[] = [];
  const carts = [0, 1].map((number) =>
    h2Backend(t, (stream, { ":path": path }) => {
      const checks = path === "/grpc.health.v1.Health/Check";
      if (!checks) called.push(`${number} ${path}`);
      const status = healthy[number] ? "\x01" : "\x02";
      unary(stream, (message) => (checks ? Buffer.from(`\0\0\0\0\x02\x08${status}`) : message));
    }),
  );
  const [site] = await named(t, "the site");
  const holdfast = await example(t, "grpc.conf", [...(await Promise.all(carts)), site]);
  const states = async () => {
    const rows = (await get(holdfast.port, "/status?format=csv")).body.trim().split("\n");
    return rows.map((line) => line.split(",")[3]).join(" ");
  };
  await waitFor(async () => (await states()) === "up down", "the first checks");
  assert.match((await get(holdfast.port, "/status?format=json")).body, /"reason": "NOT_SERVING"/);

  const client = new grpc.Client(`127.0.0.1:${holdfast.port}`, grpc.credentials.createInsecure());
  t.after(() => client.close());
  const call = (message: string) =>
    new Promise<string>((resolve) => {
      const done = (error: grpc.ServiceError | null, answer?: string) =>
        resolve(error === null ? `${answer}` : `${error.code} ${error.details}`);
      client.makeUnaryRequest("/shop.Cart/Add", (text: string) => Buffer.from(text), String, message, done);
    });
  for (const message of ["a", "b", "c"]) assert.equal(await call(message), message);
  assert.deepEqual(called, Array(3).fill("0 /shop.Cart/Add"));
  const session = h2Session(t, `http://127.0.0.1:${holdfast.port}`);
  assert.equal((await h2Request(session, { ":path": "/" })).body, "the site");
  assert.equal((await get(holdfast.port, "/")).body, "the site");

  healthy[0] = false;
  await waitFor(async () => (await states()) === "down down", "the servers to be down");
  assert.equal(await call("d"), "14 no cart service");
  const lines = () => holdfast.read("logs/access.log").trim().split("\n");
  await waitFor(() => lines().length === 6, "all lines in the log");
  const [first, , , , , last] = lines();
  assert.match(first, / h2c "POST \/shop\.Cart\/Add HTTP\/2\.0" 200 grpc=0 127\.0\.0\.1:\d+ /);
  assert.match(last, / h2c "POST \/shop\.Cart\/Add HTTP\/2\.0" 204 grpc=14 carts /);
});

test("maintenance.conf: the page is there while the file is, and when no server answers", async (t) => {
  const [server] = await named(t, "the site");
  const { port, prefix } = await example(t, "maintenance.conf", [server, server]);
  const page = async (...headers: string[]) => {
    const { status, body, header } = await get(port, "/some/where", ...headers);
    return [status, body.includes("Back in a moment"), header("retry-after")];
  };
  // Before its first check passes no server is up.
  await waitFor(async () => (await page())[0] === 200);
  assert.deepEqual(await page(), [200, false, undefined]);
  writeFileSync(join(prefix, "maintenance"), "");
  assert.deepEqual(await page(), [503, true, "60"]);
  assert.deepEqual(await page("X-Preview: yes"), [200, false, undefined]);
  rmSync(join(prefix, "maintenance"));
  assert.deepEqual(await page(), [200, false, undefined]);
  server.close();
  assert.deepEqual(await page(), [502, true, "60"]);
  assert.equal((await get(port, "/maintenance.html")).status, 404);
});
