import assert from "node:assert/strict";
import { test } from "node:test";
import type { Engine } from "../../../src/net/engine.ts";
import type { Stream } from "../../../src/net/stream.ts";
import { waitFor } from "../../support/wait.ts";
import {
  call,
  heardBut,
  hears,
  ORIGINS,
  pattern,
  type Recorder,
  received,
  recorder,
  scene,
  TCP,
  turns,
} from "./harness.ts";

const MIB = 1024 * 1024;

function lengthOf({ pieces }: Recorder): number {
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}

export function reading(engine: Engine): void {
  for (const origin of ORIGINS) {
    test(`${origin.name}: pause in onData stops it until resume, which does not call it`, async (t) => {
      const { stream, heard, peer } = await scene(t, engine, origin, {
        onData: (paused) => call(() => paused.pause()),
      });
      const sent = pattern(MIB);
      peer.socket.write(sent);
      let rounds = 0;
      for (let before = 0; before < sent.length; before = lengthOf(heard)) {
        await waitFor(() => lengthOf(heard) > before, "more bytes");
        const now = lengthOf(heard);
        await turns(3);
        assert.equal(lengthOf(heard), now, "paused");
        call(() => stream.resume());
        rounds++;
      }
      assert.equal(received(heard) === sent.toString("latin1"), true);
      assert.ok(rounds > 1);
      assert.deepEqual(heard.events, ["data"]);
    });

    test(`${origin.name}: pause and resume within onData lose nothing and repeat nothing`, async (t) => {
      const { heard, peer } = await scene(t, engine, origin, {
        onData(stream) {
          call(() => stream.pause());
          call(() => stream.resume());
          call(() => stream.resume());
        },
      });
      const sent = pattern(MIB);
      peer.socket.write(sent);
      await waitFor(() => lengthOf(heard) >= sent.length, "all bytes");
      assert.equal(received(heard) === sent.toString("latin1"), true);
      assert.deepEqual(heard.events, ["data"]);
    });

    test(`${origin.name}: the peer's end comes behind all its bytes, paused or not`, async (t) => {
      const { stream, heard, peer } = await scene(t, engine, origin);
      call(() => stream.pause());
      const sent = pattern(30_000);
      peer.socket.end(sent);
      await turns();
      assert.deepEqual(heard.events, []);
      call(() => stream.resume());
      await hears(heard, "end");
      assert.equal(received(heard) === sent.toString("latin1"), true);
      assert.deepEqual(heard.events, ["data", "end"]);
    });

    test(`${origin.name}: a paused stream tells that its peer has ended; what it sent is still to be had`, async (t) => {
      const { stream, heard, peer } = await scene(t, engine, origin, { onPeerClosed() {} });
      call(() => stream.pause());
      peer.socket.end("bytes");
      await hears(heard, "peer closed");
      assert.deepEqual(heard.events, ["peer closed"]);
      call(() => stream.resume());
      await hears(heard, "end");
      assert.deepEqual([heard.events, received(heard)], [["peer closed", "data", "end"], "bytes"]);
    });

    test(`${origin.name}: another handler, put in place while one is at work, gets all that follows`, async (t) => {
      const second = recorder();
      const { stream, heard, peer } = await scene(t, engine, origin, {
        onData(swapped) {
          swapped.handler = second;
        },
      });
      peer.socket.write("first");
      await hears(heard, "data");
      peer.socket.write("second");
      await hears(second, "data");
      peer.socket.end();
      await hears(second, "end");
      call(() => stream.end());
      await hears(second, "close");
      assert.deepEqual([received(heard), heard.events], ["first", ["data"]]);
      assert.deepEqual([received(second), heardBut(second)], ["second", ["data", "end", "close"]]);
    });
  }

  for (const origin of TCP) {
    test(`${origin.name}: reset while paused: closed at once where the handler listens for it`, async (t) => {
      const { stream, heard, peer } = await scene(t, engine, origin, { onPeerClosed() {} });
      call(() => stream.pause());
      peer.socket.write("lost");
      peer.socket.resetAndDestroy();
      await hears(heard, "close");
      assert.equal(heard.events.at(-1), "close");
      assert.equal(heard.events.includes("data"), false);
      assert.deepEqual(heard.error, { code: "ECONNRESET", message: "104: Connection reset by peer" });
      assert.equal(stream.closed, true);
    });

    test(`${origin.name}: reset while paused: heard of after resume where it does not`, async (t) => {
      const { stream, heard, peer } = await scene(t, engine, origin);
      call(() => stream.pause());
      peer.socket.resetAndDestroy();
      await turns();
      assert.deepEqual(heard.events, []);
      call(() => stream.resume());
      await hears(heard, "close");
      assert.equal(heard.error?.code, "ECONNRESET");
    });

    test(`${origin.name}: reset while reading`, async (t) => {
      const { stream, heard, peer } = await scene(t, engine, origin);
      peer.socket.write("x");
      await hears(heard, "data");
      peer.socket.resetAndDestroy();
      await hears(heard, "close");
      assert.deepEqual(heard.events, ["data", "close"]);
      assert.deepEqual(heard.error, { code: "ECONNRESET", message: "104: Connection reset by peer" });
      assert.equal(stream.closed, true);
    });
  }

  test("each reader of many gets its own bytes, whatever the others do in between", async (t) => {
    const streams: { stream: Stream; heard: Recorder; sent: Buffer }[] = [];
    for (let i = 0; i < 20; i++) {
      const { stream, heard, peer } = await scene(t, engine, TCP[i % 2]);
      const sent = pattern(200_000, i);
      streams.push({ stream, heard, sent });
      for (let at = 0; at < sent.length; at += 50_000) peer.socket.write(sent.subarray(at, at + 50_000));
      if (i % 3 === 0) stream.pause();
    }
    await turns();
    for (const { stream } of streams) stream.resume();
    await waitFor(() => streams.every(({ heard, sent }) => lengthOf(heard) >= sent.length), "all bytes");
    for (const { heard, sent } of streams) assert.equal(received(heard) === sent.toString("latin1"), true);
  });
}
