/** Files that are not in memory: who wants them waits for the disk, and nobody else does. */
import assert from "node:assert/strict";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { bodyOf, httpBackend } from "../support/backend.ts";
import { dropPages } from "../support/drop_pages.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { openBy, workersOf } from "../support/processes.ts";
import { NO_SLOW_DISK, type SlowDisk, slowDisk } from "../support/slow_disk.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const ENGINES = ["io_uring", "node"];

const BIG = Buffer.from(Array.from({ length: 1_500_000 }, (_, i) => (i * 7 + (i >> 10)) & 127)).toString("latin1");
const SMALL = "a small file. ".repeat(100);

function start(t: TestContext, use: string, root: string, files: Record<string, string> = {}): Promise<Running> {
  return startHoldfast(t, {
    files,
    config: ([port]) => `worker_processes 1;
      events { use ${use}; }
      http {
        server {
          listen 127.0.0.1:${port};
          location = /alive { return 200 alive; }
          location / { root ${root}; }
          location /off/ { sendfile off; alias ${root}/; }
          location /slow/ { limit_rate 20m; alias ${root}/; }
          location /sub/ { alias ${root}/; sub_filter small SMALL; sub_filter_once off; sub_filter_types *; }
        }
      }`,
  });
}

function opened(holdfast: Running, part: string): number {
  const [worker] = workersOf(holdfast.pid);
  return openBy(worker).filter((path) => path.includes(part)).length;
}

/** A slow disk with the files of this test; undefined where there can be none. */
async function diskWithFiles(t: TestContext): Promise<SlowDisk | undefined> {
  const disk = await slowDisk(t);
  await disk?.add("big.bin", BIG);
  await disk?.add("small.txt", SMALL);
  return disk;
}

