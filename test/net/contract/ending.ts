import assert from "node:assert/strict";
import { test } from "node:test";
import type { Engine } from "../../../src/net/engine.ts";
import type { Stream } from "../../../src/net/stream.ts";
import { waitFor } from "../../support/wait.ts";
import { CAUSES, call, heardBut, hears, ORIGINS, received, scene, stuff, TCP, turns } from "./harness.ts";

export function ending(engine: Engine): void {
  for (const origin of ORIGINS) {
    test(`${origin.name}: the peer ends first, and still gets what is written`, async (t) => {
      const { stream, heard, peer } = await scene(t, engine, origin);
      peer.socket.end("question");
      await hears(heard, "end");
      assert.equal(stream.closed, false);
      call(() => stream.write("answer"));
      call(() => stream.end());
      assert.equal(await peer.take(), "answer");
      await hears(heard, "close");
      assert.deepEqual([heardBut(heard), heard.error, stream.closed], [["data", "end", "close"], undefined, true]);
      assert.equal(received(heard), "question");
    });

    test(`${origin.name}: the stream ends first, and still gets what the peer writes`, async (t) => {
      const { stream, heard, peer } = await scene(t, engine, origin);
      call(() => stream.write("question"));
      call(() => stream.end());
      assert.equal(await peer.take(), "question");
      peer.socket.end("answer");
      await hears(heard, "close");
      assert.deepEqual([heardBut(heard), heard.error], [["data", "end", "close"], undefined]);
      assert.equal(received(heard), "answer");
    });

    test(`${origin.name}: end comes behind all that is queued; what is written after it is not taken`, async (t) => {
      const made = await scene(t, engine, origin);
      const { stream, heard, peer } = made;
      const sent = await stuff(made, 65_536);
      call(() => stream.end());
      assert.equal(
        call(() => stream.write("late")),
        true,
      );
      call(() => stream.end());
      await turns();
      assert.equal(peer.ended, false);
      assert.equal((await peer.take()) === sent.toString("latin1"), true);
      await hears(heard, "sent");
      assert.deepEqual(heard.events, ["drain", "sent"]);
      assert.equal(
        call(() => stream.write("later")),
        true,
      );
      peer.socket.end("answer");
      await hears(heard, "close");
      assert.deepEqual([received(heard), heard.error], ["answer", undefined]);
    });

    test(`${origin.name}: destroy closes, is told once, and later calls do nothing`, async (t) => {
      const made = await scene(t, engine, origin, { onPeerClosed() {} });
      const { stream, heard, peer } = made;
      await stuff(made, 65_536);
      peer.socket.write("never read");
      call(() => stream.destroy());
      assert.deepEqual([stream.closed, stream.sending], [true, false]);
      const useless = (): void => {
        assert.equal(stream.write("x"), true);
        stream.cork();
        assert.equal(stream.uncork(), true);
        stream.pause();
        stream.resume();
        stream.setNoDelay(true);
        stream.setKeepAlive(true, 10);
        stream.end();
        stream.destroy();
        stream.destroy(true);
      };
      call(useless);
      await hears(heard, "close");
      call(useless);
      await turns();
      assert.deepEqual([heard.events, heard.error], [["close"], undefined]);
      await peer.take();
    });

    for (const [event, cause] of Object.entries(CAUSES)) {
      test(`${origin.name}: destroy in ${event}: onClose, and nothing else`, async (t) => {
        const destroy = (stream: Stream): void => call(() => stream.destroy());
        const made = await scene(t, engine, origin, { [event]: destroy });
        const { heard, stream, peer } = made;
        cause(made);
        await hears(heard, "close");
        await turns();
        assert.equal(stream.closed, true);
        assert.equal(heard.error, undefined);
        const before = { onSent: ["drain"], onPeerClosed: [] }[event] ?? [];
        const name = event === "onPeerClosed" ? "peer closed" : event.slice(2).toLowerCase();
        assert.deepEqual(heard.events, [...before, name, "close"]);
        peer.read();
        await waitFor(() => peer.ended || peer.closed, "the end at the peer");
      });
    }
  }

  for (const origin of TCP) {
    for (const queued of [false, true]) {
      test(`${origin.name}: destroy with a reset, ${queued ? "bytes queued" : "nothing to be sent"}`, async (t) => {
        const made = await scene(t, engine, origin);
        const { stream, heard, peer } = made;
        if (queued) await stuff(made, 65_536);
        call(() => stream.destroy(true));
        assert.equal(stream.closed, true);
        await hears(heard, "close");
        assert.deepEqual([heard.events, heard.error], [["close"], undefined]);
        peer.read();
        await waitFor(() => peer.closed, "the end at the peer");
        assert.equal(peer.error, "ECONNRESET");
      });
    }

    test(`${origin.name}: destroy with a reset closes a stream that was half-closed, too`, async (t) => {
      const made = await scene(t, engine, origin);
      const { stream, heard, peer } = made;
      await stuff(made, 65_536);
      call(() => stream.end());
      call(() => stream.destroy(true));
      await hears(heard, "close");
      assert.deepEqual(heard.events, ["close"]);
      peer.read();
      await waitFor(() => peer.ended || peer.closed, "the end at the peer");
    });

    test(`${origin.name}: writing to a peer that has gone closes with the error, not from within write`, async (t) => {
      const { stream, heard, peer } = await scene(t, engine, origin);
      stream.pause();
      peer.socket.resetAndDestroy();
      await waitFor(() => {
        call(() => stream.write("x"));
        return stream.closed;
      }, "a failure");
      await hears(heard, "close");
      assert.deepEqual(heard.events.slice(-1), ["close"]);
      assert.ok(heard.error?.code === "EPIPE" || heard.error?.code === "ECONNRESET");
    });
  }
}
