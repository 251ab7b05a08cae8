import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Engine, FILE_PIECE } from "../../../src/net/engine.ts";
import type { StreamError } from "../../../src/net/stream.ts";
import { cachedUntil, readCached } from "../../../src/sys/page_cache.ts";
import { dropPages } from "../../support/drop_pages.ts";
import { NO_SLOW_DISK, slowDisk } from "../../support/slow_disk.ts";
import { waitFor } from "../../support/wait.ts";
import { call, faults, ORIGINS, pattern, scene } from "./harness.ts";

interface Read {
  readonly bytes: Buffer;
  readonly error: StreamError | undefined;
}

/** A read, as what it comes to. Fails if the handler is called within the call, or twice. */
function read(engine: Engine, fd: number, position: number, length: number): Promise<Read> {
  return new Promise((resolve, reject) => {
    let calls = 0;
    let within = true;
    const onFileRead = (bytes: Buffer, error: StreamError | undefined): void => {
      if (within || ++calls > 1) reject(new Error(within ? "called at once" : "called again"));
      else resolve({ bytes: Buffer.from(bytes), error });
    };
    call(() => engine.readFile(fd, position, length, { onFileRead }));
    within = false;
  });
}

/** A file with those bytes, and a descriptor of it. */
function file(t: TestContext, bytes: Buffer): { readonly path: string; readonly fd: number } {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-contract-"));
  const path = join(directory, "file");
  writeFileSync(path, bytes);
  const fd = openSync(path, "r");
  t.after(() => {
    closeSync(fd);
    rmSync(directory, { recursive: true });
  });
  return { path, fd };
}

/** <linux/magic.h> */
const TMPFS_MAGIC = 0x01021994;

export function readingFiles(engine: Engine): void {
  test("a file's bytes: from any position, as many as there are, at most a piece", async (t) => {
    const bytes = pattern(200_000, 7);
    const { fd } = file(t, bytes);
    for (const [position, length, count] of [
      [0, 10, 10],
      [1, 65_536, 65_536],
      [131_072, 65_536, 65_536],
      [199_990, 1000, 10],
      [200_000, 1000, 0],
      [5_000_000_000, 1000, 0],
      [100, 1_000_000, FILE_PIECE],
    ]) {
      const got = await read(engine, fd, position, length);
      assert.deepEqual([got.error, got.bytes.length], [undefined, count]);
      assert.ok(got.bytes.equals(bytes.subarray(position, position + count)));
    }
  });

  test("beyond 4 GiB", async (t) => {
    const { fd, path } = file(t, Buffer.alloc(0));
    const writer = await open(path, "r+");
    await writer.write(Buffer.from("far away"), 0, 8, 0x1_0000_0100);
    await writer.close();
    assert.equal((await read(engine, fd, 0x1_0000_0104, 4)).bytes.latin1Slice(), "away");
    assert.equal(readCached(fd, 0x1_0000_0100, 3)?.latin1Slice(), "far");
  });

  test("what cannot be read is said, with no bytes", async (t) => {
    const directory = openSync(tmpdir(), "r");
    t.after(() => closeSync(directory));
    const { bytes, error } = await read(engine, directory, 0, 10);
    assert.deepEqual([bytes.length, error], [0, { code: "EISDIR", message: "21: Is a directory" }]);
  });

  test("hundreds of reads at a time, each with bytes of its own", async (t) => {
    const bytes = pattern(4_000_000, 1);
    const { fd, path } = file(t, bytes);
    dropPages(path);
    const reads = Array.from({ length: 400 }, async (_, i) => {
      const got = await read(engine, fd, i * 9973, 20_000);
      assert.ok(got.bytes.equals(bytes.subarray(i * 9973, i * 9973 + got.bytes.length)) && got.bytes.length > 0);
    });
    await Promise.all(reads);
  });

  test("an exception of the handler goes to its onFault, or to the log; reading goes on", async (t) => {
    const { fd } = file(t, Buffer.from("bytes"));
    faults.length = 0;
    let caught: unknown;
    const failing = {
      onFileRead(): void {
        throw new Error("read in vain");
      },
      onFault(error: unknown): void {
        caught = error;
      },
    };
    engine.readFile(fd, 0, 5, failing);
    engine.readFile(fd, 0, 5, { onFileRead: failing.onFileRead });
    await waitFor(() => caught !== undefined && faults.length > 0, "the exceptions");
    assert.match(String(caught), /read in vain/);
    assert.match(faults[0], /^\[alert\] exception: Error: read in vain/);
    assert.equal((await read(engine, fd, 1, 3)).bytes.latin1Slice(), "yte");
  });

  test("what is not in memory is not waited for, unless the engine reads it", async (t) => {
    const bytes = pattern(1_000_000, 5);
    const { fd, path } = file(t, bytes);
    assert.ok(cachedUntil({ fd, identity: 1, size: 1_000_000 }, 10, 900_000) >= 900_000);
    assert.equal(readCached(fd, 10, 900_000)?.equals(bytes.subarray(10, 10 + FILE_PIECE)), true);
    if (statfsSync(path).type === TMPFS_MAGIC) {
      t.skip(`${tmpdir()} is in memory`);
      return;
    }
    // The kernel may read ahead still: pages that are being read cannot be dropped.
    let identity = 1;
    await waitFor(() => {
      dropPages(path);
      return cachedUntil({ fd, identity: ++identity, size: 1_000_000 }, 10, 900_000) === 10;
    }, "a file that is not in memory");
    assert.ok((await read(engine, fd, 0, 65_536)).bytes.equals(bytes.subarray(0, 65_536)));
    assert.equal(readCached(fd, 0, 1000)?.equals(bytes.subarray(0, 1000)), true);
  });

  test("a disk that does not answer keeps nobody waiting but its readers", { skip: NO_SLOW_DISK }, async (t) => {
    const disk = await slowDisk(t);
    if (disk === undefined) return;
    const bytes = pattern(2_000_000, 9);
    await disk.add("file", bytes.toString("latin1"));
    const slow = await open(join(disk.path, "file"), "r");
    assert.equal(readCached(slow.fd, 0, 10), undefined);
    assert.equal(cachedUntil({ fd: slow.fd, identity: -1, size: bytes.length }, 0, 10), 0);
    t.after(() => slow.close().catch(() => {}));
    const reads = [read(engine, slow.fd, 0, 65_536), read(engine, slow.fd, 65_536, 65_536)];
    await waitFor(() => disk.held > 0, "reads");

    const { stream, peer } = await scene(t, engine, ORIGINS[0], { onData: (own, data) => void own.write(data) });
    peer.socket.write("alive");
    assert.equal(await peer.take(5), "alive");
    stream.destroy();
    const { fd } = file(t, Buffer.from("quick"));
    assert.equal((await read(engine, fd, 0, 5)).bytes.latin1Slice(), "quick");

    await disk.serve();
    const got = await Promise.all(reads);
    assert.ok(Buffer.concat(got.map((one) => one.bytes)).equals(bytes.subarray(0, 131_072)));
    await disk.fail();
    const { error } = await read(engine, slow.fd, 1_500_000, 10);
    assert.deepEqual(error, { code: "EIO", message: "5: Input/output error" });
  });
}
