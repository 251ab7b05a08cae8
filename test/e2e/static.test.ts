import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, RawConnection, type RawResponse, request } from "../support/tcp.ts";

const TEN = "0123456789".repeat(10);
const BIG = Buffer.alloc(3_000_000, "The quick brown fox jumps over the lazy dog. ").toString("latin1");

const FILES = {
  "html/index.html": "the index\n",
  "html/ten.txt": TEN,
  "html/empty.txt": "",
  "html/big.bin": BIG,
  "html/UPPER.TXT": "upper",
  "html/unknown.zzz": "unknown",
  "html/dir/first.html": "first",
  "html/bare/file": "no index here",
  "html/with space/index.html": "spaced",
};

function config([port]: readonly number[]): string {
  return `http { types { text/html html; text/plain txt; }
    default_type application/x-unknown; access_log off;
    server { listen 127.0.0.1:${port};
      location /dir/ { index none.html first.html; }
      location /to/ { index /ten.txt; }
      location /var/ { alias html/dir/; index $arg_name; }
      location /alias/ { alias html/; etag off; }
      location /exact { alias html/ten.txt; }
      location /two/ { alias html/; max_ranges 1; }
      location /none/ { alias html/; max_ranges 0; }
      location /before/ { alias html/; if_modified_since before; }
      location /checked/ { alias html/; disable_symlinks on; }
      location /quiet/ { alias html/; log_not_found off; }
      location /only/ { alias html/; limit_except GET { deny all; } }
    } }`;
}

/** 2020-09-13, so that the files are old enough to be kept in memory. */
const MODIFIED = "Sun, 13 Sep 2020 12:26:40 GMT";

function age(running: Running): void {
  for (const file of Object.keys(FILES)) utimesSync(join(running.prefix, file), 1_600_000_000, 1_600_000_000);
}

test("files, their heads and the errors of missing ones", async (t) => {
  const holdfast = await startHoldfast(t, { config, files: FILES });
  age(holdfast);
  const { port } = holdfast;
  const ten = await get(port, "/ten.txt");
  assert.equal(ten.status, 200);
  assert.equal(ten.body, TEN);
  assert.equal(ten.header("content-type"), "text/plain");
  assert.equal(ten.header("content-length"), "100");
  assert.equal(ten.header("last-modified"), MODIFIED);
  assert.equal(ten.header("etag"), '"5f5e1000-64"');
  assert.equal(ten.header("accept-ranges"), "bytes");
  assert.equal((await get(port, "/UPPER.TXT")).header("content-type"), "text/plain");
  assert.equal((await get(port, "/unknown.zzz")).header("content-type"), "application/x-unknown");
  assert.equal((await get(port, "/alias/ten.txt")).header("etag"), undefined);
  assert.equal((await get(port, "/exact")).body, TEN);
  assert.equal((await get(port, "/empty.txt")).body, "");
  assert.equal((await get(port, "/")).body, "the index\n");
  assert.equal((await get(port, "/dir/")).body, "first");
  assert.equal((await get(port, "/to/")).body, TEN);
  assert.equal((await get(port, "/var/?name=first.html")).body, "first");
  assert.equal((await get(port, "/big.bin")).body, BIG);

  const head = await request(port, "HEAD /ten.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  assert.deepEqual([head.status, head.header("content-length"), head.body], [200, "100", ""]);
  for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
    const { status } = await request(port, `${method} /ten.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`);
    assert.equal(status, 405, method);
  }

  assert.equal((await get(port, "/bare?a=b")).header("location"), `http://localhost:${port}/bare/?a=b`);
  assert.equal((await get(port, "/with%20space")).header("location"), `http://localhost:${port}/with%20space/`);
  assert.equal((await get(port, "/with%20space/")).body, "spaced");
  assert.equal((await get(port, "/bare/")).status, 403);
  assert.equal((await get(port, "/ten.txt/")).status, 404, "a file is no directory");
  assert.equal((await get(port, "/missing.txt")).status, 404);
  assert.equal((await get(port, "/missing/")).status, 404);
  await holdfast.waitForLog(
    /open\(\) "[^"]+\/html\/missing\.txt" failed \(2: No such file or directory\), client: 127/,
  );
  await holdfast.waitForLog(/"[^"]+\/html\/missing\/index\.html" is not found \(2: No such file or directory\)/);
  await holdfast.waitForLog(/directory index of "[^"]+\/html\/bare\/" is forbidden/);
  assert.equal((await get(port, "/quiet/missing2.txt")).status, 404);
  assert.doesNotMatch(holdfast.errorLog(), /missing2\.txt" failed/);
  assert.equal((await get(port, "/only/ten.txt")).status, 200);
  assert.equal((await request(port, "PUT /only/ten.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")).status, 403);
});

