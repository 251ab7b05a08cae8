/** A machine that refuses: ports taken, no permission, full disks, too few descriptors; and clients that send no HTTP. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { httpBackend, tcpBackend } from "../support/backend.ts";
import { LAUNCHER, makePrefix, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get, RawConnection, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const ROOT = process.getuid?.() === 0;

async function occupied(t: TestContext): Promise<number> {
  const server = createServer();
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen({ port, host: "127.0.0.1" }, resolve));
  t.after(() => new Promise((resolve) => server.close(resolve)));
  return port;
}

test("a port that another program has ends the start", async (t) => {
  const port = await occupied(t);
  const { code, stderr } = await runHoldfast(t, { config: `http { server { listen 127.0.0.1:${port}; } }` });
  assert.equal(code, 1);
  assert.match(
    stderr,
    new RegExp(`\\[emerg\\] bind\\(\\) to 127\\.0\\.0\\.1:${port} failed \\(98: Address already in use\\)`),
  );
});

test("a port that another program has changes nothing on a reload", async (t) => {
  const taken = await occupied(t);
  const config = (port: number, more: string) =>
    `http { server { listen 127.0.0.1:${port}; ${more} location / { return 200 "old${more === "" ? "" : " no more"}"; } } }`;
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, "") });
  assert.equal(await holdfast.reload(config(holdfast.port, `listen 127.0.0.1:${taken};`)), false);
  await holdfast.waitForLog(
    new RegExp(`\\[emerg\\] \\d+#\\d+: bind\\(\\) to 127\\.0\\.0\\.1:${taken} failed \\(98: Address already in use\\)`),
  );
  assert.equal((await get(holdfast.port, "/")).body, "old");
});

test("paths where nothing can be made end the start with nginx's sentence, and change nothing on a reload", async (t) => {
  // A file in place of a directory refuses root as well.
  const config = (port: number, more: string, http = "") =>
    `${more} http { ${http} server { listen 127.0.0.1:${port}; location / { return 200 good; } } }`;
  const wrong: readonly (readonly [more: string, http: string, sentence: RegExp])[] = [
    [
      "error_log file/error.log;",
      "",
      /\[emerg\] [^\n]*open\(\) "\S+\/file\/error\.log" failed \(20: Not a directory\)/,
    ],
    [
      "pid file/holdfast.pid;",
      "",
      /\[emerg\] [^\n]*open\(\) "\S+\/file\/holdfast\.pid" failed \(20: Not a directory\)/,
    ],
    [
      "",
      "access_log file/access.log;",
      /\[emerg\] [^\n]*open\(\) "\S+\/file\/access\.log" failed \(20: Not a directory\)/,
    ],
    [
      "",
      "client_body_temp_path file/body;",
      /\[emerg\] [^\n]*mkdir\(\) "\S+\/file\/body" failed \(20: Not a directory\)/,
    ],
    [
      "",
      "client_body_temp_path missing/body;",
      /\[emerg\] [^\n]*mkdir\(\) "\S+\/missing\/body" failed \(2: No such file or directory\)/,
    ],
  ];
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, ""), files: { file: "" } });
  for (const [more, http, sentence] of wrong) {
    const other = await freePort();
    const { code, stderr } = await runHoldfast(t, {
      config: config(other, more, http),
      globals: "daemon off;",
      files: { file: "" },
    });
    assert.equal(code, 1, more + http);
    assert.match(stderr, sentence);
    const from = holdfast.errorLog().length;
    // The command line names another error log and pid file already.
    if (more !== "" && more.startsWith("error_log")) continue;
    assert.equal(await holdfast.reload(config(holdfast.port, more, http)), false, more + http);
    assert.match(holdfast.errorLog().slice(from), sentence);
    assert.equal((await get(holdfast.port, "/")).body, "good");
  }
});

test("a configuration that is not there, not readable or no text", async (t) => {
  const prefix = makePrefix(t);
  const missing = await runHoldfast(t, { prefix });
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /\[emerg\] open\(\) "\S+nginx\.conf" failed \(2: No such file or directory\)/);
  mkdirSync(join(prefix, "conf/nginx.conf"));
  const folder = await runHoldfast(t, { prefix });
  assert.equal(folder.code, 1);
  assert.match(folder.stderr, /\[(emerg|crit)\] [^\n]*"\S+nginx\.conf" failed \(21: Is a directory\)/);
  rmSync(join(prefix, "conf/nginx.conf"), { recursive: true });
  const bytes = Buffer.alloc(2000, 0xfe);
  bytes.write("http {\n", 0);
  writeFileSync(join(prefix, "conf/nginx.conf"), bytes);
  const garbage = await runHoldfast(t, { prefix });
  assert.equal(garbage.code, 1);
  assert.match(garbage.stderr, /\[emerg\] [^\n]* in \S+nginx\.conf:2\n/);
});

test("logs on a full disk lose lines, and nothing else", async (t) => {
  const holdfast = await startHoldfast(t, {
    globals: "daemon off; error_log logs/error.log info;",
    config: ([port]) => `http { access_log /dev/full; server { listen 127.0.0.1:${port}; error_log /dev/full info;
      location / { return 200 good; } location /missing { root /nowhere; } } }`,
  });
  for (let i = 0; i < 20; i++) {
    assert.equal((await get(holdfast.port, "/")).body, "good");
    assert.equal((await get(holdfast.port, "/missing/x")).status, 404);
  }
  assert.equal(await holdfast.stop("SIGQUIT"), 0);
});

/** Room for 256 KiB: a file system of that size where one may be mounted, else files of no more than that. */
function smallDisk(t: TestContext, prefix: string) {
  const small = mkdtempSync(join(tmpdir(), "holdfast-disk-"));
  const mounted = ROOT && spawnSync("mount", ["-t", "tmpfs", "-o", "size=256k,mode=1777", "tmpfs", small]).status === 0;
  t.after(() => {
    if (mounted) spawnSync("umount", ["-l", small]);
    rmSync(small, { recursive: true, force: true });
  });
  if (mounted) return { small, env: {}, full: "28: No space left on device" };
  chmodSync(small, 0o777);
  const node = join(prefix, "node");
  writeFileSync(node, `#!/bin/sh\nulimit -f 512\nexec "${process.execPath}" "$@"\n`, { mode: 0o755 });
  return { small, env: { HOLDFAST_NODE: node }, full: "27: File too large" };
}

