import assert from "node:assert/strict";
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Engine } from "../../../src/net/engine.ts";
import { NO_ROOM, NOT_THIS_FILE, type Stream } from "../../../src/net/stream.ts";
import { waitFor } from "../../support/wait.ts";
import { call, fill, hears, ORIGINS, pattern, scene } from "./harness.ts";

/** A file with those bytes, open for reading. */
function file(t: TestContext, bytes: Buffer): { readonly fd: number; truncate(length: number): void } {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-contract-"));
  const path = join(directory, "file");
  writeFileSync(path, bytes);
  const fd = openSync(path, "r+");
  t.after(() => {
    closeSync(fd);
    rmSync(directory, { recursive: true });
  });
  return { fd, truncate: (length) => ftruncateSync(fd, length) };
}

/** Sends from `at` to `end` as far as there is room. Returns where it stopped. */
function send(stream: Stream, fd: number, at: number, end: number): number {
  let position = at;
  while (position < end) {
    const sent = call(() => stream.sendFile?.(fd, position, end - position, "") ?? NOT_THIS_FILE);
    if (sent === NO_ROOM) break;
    assert.ok(sent > 0, `sendFile: ${sent}`);
    position += sent;
  }
  return position;
}

/** For engines that have `sendFile`. */
export function sendingFiles(engine: Engine): void {
  for (const origin of ORIGINS) {
    test(`${origin.name}: a part of a file goes behind what was written, and before what is written next`, async (t) => {
      const { stream, heard, peer } = await scene(t, engine, origin);
      const { fd } = file(t, Buffer.from("0123456789"));
      call(() => stream.write("head "));
      assert.equal(send(stream, fd, 2, 6), 6);
      call(() => stream.write(" tail"));
      assert.equal(await peer.take(14), "head 2345 tail");
      assert.equal(stream.sending, false);
      assert.ok(!heard.events.includes("drain"));
    });

    test(`${origin.name}: text goes before a part of a file, behind what was written or alone`, async (t) => {
      const { stream, peer } = await scene(t, engine, origin);
      const { fd } = file(t, Buffer.from("0123456789"));
      assert.equal(
        call(() => stream.sendFile?.(fd, 2, 4, "head\u00e9 ")),
        4,
      );
      assert.equal(await peer.take(10), "head\u00e9 2345");
      call(() => {
        stream.write("written ");
        assert.equal(stream.sendFile?.(fd, 6, 2, "head "), 2);
      });
      assert.equal(await peer.take(25), "head\u00e9 2345written head 67");
      assert.equal(stream.sending, false);
    });

    test(`${origin.name}: text that goes before a part of a file waits behind what is queued`, async (t) => {
      const { stream, heard, peer } = await scene(t, engine, origin);
      const { fd } = file(t, Buffer.from("file"));
      const queued = fill(stream, 65_536).length;
      assert.equal(
        call(() => stream.sendFile?.(fd, 0, 4, "head ")),
        NO_ROOM,
      );
      await Promise.all([hears(heard, "drain"), peer.take(queued + 5)]);
      assert.equal(send(stream, fd, 0, 4), 4);
      assert.ok((await peer.take(queued + 9)).endsWith("head file"));
    });

    test(`${origin.name}: a slow reader: NO_ROOM, then onDrain, until all is sent`, async (t) => {
      const bytes = pattern(20_000_000, 3);
      const { fd } = file(t, bytes);
      let at = 0;
      let stops = 0;
      const { stream, heard, peer } = await scene(t, engine, origin, {
        onDrain(made) {
          stops++;
          at = send(made, fd, at, bytes.length);
        },
      });
      at = send(stream, fd, 0, bytes.length);
      assert.ok(at < bytes.length);
      assert.deepEqual([stream.sending, stream.unsent], [false, 0]);
      assert.equal((await peer.take(bytes.length)) === bytes.toString("latin1"), true);
      assert.ok(stops > 0 && at === bytes.length);
      assert.equal(heard.events.at(-1), "sent");
    });

    test(`${origin.name}: while bytes are queued there is no room for a file's`, async (t) => {
      const made = await scene(t, engine, origin);
      const { stream, heard, peer } = made;
      const { fd } = file(t, Buffer.from("file"));
      const queued = fill(stream, 65_536).length;
      assert.equal(
        call(() => stream.sendFile?.(fd, 0, 4, "")),
        NO_ROOM,
      );
      await Promise.all([hears(heard, "drain"), peer.take(queued)]);
      assert.equal(send(stream, fd, 0, 4), 4);
      assert.ok((await peer.take(queued + 4)).endsWith("file"));
    });
  }

  test("a file that ends too early is told from a socket without room", async (t) => {
    const { stream, peer } = await scene(t, engine, ORIGINS[0]);
    const { fd, truncate } = file(t, Buffer.from("0123456789"));
    assert.equal(send(stream, fd, 0, 10), 10);
    // What is on its way are the file's own pages.
    assert.equal(await peer.take(10), "0123456789");
    truncate(4);
    assert.equal(
      call(() => stream.sendFile?.(fd, 4, 6, "")),
      0,
    );
  });

  test("what is no file of bytes is to be read instead", async (t) => {
    const { stream } = await scene(t, engine, ORIGINS[0]);
    const directory = openSync(tmpdir(), "r");
    t.after(() => closeSync(directory));
    assert.equal(
      call(() => stream.sendFile?.(directory, 0, 6, "")),
      NOT_THIS_FILE,
    );
    assert.equal(stream.closed, false);
  });

  test("a peer that is gone closes the stream, also while it waits for room; nothing is sent from then on", async (t) => {
    const bytes = pattern(20_000_000, 3);
    const { fd } = file(t, bytes);
    const { stream, heard, peer } = await scene(t, engine, ORIGINS[0], {
      onDrain: (made) => void send(made, fd, 0, bytes.length),
    });
    send(stream, fd, 0, bytes.length);
    peer.socket.resetAndDestroy();
    await waitFor(() => heard.events.includes("close"), "onClose");
    assert.ok(heard.error !== undefined);
    assert.equal(
      call(() => stream.sendFile?.(fd, 0, 6, "")),
      NO_ROOM,
    );
  });

  test("destroyed while it waits for room, it is closed at once", async (t) => {
    const bytes = pattern(20_000_000, 3);
    const { fd } = file(t, bytes);
    const { stream, heard } = await scene(t, engine, ORIGINS[0]);
    assert.ok(send(stream, fd, 0, bytes.length) < bytes.length);
    call(() => stream.destroy());
    await waitFor(() => heard.events.includes("close"), "onClose");
    assert.deepEqual(heard.events, ["close"]);
  });
}