test("a file that changes is never served stale", async (t) => {
  const holdfast = await startHoldfast(t, { config, files: FILES });
  age(holdfast);
  const connection = await RawConnection.open(holdfast.port);
  const read = async (): Promise<RawResponse> => {
    connection.write("GET /ten.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    return connection.readResponse();
  };
  const path = join(holdfast.prefix, "html/ten.txt");
  for (let i = 0; i < 20; i++) {
    for (let j = 0; j < 3; j++) await read();
    writeFileSync(path, String(i).padStart(100, "."));
    // The same size and the same time: only what the system itself notes tells them apart.
    utimesSync(path, 1_600_000_000, 1_600_000_000);
    assert.equal((await read()).body, String(i).padStart(100, "."));
  }
  connection.close();
});

test("symbolic links are refused where disable_symlinks says so", async (t) => {
  const holdfast = await startHoldfast(t, { config, files: FILES });
  symlinkSync("ten.txt", join(holdfast.prefix, "html/link"));
  mkdirSync(join(holdfast.prefix, "html/plain"));
  symlinkSync("../dir", join(holdfast.prefix, "html/plain/linked"));
  assert.equal((await get(holdfast.port, "/alias/link")).body, TEN);
  assert.equal((await get(holdfast.port, "/checked/link")).status, 403);
  assert.equal((await get(holdfast.port, "/checked/ten.txt")).body, TEN);
  assert.notEqual((await get(holdfast.port, "/checked/plain/linked/first.html")).status, 200);
  await holdfast.waitForLog(/openat\(\) "[^"]+\/link" failed \(40: Too many levels of symbolic links\)/);
});

const CONDITIONS: readonly (readonly string[])[] = [
  [`If-Modified-Since: ${MODIFIED}`],
  ["If-Modified-Since: Sun, 13 Sep 2020 12:26:41 GMT"],
  ["If-Modified-Since: Sun, 13 Sep 2020 12:26:39 GMT"],
  ["If-Modified-Since: rubbish"],
  [`If-Unmodified-Since: ${MODIFIED}`],
  ["If-Unmodified-Since: Sun, 13 Sep 2020 12:26:39 GMT"],
  ['If-None-Match: "5f5e1000-64"'],
  ['If-None-Match: W/"5f5e1000-64"'],
  ['If-None-Match: "a", "5f5e1000-64" , "b"'],
  ['If-None-Match: "5f5e1000-6"'],
  ["If-None-Match: *"],
  ['If-Match: "5f5e1000-64"'],
  ['If-Match: W/"5f5e1000-64"'],
  ['If-Match: "other"'],
  ["If-Match: *"],
  [`If-Modified-Since: ${MODIFIED}`, 'If-None-Match: "other"'],
  ["Range: bytes=0-9"],
  ["Range: bytes=-5"],
  ["Range: bytes=95-"],
  ["Range: bytes=0-0,-1"],
  ["Range: bytes=0-9,20-29"],
  ["Range: bytes=100-"],
  ["Range: bytes=9-0"],
  ["Range: bytes=-0"],
  ["Range: bytes=0-99999999999999999999"],
  ["Range: lines=0-1"],
  ["Range: bytes=0-1,0-99"],
  ["Range: bytes=0-9", 'If-Range: "5f5e1000-64"'],
  ["Range: bytes=0-9", 'If-Range: "other"'],
  ["Range: bytes=0-9", `If-Range: ${MODIFIED}`],
  ["Range: bytes=0-9", "If-Range: Sun, 13 Sep 2020 12:26:39 GMT"],
  ["Range: bytes=0-9", 'If-None-Match: "5f5e1000-64"'],
  ["Range: bytes=0-9", 'If-Match: "other"'],
];

/** What must be the same, whoever answers. */
function essence({ status, headers, body }: RawResponse): unknown {
  const known = headers.filter(([name]) => !["server", "date", "connection"].includes(name));
  const text = body.replace(/(nginx|holdfast)\/[\d.]+/g, "SERVER").replace(/--\d{20}/g, "--BOUNDARY");
  const length = status >= 400 ? "" : undefined;
  return {
    status,
    headers: known
      .map(([name, value]) => `${name}: ${name === "content-length" ? (length ?? value) : value}`)
      .map((line) => line.replace(/boundary=\d{20}/, "boundary=BOUNDARY"))
      .sort(),
    body: text,
  };
}

test("conditions and ranges are answered as nginx answers them", { skip: have("nginx") }, async (t) => {
  const holdfast = await startHoldfast(t, { config, files: FILES });
  const nginx = await startNginx(t, { config, files: FILES });
  age(holdfast);
  age(nginx);
  for (const path of ["/ten.txt", "/two/ten.txt", "/none/ten.txt", "/before/ten.txt", "/alias/ten.txt", "/big.bin"]) {
    for (const headers of CONDITIONS) {
      // Twice: from the disk and from memory.
      const expected = essence(await get(nginx.port, path, ...headers));
      for (let i = 0; i < 2; i++) {
        assert.deepEqual(essence(await get(holdfast.port, path, ...headers)), expected, `${path} with ${headers}`);
      }
    }
  }
});

test("a big file goes to a slow reader whole, and stops for one who leaves", async (t) => {
  const holdfast = await startHoldfast(t, { config, files: FILES });
  const slow = await RawConnection.open(holdfast.port);
  slow.socket.pause();
  slow.write("GET /big.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const gone = await RawConnection.open(holdfast.port);
  gone.write("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
  await gone.until((received) => received.length > 0);
  gone.close();
  assert.equal((await get(holdfast.port, "/ten.txt")).body, TEN, "others are served meanwhile");
  slow.socket.resume();
  assert.equal((await slow.readResponse()).body, BIG);
  slow.close();
});

test("limit_rate that the head alone does not use up holds the body back no longer than it must", async (t) => {
  const holdfast = await startHoldfast(t, {
    files: { "html/large": "x".repeat(50_000) },
    // Far longer than this may take: what waits for a drain that never comes ends with send_timeout.
    config: ([port]) =>
      `http { send_timeout 10m; server { listen 127.0.0.1:${port}; limit_rate 10m; location / { root html; } } }`,
  });
  assert.equal((await get(holdfast.port, "/large")).body.length, 50_000);
});

test("a client that has closed its side gets a file whole although it waits for its turn", async (t) => {
  // More than is read in one turn, less than the kernel takes at once.
  const half = Buffer.alloc(1536 * 1024, "h");
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http { server { listen 127.0.0.1:${port}; root html; } }`,
    files: { "html/half.bin": half },
  });
  const clients = await Promise.all(Array.from({ length: 8 }, () => RawConnection.open(holdfast.port)));
  for (const client of clients) client.socket.end("GET /half.bin HTTP/1.1\r\nHost: x\r\n\r\n");
  for (const client of clients) assert.equal((await client.readResponse()).body.length, half.length);
});
