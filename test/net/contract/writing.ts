import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import type { Engine } from "../../../src/net/engine.ts";
import { waitFor } from "../../support/wait.ts";
import { call, fill, hears, ORIGINS, pattern, scene, stuff, TCP, turns } from "./harness.ts";

/** `exact`: the engine's `unsent` is right to the byte; else up to a record of `record` bytes, of which not all was sent. */
export function writing(engine: Engine, exact: boolean, record = 0): void {
  for (const origin of ORIGINS) {
    test(`${origin.name}: a write that finds room is sent, and nobody need wait`, async (t) => {
      const { stream, heard, peer } = await scene(t, engine, origin);
      assert.deepEqual([stream.sending, stream.unsent], [false, 0]);
      assert.equal(
        call(() => stream.write("text \xe9\xff\0")),
        true,
      );
      const due = stream.sending ? ["sent"] : [];
      assert.equal(
        call(() => stream.write(Buffer.from("bytes"))),
        true,
      );
      assert.equal(await peer.take(13), "text \xe9\xff\0bytes");
      await waitFor(() => !stream.sending, "the end of sending");
      await turns();
      assert.deepEqual(new Set(heard.events), new Set(due));
      assert.equal(stream.unsent, 0);
    });

    // Less than any buffer of the program's, and more: what `write` answers, and that it calls back, has nothing to do with it.
    for (const size of [1000, 20_000, 65_536, 1_000_000]) {
      test(`${origin.name}: a slow reader of pieces of ${size} bytes: false, then onDrain, then onSent`, async (t) => {
        const made = await scene(t, engine, origin);
        const { stream, heard, peer } = made;
        const first = await stuff(made, size);
        assert.equal(stream.sending, true);
        assert.ok(stream.unsent > 0 && stream.unsent <= first.length);
        const second = pattern(size, 77);
        assert.equal(
          call(() => stream.write(second)),
          false,
          "while anything is queued",
        );
        await turns();
        assert.deepEqual(heard.events, [], "the peer has read nothing");
        const all = Buffer.concat([first, second]);
        assert.equal((await peer.take(all.length)) === all.toString("latin1"), true);
        await hears(heard, "sent");
        await turns();
        assert.deepEqual(heard.events, ["drain", "sent"]);
        assert.deepEqual([stream.sending, stream.unsent], [false, 0]);
        assert.equal(
          call(() => stream.write("again")),
          true,
        );
      });
    }
  }

  for (const origin of TCP) {
    test(`${origin.name}: what onDrain writes is sent before onSent`, async (t) => {
      let rounds = 0;
      let sending = true;
      const { stream, heard, peer } = await scene(t, engine, origin, {
        onDrain(drained) {
          if (++rounds < 3) fill(drained, 65_536);
        },
        onSent(sent) {
          sending = sent.sending || sent.unsent > 0;
        },
      });
      fill(stream, 65_536);
      peer.read();
      await hears(heard, "sent");
      await turns();
      assert.deepEqual([rounds, sending], [3, false]);
      assert.equal(heard.events.filter((event) => event === "drain").length, 3);
      assert.deepEqual(heard.events.slice(-2), ["drain", "sent"]);
    });

    test(`${origin.name}: no bytes at all: the answer, and no event`, async (t) => {
      const made = await scene(t, engine, origin);
      const { stream, heard, peer } = made;
      for (const nothing of ["", Buffer.alloc(0)]) {
        assert.equal(
          call(() => stream.write(nothing)),
          true,
        );
        assert.equal(stream.sending, false);
      }
      const { length } = await stuff(made, 65_536);
      for (const nothing of ["", Buffer.alloc(0)]) {
        assert.equal(
          call(() => stream.write(nothing)),
          false,
        );
      }
      assert.equal((await peer.take(length)).length, length);
      await hears(heard, "sent");
      await turns();
      assert.deepEqual(heard.events, ["drain", "sent"]);
    });

    test(`${origin.name}: cork gathers and answers true; uncork answers for all`, async (t) => {
      const made = await scene(t, engine, origin);
      const { stream, heard, peer } = made;
      call(() => stream.cork());
      assert.equal(
        call(() => stream.write("a")),
        true,
      );
      call(() => stream.cork());
      assert.equal(
        call(() => stream.write(Buffer.from("b"))),
        true,
      );
      call(() => stream.uncork());
      assert.equal(
        call(() => stream.write("c")),
        true,
      );
      assert.equal(
        call(() => stream.uncork()),
        true,
      );
      assert.equal(await peer.take(3), "abc");

      peer.socket.pause();
      const filled = await stuff(made, 65_536);
      call(() => stream.cork());
      assert.equal(
        call(() => stream.write("x")),
        true,
      );
      assert.equal(
        call(() => stream.uncork()),
        false,
      );
      assert.equal((await peer.take(3 + filled.length + 1)).slice(-1), "x");
      await hears(heard, "sent");
      assert.deepEqual(heard.events, ["drain", "sent"]);
    });

    test(`${origin.name}: bytes lent to onData are copied by the stream that queues them`, async (t) => {
      const slow = await scene(t, engine, origin);
      const before = await stuff(slow, 65_536);
      const kept: Buffer[] = [];
      const source = await scene(t, engine, origin, {
        onData(_stream, bytes) {
          kept.push(bytes);
          slow.stream.write(bytes);
        },
      });
      const rounds = Array.from({ length: 20 }, (_, i) => pattern(5000 + i, i));
      let length = 0;
      for (const round of rounds) {
        source.peer.socket.write(round);
        length += round.length;
        const wanted = length;
        await waitFor(
          () => source.heard.pieces.reduce((sum, piece) => sum + piece.length, 0) === wanted,
          "the bytes written",
        );
      }
      // Whoever keeps a view without copying finds other bytes in it.
      for (const view of kept) view.fill(0);
      const all = Buffer.concat([before, ...rounds]);
      assert.equal((await slow.peer.take(all.length)) === all.toString("latin1"), true);
    });

    test(`${origin.name}: what was not sent when the stream was destroyed is unsent`, async (t) => {
      const made = await scene(t, engine, origin);
      const { stream, heard, peer } = made;
      const { length } = await stuff(made, 100_000);
      call(() => stream.destroy());
      assert.equal(stream.sending, false);
      const lost = stream.unsent;
      assert.ok(lost > 0);
      const got = (await peer.take()).length;
      if (exact) assert.equal(got, length - lost);
      else assert.ok(got + record >= length - lost);
      assert.equal(stream.unsent, lost);
      await hears(heard, "close");
      assert.deepEqual(heard.events, ["close"]);
    });
  }

  test("100 MiB go through, with a reader that is now and then slow", async (t) => {
    const piece = pattern(64 * 1024);
    const total = 100 * 1024 * 1024;
    const sent = createHash("sha1");
    let left = total;
    const write = (): void => {
      let more = true;
      while (more && left > 0) {
        piece.writeUInt32LE(left);
        sent.update(piece);
        left -= piece.length;
        more = stream.write(piece);
      }
      if (left === 0) stream.end();
    };
    const { stream, peer } = await scene(t, engine, TCP[0], { onDrain: write });
    const got = createHash("sha1");
    let length = 0;
    peer.socket.removeAllListeners("data");
    peer.socket.on("data", (bytes) => {
      got.update(bytes);
      const mebibytes = length >> 20;
      length += bytes.length;
      if (length >> 24 === mebibytes >> 4) return;
      peer.socket.pause();
      setImmediate(() => peer.socket.resume());
    });
    write();
    peer.read();
    await waitFor(() => peer.ended, "the end", 60_000);
    assert.equal(length, total);
    assert.equal(got.digest("hex"), sent.digest("hex"));
  });
}