test("a full disk costs the bodies that do not fit on it, and nothing else", async (t) => {
  const prefix = makePrefix(t);
  const { small, env, full } = smallDisk(t, prefix);
  let received = 0;
  const big = "x".repeat(20 * 1024 * 1024);
  const backend = await httpBackend(t, (incoming, response) => {
    incoming.on("data", (bytes: Buffer) => {
      received += bytes.length;
    });
    incoming.on("end", () => response.end(incoming.url === "/big" ? big : "good"));
  });
  const holdfast = await startHoldfast(t, {
    prefix,
    env,
    config: ([port]) => `http {
      client_max_body_size 10m; client_body_temp_path ${small}/body; proxy_temp_path ${small}/proxy;
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://${backend.address}; } }
    }`,
  });
  const { port } = holdfast;
  const post = (size: number) =>
    request(port, `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n${"x".repeat(size)}`);
  assert.equal((await post(100_000)).status, 200);
  assert.equal(received, 100_000);
  const from = holdfast.errorLog().length;
  assert.equal((await post(2_000_000)).status, 500);
  assert.equal(received, 100_000, "nothing of it was passed on");
  await holdfast.waitForLog(
    new RegExp(`\\[crit\\] [^\\n]*"\\S+/body/\\d+" failed \\(${full}\\)[^\\n]*request: "POST / HTTP/1\\.1"`),
  );
  assert.equal(
    holdfast
      .errorLog()
      .slice(from)
      .match(/\[crit\]/g)?.length,
    1,
    "one line for one request",
  );
  // The file is gone, so there is room again.
  assert.equal((await post(100_000)).status, 200);

  const slow = await RawConnection.open(port);
  slow.socket.pause();
  slow.write("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
  await holdfast.waitForLog(
    new RegExp(`\\[crit\\] [^\\n]*"\\S+/proxy/\\S+" failed \\(${full}\\) while reading upstream`),
  );
  slow.socket.resume();
  await slow.until(() => false);
  assert.ok(slow.received.length < big.length, "an answer cut short");
  assert.match(slow.received, /^HTTP\/1\.1 200 OK\r\n/);
  assert.equal((await get(port, "/")).body, "good");
  assert.equal(holdfast.errorLog().match(/\[crit\]/g)?.length, 2);
});

test("too few descriptors: those that serve go on, and the rest is served once there is room", async (t) => {
  const backend = await httpBackend(t, (_request, response) => response.end("good"));
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_rlimit_nofile 80; http { access_log off; server { listen 127.0.0.1:${port};
      location / { proxy_pass http://${backend.address}; } location /own { return 200 own; } } }`,
  });
  const connections: RawConnection[] = [];
  t.after(() => {
    for (const connection of connections) connection.close();
  });
  for (let i = 0; i < 120; i++) connections.push(await RawConnection.open(holdfast.port));
  await holdfast.waitForLog(/\[(crit|alert)\] [^\n]*\(24: Too many open files\)/);
  const served = await waitFor(() => connections.find((connection) => !connection.ended), "a connection that lives");
  served.write("GET /own HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await served.readResponse()).body, "own");
  // No descriptor is left to connect to a server with.
  served.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.ok([200, 500, 502].includes((await served.readResponse()).status));
  for (const connection of connections) connection.close();
  await waitFor(
    async () => (await get(holdfast.port, "/").catch(() => undefined))?.body === "good",
    "service as before",
  );
  assert.equal(holdfast.exit, undefined);
  assert.doesNotMatch(holdfast.errorLog(), /exited with/);
});

test("started in a directory that is gone", async (t) => {
  const prefix = makePrefix(t, { "conf/nginx.conf": "events {} http {}" });
  const { status, stderr } = spawnSync(
    "sh",
    ["-c", `d=$(mktemp -d) && cd "$d" && rmdir "$d" && exec "${LAUNCHER}" -p "${prefix}/" -t`],
    {
      env: { ...process.env, HOLDFAST_NODE: process.execPath, NODE_TEST_CONTEXT: undefined },
      encoding: "latin1",
    },
  );
  assert.match(stderr, /test is successful/);
  assert.equal(status, 0);
});

test("clients that send no HTTP, too much, too slowly or nothing cost no one else anything", async (t) => {
  const backend = await tcpBackend(t, async (connection) => {
    while ((await connection.readHeader()) !== undefined)
      connection.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
  });
  const holdfast = await startHoldfast(t, {
    config: ([port, other]) => `worker_processes 1; http { lingering_time 300ms; lingering_timeout 100ms;
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://${backend.address}; } }
      server { listen 127.0.0.1:${other}; client_header_timeout 300ms; client_body_timeout 300ms; send_timeout 300ms;
        location / { proxy_pass http://${backend.address}; } } }`,
  });
  const { port, ports } = holdfast;
  const open = (): Promise<RawConnection> => RawConnection.open(port);
  const openImpatient = (): Promise<RawConnection> => RawConnection.open(ports[1]);
  const status = (received: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(received)?.[1] ?? 0);
  const ended = async (connection: RawConnection): Promise<number> => status(await connection.readAll());

  // Random bytes, many at once.
  let x = 7;
  const noise = (): Buffer => {
    const bytes = Buffer.alloc(3000);
    for (let i = 0; i < bytes.length; i++) {
      x = (Math.imul(x, 69069) + 1) >>> 0;
      bytes[i] = x >>> 24;
    }
    return bytes;
  };
  await Promise.all(
    Array.from({ length: 50 }, async () => {
      const connection = await openImpatient();
      connection.write(noise());
      assert.ok([0, 400].includes(await ended(connection)));
    }),
  );
  // Headers without end, one field or many.
  const long = await open();
  long.write(`GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(100_000)}`);
  assert.equal(await ended(long), 400);
  const many = await open();
  many.write(`GET / HTTP/1.1\r\nHost: a\r\n${"X: y\r\n".repeat(20_000)}`);
  assert.equal(await ended(many), 400);
  const address = await open();
  address.write(`GET /${"x".repeat(100_000)} HTTP/1.1\r\n`);
  assert.equal(await ended(address), 414);
  // A header that drips, a body that stops, and silence: closed without a word, as nginx does.
  const drip = await openImpatient();
  drip.socket.on("close", () => clearInterval(timer));
  const timer = setInterval(() => drip.write("X"), 20);
  t.after(() => clearInterval(timer));
  drip.write("GET / HTTP/1.1\r\nX-Drip: ");
  const silent = await openImpatient();
  const half = await openImpatient();
  half.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
  assert.deepEqual(await Promise.all([drip, silent, half].map(ended)), [0, 0, 0]);
  // Half-open: the client sends its end with the request, and is served no more than nginx serves it.
  const closing = await open();
  closing.write("GET / HTTP/1.1\r\nHost: a\r\n");
  closing.end();
  assert.ok([0, 400].includes(await ended(closing)));

  assert.equal((await get(port, "/")).body, "good");
  assert.doesNotMatch(holdfast.errorLog(), /\[(crit|alert|emerg)\]/);
});
