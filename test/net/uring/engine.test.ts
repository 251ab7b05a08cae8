/** What only the engine on io_uring can get wrong: full queues, buffers that run out, greedy peers, an end with work under way. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { open } from "node:fs/promises";
import net from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Stream } from "../../../src/net/stream.ts";
import { openUring } from "../../../src/net/uring/engine.ts";
import { NODE_FLAGS } from "../../support/holdfast.ts";
import { NO_SLOW_DISK, slowDisk } from "../../support/slow_disk.ts";
import { waitFor } from "../../support/wait.ts";
import {
  dial,
  hears,
  listening,
  ORIGINS,
  pattern,
  type Recorder,
  received,
  recorder,
  scene,
  TCP,
  target,
  turns,
} from "../contract/harness.ts";

const opened = openUring();
const skip = typeof opened === "string" ? `not here: ${opened}` : false;
const engine = () => {
  if (typeof opened === "string") throw new Error(opened);
  return opened;
};

test("more operations in one go than the queue has room for", { skip }, async (t) => {
  // Each listening socket has room for those that come to it: who finds none may be reset.
  const addresses = await Promise.all(
    Array.from({ length: 12 }, () => listening(t, engine(), () => recorder({ onEnd: (stream) => stream.end() }))),
  );
  const heards: Recorder[] = [];
  for (let i = 0; i < 3000; i++) {
    const heard = recorder({ onConnect: (stream) => stream.end() });
    heards.push(heard);
    engine().connect({ address: addresses[i % addresses.length] }, heard);
  }
  await waitFor(() => heards.every(({ events }) => events.includes("close")), "the end of all", 60_000);
  assert.deepEqual(new Set(heards.map(({ error }) => error?.code)), new Set([undefined]));
  await waitFor(() => engine().openStreams() === 0, "the other ends");
});

test("more completions in one go than their queue has room for: none is lost", { skip }, async (t) => {
  const accepted: Recorder[] = [];
  const address = await listening(t, engine(), () => {
    const heard = recorder({ onEnd: (stream) => stream.end() });
    accepted.push(heard);
    return heard;
  });
  const streams: Stream[] = [];
  const heards: Recorder[] = [];
  // No more at a time than the queue of the listening socket takes.
  for (let i = 0; i < 12; i++) {
    for (let j = 0; j < 250; j++) {
      const heard = recorder({ onConnect: (stream) => void streams.push(stream) });
      heards.push(heard);
      engine().connect({ address }, heard);
    }
    await waitFor(() => streams.length === heards.length && accepted.length === heards.length, "all connections");
  }
  // Of each: its receive's end and its own, and at the other side what that makes of it.
  for (const stream of streams) stream.destroy();
  await waitFor(() => [...heards, ...accepted].every(({ events }) => events.includes("close")), "all ends", 60_000);
  assert.equal(engine().openStreams(), 0);
});

test("more bytes in one go than there are buffers: everybody gets all of theirs", { skip }, async (t) => {
  const heards: Recorder[] = [];
  const address = await listening(t, engine(), () => {
    const heard = recorder({ onEnd: (stream) => stream.end() });
    heards.push(heard);
    return heard;
  });
  const peers = await Promise.all(Array.from({ length: 300 }, () => dial(t, address)));
  await waitFor(() => heards.length === peers.length, "all connections");
  for (const size of [100, 5000, 100_000]) {
    for (const { pieces } of heards) pieces.length = 0;
    for (const [i, { socket }] of peers.entries()) socket.write(pattern(size, i));
    await waitFor(
      () => heards.every(({ pieces }) => pieces.reduce((sum, piece) => sum + piece.length, 0) === size),
      `${size} bytes each`,
      60_000,
    );
    const got = new Set(heards.map((heard) => received(heard)));
    assert.deepEqual(got, new Set(peers.map((_, i) => pattern(size, i).toString("latin1"))));
  }
});

test("a greedy peer has a bounded part of a turn, and others are served and accepted meanwhile", {
  skip,
}, async (t) => {
  let within = 0;
  let most = 0;
  let total = 0;
  const greedy = await scene(t, engine(), TCP[0], {
    onData(_stream, { length }) {
      within += length;
      total += length;
      most = Math.max(most, within);
      engine().loop.defer(
        () => {
          within = 0;
        },
        undefined,
        undefined,
      );
    },
  });
  greedy.heard.pieces.push = () => 0;
  const piece = Buffer.alloc(1 << 20, "x");
  let going = true;
  const feed = (): void => {
    while (going && greedy.peer.socket.write(piece));
    if (going) greedy.peer.socket.once("drain", feed);
  };
  feed();
  const echo = await listening(t, engine(), () =>
    recorder({ onData: (stream, bytes) => void stream.write(bytes), onEnd: (stream) => stream.end() }),
  );
  for (let i = 0; i < 20; i++) {
    const before = total;
    const other = await dial(t, echo);
    other.socket.write("echo");
    assert.equal(await other.take(4), "echo");
    other.socket.destroy();
    await waitFor(() => total > before, "the greedy one");
  }
  going = false;
  assert.ok(most <= 1024 * 1024, `${most} bytes in one turn`);
});

test("a paused stream takes little of what its peer goes on sending", { skip }, async (t) => {
  const { stream, heard, peer } = await scene(t, engine(), TCP[0], { onData: (paused) => paused.pause() });
  const sent = pattern(32 * 1024 * 1024);
  peer.socket.write(sent);
  await hears(heard, "data");
  await turns(100);
  const before = process.memoryUsage().arrayBuffers;
  await turns(100);
  assert.ok(process.memoryUsage().arrayBuffers - before < 1024 * 1024);
  const rest = recorder();
  stream.handler = rest;
  stream.resume();
  const length = (): number => [...heard.pieces, ...rest.pieces].reduce((sum, piece) => sum + piece.length, 0);
  await waitFor(() => length() === sent.length, "all bytes", 60_000);
  assert.ok(Buffer.concat([...heard.pieces, ...rest.pieces]).equals(sent));
});

test("a number that is another socket's at once gets nothing of the one before", { skip }, async (t) => {
  const address = await listening(t, engine(), () =>
    recorder({
      onData(stream, bytes) {
        stream.write(bytes);
        stream.destroy();
      },
    }),
  );
  const answers: string[] = [];
  let left = 2000;
  const next = (): void => {
    if (left-- <= 0) return;
    const mine = String(left);
    const heard = recorder({
      onConnect: (stream) => void stream.write(mine),
      onData(stream, bytes) {
        if (bytes.toString() !== mine) answers.push(`${bytes.toString()} for ${mine}`);
        // The next one has its number.
        stream.destroy();
        next();
      },
    });
    engine().connect({ address }, heard);
  };
  for (let i = 0; i < 20; i++) next();
  await waitFor(() => left <= 0 && engine().openStreams() === 0, "the end of all", 60_000);
  assert.deepEqual(answers, []);
});

test("the process may exit with operations under way; it waits until all is closed, and no longer", {
  skip,
}, async () => {
  const main = fileURLToPath(new URL("../../support/ring_main.ts", import.meta.url));
  for (const [how, status] of [
    ["exit", 7],
    ["close", 0],
    ["end", 8],
  ] as const) {
    const child = spawn(process.execPath, [...NODE_FLAGS, main, how], { stdio: ["ignore", "pipe", "inherit"] });
    child.stdout.setEncoding("latin1");
    const port = Number(await new Promise<string>((resolve) => child.stdout.once("data", resolve)));
    const socket = net.connect(target({ family: "ipv4", host: "127.0.0.1", port }) as net.NetConnectOpts);
    socket.on("error", () => {}).resume();
    if (how === "end") socket.end("go");
    else socket.write("go");
    assert.equal(await new Promise((resolve) => child.once("exit", resolve)), status, how);
    socket.destroy();
  }
});

test("forty reads that wait for a disk do not keep others waiting", { skip: skip || NO_SLOW_DISK }, async (t) => {
  const disk = await slowDisk(t);
  if (disk === undefined) return;
  await disk.add("file", "x".repeat(40 * 4096));
  const slow = await open(join(disk.path, "file"), "r");
  t.after(() => slow.close().catch(() => {}));
  const read = (fd: number, position: number): Promise<string> =>
    new Promise((resolve) => {
      engine().readFile(fd, position, 4, { onFileRead: (bytes) => resolve(bytes.latin1Slice()) });
    });
  const waiting = Array.from({ length: 40 }, (_, i) => read(slow.fd, i * 4096));
  await waitFor(() => disk.held > 0, "the reads");
  const own = await open(fileURLToPath(import.meta.url), "r");
  assert.equal(await read(own.fd, 0), "/** ");
  await own.close();
  await disk.serve();
  assert.deepEqual(new Set(await Promise.all(waiting)), new Set(["xxxx"]));
});

for (const sizes of [[4], [100_000], [4, 100_000], [4, 20_000]]) {
  test(`of writes that fail, of ${sizes.join(" and ")} bytes, all is unsent`, { skip }, async (t) => {
    for (const origin of ORIGINS.filter(({ unix }) => unix)) {
      const { stream, heard, peer } = await scene(t, engine(), origin);
      peer.socket.destroy();
      await hears(heard, "end");
      let written = 0;
      for (const size of sizes) {
        stream.write(pattern(size));
        written += size;
      }
      await hears(heard, "close");
      assert.deepEqual([heard.error?.code, stream.unsent], ["EPIPE", written], origin.name);
    }
  });
}

test("the process does not end before a client that ended first has the whole answer", { skip }, async () => {
  const main = fileURLToPath(new URL("../../support/ring_main.ts", import.meta.url));
  const child = spawn(process.execPath, [...NODE_FLAGS, main, "answer"], { stdio: ["ignore", "pipe", "inherit"] });
  child.stdout.setEncoding("latin1");
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const port = Number(await new Promise<string>((resolve) => child.stdout.once("data", resolve)));
  const socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true }).end("go");
  let length = 0;
  for await (const bytes of socket) length += (bytes as Buffer).length;
  assert.equal(length, 20_000_000);
  assert.equal(await exited, 8);
});
