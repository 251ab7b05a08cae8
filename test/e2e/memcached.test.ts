import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { tcpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { startMemcached } from "../support/memcached.ts";
import { assertSame } from "../support/side_by_side.ts";
import { get, RawConnection } from "../support/tcp.ts";

/** `server`: its other directives. */
const site =
  (address: string, server = "") =>
  ([port]: readonly number[]) =>
    `http { upstream cache { server ${address}; keepalive 1; }
    types { text/plain txt; text/html html; } default_type application/octet-stream;
    server { listen 127.0.0.1:${port}; error_page 404 /missing; ${server}
      location = /missing { internal; return 404 "missing"; }
      location / { set $memcached_key $uri$is_args$args; memcached_pass cache; } } }`;

test("memcached_pass: values, whole and in ranges, and what is missing", { skip: have("memcached") }, async (t) => {
  const memcached = await startMemcached(t);
  const large = "0123456789".repeat(200_000);
  await memcached.set("/a.txt", "value");
  await memcached.set("/with%20space?a=b%25", "escaped");
  await memcached.set("/empty", "");
  await memcached.set("/large", large);
  const { port } = await startHoldfast(t, { config: site(memcached.address) });
  const { status, body, header } = await get(port, "/a.txt");
  assert.deepEqual([status, body], [200, "value"]);
  assert.deepEqual(["content-type", "content-length", "accept-ranges"].map(header), ["text/plain", "5", "bytes"]);
  assert.equal((await get(port, "/with%20space?a=b%")).body, "escaped");
  assert.equal((await get(port, "/empty")).header("content-length"), "0");
  assert.equal((await get(port, "/large")).body, large);
  const part = await get(port, "/large", "Range: bytes=1000003-1000006");
  assert.deepEqual([part.status, part.body], [206, "3456"]);
  const missing = await get(port, "/none");
  assert.deepEqual([missing.status, missing.body], [404, "missing"]);
});

test("memcached_gzip_flag: a value stored with the flag is compressed", { skip: have("memcached") }, async (t) => {
  const memcached = await startMemcached(t);
  const compressed = gzipSync("value").toString("latin1");
  await memcached.set("/a", compressed, 2);
  await memcached.set("/b", "value", 1);
  const { port } = await startHoldfast(t, { config: site(memcached.address, "memcached_gzip_flag 2; gunzip on;") });
  const whole = await get(port, "/a", "Accept-Encoding: gzip");
  assert.deepEqual([whole.header("content-encoding"), whole.body], ["gzip", compressed]);
  assert.equal((await get(port, "/a")).body, "value");
  assert.equal((await get(port, "/b")).header("content-encoding"), undefined);
});

/** What a server answers `get /KEY`, in pieces. */
const ANSWERS: Readonly<Record<string, readonly string[]>> = {
  value: ["VALUE KEY 0 5\r\nvalue\r\nEND\r\n"],
  "a value byte by byte": [..."VALUE KEY 0 5\r\nvalue\r\nEND\r\n"],
  "an empty value": ["VALUE KEY 0 0\r\n\r\nEND\r\n"],
  "an end": ["END\r\n"],
  "an end in pieces": [..."END\r\n"],
  "something behind the end": ["END\r\nEND\r\n"],
  "another key": ["VALUE /else 0 5\r\nvalue\r\nEND\r\n"],
  "a longer key": ["VALUE KEYs 0 5\r\nvalue\r\nEND\r\n"],
  "no flags": ["VALUE KEY 5\r\nvalue\r\nEND\r\n"],
  "no length": ["VALUE KEY 0 \r\nvalue\r\nEND\r\n"],
  "an invalid length": ["VALUE KEY 0 5x\r\nvalue\r\nEND\r\n"],
  "a negative length": ["VALUE KEY 0 -1\r\nvalue\r\nEND\r\n"],
  "a unique number": ["VALUE KEY 0 5 1\r\nvalue\r\nEND\r\n"],
  "invalid flags": ["VALUE KEY x 5\r\nvalue\r\nEND\r\n"],
  "an error": ["ERROR\r\n"],
  "a client error": ["CLIENT_ERROR line too long\r\n"],
  "no carriage return": ["END\n"],
  "an empty line": ["\n"],
  nothing: [],
  "half a line": ["VALUE KEY"],
  "a long line": [`VALUE KEY ${"0".repeat(5000)} 5\r\nvalue\r\nEND\r\n`],
  "a long line without an end": ["x".repeat(5000)],
  "half a value": ["VALUE KEY 0 5\r\nva"],
  "no trailer": ["VALUE KEY 0 5\r\nvalue"],
  "half a trailer": ["VALUE KEY 0 5\r\nvalue\r\nEN"],
  "another trailer": ["VALUE KEY 0 5\r\nvalue\r\nVALUE"],
  "a longer value": ["VALUE KEY 0 5\r\nvalue and more\r\nEND\r\n"],
};

test("memcached_pass: what a server says wrong is answered and logged as by nginx", {
  skip: have("nginx"),
}, async (t) => {
  const backend = await tcpBackend(t, async (connection) => {
    const key =
      /^get (\S+)\r\n$/.exec((await connection.read((received) => received.endsWith("\r\n"))) ?? "")?.[1] ?? "";
    for (const piece of ANSWERS[decodeURIComponent(key.slice(1))] ?? []) {
      await new Promise((resolve) => connection.socket.write(piece.replace("KEY", key), resolve));
    }
    connection.end();
  });
  for (const options of ["", "memcached_gzip_flag 2;", "error_page 404 502 504 = /missing;"]) {
    const config = site(backend.address, options);
    const holdfast = await startHoldfast(t, { config });
    const nginx = await startNginx(t, { config });
    for (const name of Object.keys(ANSWERS)) {
      for (const method of ["GET", "HEAD"]) {
        const raw = `${method} /${encodeURIComponent(name)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
        await assertSame(`${options} ${method} ${name}`, holdfast, nginx, raw);
      }
    }
    const raw = "POST /value HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab";
    await assertSame(`${options} POST`, holdfast, nginx, raw);
  }
});

test("memcached: a connection is used again behind END, however it comes, and not behind anything else", async (t) => {
  const answers = [
    ["VALUE /a 0 2\r\nok", "\r", "\nEN", "D\r", "\n"],
    ["END\r\n"],
    ["VALUE /a 0 2\r\nok\r\nEND\r\n"],
    ["END\r\nx"],
    ["END\r\n"],
  ];
  const used: number[] = [];
  const backend = await tcpBackend(t, async (connection) => {
    while ((await connection.read((received) => received.endsWith("\r\n"))) !== undefined) {
      used.push(connection.number);
      for (const piece of answers[used.length - 1] ?? []) {
        await new Promise((resolve) => connection.socket.write(piece, resolve));
      }
    }
  });
  const { port } = await startHoldfast(t, { config: site(backend.address) });
  for (const status of [200, 404, 200, 404, 404]) assert.equal((await get(port, "/a")).status, status);
  assert.deepEqual(used, [1, 1, 1, 1, 2]);
});

test("memcached_next_upstream not_found: another server is asked for what one has not", {
  skip: have("memcached"),
}, async (t) => {
  const [one, two] = [await startMemcached(t), await startMemcached(t)];
  await one.set("/one", "1");
  await two.set("/two", "2");
  const { port } = await startHoldfast(t, {
    config: ([port]) => `http { upstream cache { server ${one.address}; server ${two.address}; }
      server { listen 127.0.0.1:${port}; location / { set $memcached_key $uri; memcached_pass cache; memcached_next_upstream not_found; } } }`,
  });
  for (const path of ["/one", "/one", "/two", "/two"]) assert.equal((await get(port, path)).status, 200, path);
  assert.equal((await get(port, "/three")).status, 404);
});

test("memcached_pass: a key that is not set is an error, and a body is dropped", {
  skip: have("memcached"),
}, async (t) => {
  const memcached = await startMemcached(t);
  await memcached.set("x", "value");
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen 127.0.0.1:${port};
      location / { set $memcached_key $arg_key; set $to ${memcached.address}; memcached_pass $to; } } }`,
  });
  assert.equal((await get(holdfast.port, "/")).status, 500);
  await holdfast.waitForLog(/\[error\] .*the "\$memcached_key" variable is not set, client/);
  const client = await RawConnection.open(holdfast.port);
  client.write(
    "GET /?key=x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /?key=x HTTP/1.1\r\nHost: a\r\n\r\n",
  );
  assert.equal((await client.readResponse()).body, "value");
  assert.equal((await client.readResponse()).body, "value");
  client.close();
});