for (const use of ENGINES) {
  test(`${use}: files whose pages were dropped, whole and in ranges`, async (t) => {
    const holdfast = await start(t, use, "html", { "html/big.bin": BIG, "html/small.txt": SMALL });
    const { port, prefix } = holdfast;
    const drop = (): void => {
      dropPages(join(prefix, "html/big.bin"));
      dropPages(join(prefix, "html/small.txt"));
    };
    for (const location of ["", "/off", "/slow"]) {
      drop();
      assert.equal((await get(port, `${location}/big.bin`)).body === BIG, true, location);
      assert.equal((await get(port, `${location}/small.txt`)).body, SMALL);
      drop();
      const range = await get(port, `${location}/big.bin`, "Range: bytes=1000000-1400000");
      assert.equal(range.body === BIG.slice(1_000_000, 1_400_001), true, location);
      drop();
      const { body } = await get(port, `${location}/big.bin`, "Range: bytes=1200000-1300000, 5-300004");
      assert.ok(body.includes(`\r\n\r\n${BIG.slice(1_200_000, 1_300_001)}\r\n--`), location);
      assert.ok(body.includes(`\r\n\r\n${BIG.slice(5, 300_005)}\r\n--`), location);
    }
    drop();
    assert.equal((await get(port, "/sub/small.txt")).body, SMALL.replaceAll("small", "SMALL"));
    await waitFor(() => opened(holdfast, "/html/") === 0, "all files to be closed");
  });

  test(`${use}: a disk that does not answer holds up its own requests alone`, { skip: NO_SLOW_DISK }, async (t) => {
    const disk = await diskWithFiles(t);
    if (disk === undefined) return;
    const holdfast = await start(t, use, disk.path);
    const { port } = holdfast;
    const whole = ["/big.bin", "/off/big.bin", "/slow/big.bin"].map((path) => get(port, path));
    const small = ["/small.txt", "/off/small.txt"].map((path) => get(port, path));
    const changed = get(port, "/sub/small.txt");
    const range = get(port, "/big.bin", "Range: bytes=700000-800000");
    await waitFor(() => disk.held > 0 && opened(holdfast, disk.path) === 7, "everyone to wait");
    for (let i = 0; i < 20; i++) assert.equal((await get(port, "/alive")).body, "alive");
    await disk.serve();
    for (const { body } of await Promise.all(whole)) assert.equal(body === BIG, true);
    for (const { body } of await Promise.all(small)) assert.equal(body, SMALL);
    assert.equal((await changed).body, SMALL.replaceAll("small", "SMALL"));
    assert.equal((await range).body === BIG.slice(700_000, 800_001), true);
    await waitFor(() => opened(holdfast, disk.path) === 0, "all files to be closed");
  });

  test(`${use}: clients that leave while their file is read leave nothing behind`, {
    skip: NO_SLOW_DISK,
  }, async (t) => {
    const disk = await diskWithFiles(t);
    if (disk === undefined) return;
    const holdfast = await start(t, use, disk.path);
    const clients = await Promise.all(Array.from({ length: 6 }, () => RawConnection.open(holdfast.port)));
    for (const [i, client] of clients.entries()) {
      client.write(`GET ${i % 2 === 0 ? "/big.bin" : "/off/small.txt"} HTTP/1.1\r\nHost: x\r\n\r\n`);
    }
    await waitFor(() => opened(holdfast, disk.path) === 6, "six open files");
    for (const client of clients) client.socket.resetAndDestroy();
    assert.equal((await get(holdfast.port, "/alive")).body, "alive");
    await disk.serve();
    await waitFor(() => opened(holdfast, disk.path) === 0, "all files to be closed");
    assert.equal((await get(holdfast.port, "/big.bin")).body === BIG, true);
  });

  test(`${use}: a file that is cut while it is read, and a disk that fails`, { skip: NO_SLOW_DISK }, async (t) => {
    const disk = await diskWithFiles(t);
    if (disk === undefined) return;
    const holdfast = await start(t, use, disk.path);
    const ask = async (path: string): Promise<RawConnection> => {
      const client = await RawConnection.open(holdfast.port);
      client.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await waitFor(() => opened(holdfast, disk.path) === 1, "the open file");
      return client;
    };
    const cut = await ask("/small.txt");
    await waitFor(() => disk.held > 0, "the read");
    await disk.truncate("small.txt", 0);
    await disk.serve();
    await cut.until(() => false);
    await holdfast.waitForLog(/\[alert\] .*small\.txt" was truncated while it was sent: 0 of 1400 bytes read/);

    await disk.hold();
    const failed = await ask("/big.bin");
    await waitFor(() => disk.held > 0, "the read");
    await disk.fail();
    await failed.until(() => false);
    await holdfast.waitForLog(/\[crit\] .*pread\(\) ".*\/big\.bin" failed \(5: Input\/output error\)/);
    await waitFor(() => opened(holdfast, disk.path) === 0, "the file to be closed");
  });

  test(`${use}: temporary files of bodies on a disk that does not answer, and then fails`, {
    skip: NO_SLOW_DISK,
  }, async (t) => {
    const disk = await slowDisk(t);
    if (disk === undefined) return;
    const answer = BIG.repeat(16);
    let body = "";
    const { address } = await httpBackend(t, async (request, response) => {
      // What cannot be read is broken off.
      body = await bodyOf(request).catch(() => "");
      response.end(request.url === "/big" ? Buffer.from(answer, "latin1") : "done");
    });
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `worker_processes 1;
        events { use ${use}; }
        http {
          client_max_body_size 0;
          client_body_temp_path ${disk.path};
          proxy_temp_path ${disk.path};
          server {
            listen 127.0.0.1:${port};
            location = /alive { return 200 alive; }
            location / { proxy_pass http://${address}; }
          }
        }`,
    });
    const { port } = holdfast;
    const ask = async (path: string, sent: string): Promise<RawConnection> => {
      const client = await RawConnection.open(port);
      client.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${sent.length}\r\n\r\n${sent}`);
      return client;
    };
    /** Has asked for the large answer, and begins to read it when all of it that has room is in the file. */
    const askSlowly = async (): Promise<RawConnection> => {
      await waitFor(() => opened(holdfast, disk.path) === 0, "all files to be closed");
      await disk.hold();
      const client = await ask("/big", "");
      client.socket.pause();
      await waitFor(() => opened(holdfast, disk.path) > 0, "the answer's file");
      client.socket.resume();
      await waitFor(() => disk.held > 0, "the read of the answer");
      return client;
    };

    const sends = await ask("/", BIG);
    await waitFor(() => disk.held > 0, "the read of the body");
    assert.equal((await get(port, "/alive")).body, "alive");
    await disk.serve();
    assert.equal((await sends.readResponse()).body, "done");
    assert.equal(body === BIG, true);

    const receives = await askSlowly();
    assert.equal((await get(port, "/alive")).body, "alive");
    await disk.serve();
    assert.equal((await receives.readResponse()).body === answer, true);

    await disk.hold();
    const failing = await ask("/", BIG);
    await waitFor(() => disk.held > 0, "the read of the body");
    await disk.fail();
    assert.equal((await failing.readResponse()).status, 500);
    await holdfast.waitForLog(/\[crit\] .*pread\(\) of the request body failed \(5: Input\/output error\)/);

    const cut = await askSlowly();
    await disk.fail();
    await cut.until(() => false);
    await holdfast.waitForLog(/\[crit\] .*pread\(\) ".*" failed \(5: Input\/output error\) while sending to client/);

    await disk.hold();
    const leaving = await ask("/", BIG);
    await waitFor(() => disk.held > 0, "the read of the body");
    leaving.socket.resetAndDestroy();
    assert.equal((await get(port, "/alive")).body, "alive");
    await disk.serve();
    await waitFor(() => opened(holdfast, disk.path) === 0, "all files to be closed");
  });

  test(`${use}: a file that is replaced by a directory while it is sent is sent to its end`, async (t) => {
    const huge = BIG.repeat(16);
    const holdfast = await start(t, use, "html", { "html/huge.bin": huge });
    const path = join(holdfast.prefix, "html/huge.bin");
    dropPages(path);
    const client = await RawConnection.open(holdfast.port);
    client.write("GET /huge.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    await client.until((received) => received !== "");
    client.socket.pause();
    rmSync(path);
    mkdirSync(path);
    client.socket.resume();
    assert.equal((await client.readResponse()).body === huge, true);
    assert.equal((await get(holdfast.port, "/huge.bin")).status, 301);
  });
}
