import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Engine } from "../../../src/net/engine.ts";
import type { ConnectHandler, Stream } from "../../../src/net/stream.ts";
import { waitFor } from "../../support/wait.ts";
import { call, heardBut, ORIGINS, type Origin, pattern, type Scene, scene } from "./harness.ts";

/** A stream whose bytes are passed to another, as a tunnel does; how many of them were spliced, how often it had to stop. */
interface Passage {
  readonly from: Scene;
  readonly to: Scene;
  spliced: number;
  stops: number;
}

async function passage(
  t: TestContext,
  engine: Engine,
  [source, target]: readonly [Origin, Origin],
  own: Partial<ConnectHandler> = {},
): Promise<Passage> {
  const to = await scene(t, engine, target, { onDrain: () => made.from.stream.resume(), ...own });
  const from = await scene(t, engine, source, {
    onData(stream, bytes) {
      if (call(() => to.stream.write(bytes))) {
        const count = call(() => stream.spliceTo?.(to.stream) ?? 0);
        made.spliced += count;
        if (count === 0 || to.stream.write("")) return;
      }
      made.stops++;
      stream.pause();
    },
    onEnd: () => to.stream.end(),
  });
  const made: Passage = { from, to, spliced: 0, stops: 0 };
  return made;
}

/** For engines that have `spliceTo`. */
export function splicing(engine: Engine): void {
  for (const [i, source] of ORIGINS.entries()) {
    const target = ORIGINS[(i + 1) % ORIGINS.length];
    const name = `${source.name} to ${target.name}`;

    test(`${name}: many bytes go through in their order, most of them spliced, and then the end`, async (t) => {
      const made = await passage(t, engine, [source, target]);
      const sent = pattern(16_000_000, i);
      made.from.peer.socket.end(sent);
      assert.equal((await made.to.peer.take()) === sent.toString("latin1"), true);
      assert.ok(made.to.peer.ended);
      assert.ok(made.spliced > 0);
      assert.equal(made.from.heard.events.at(-1), "end");
    });

    test(`${name}: a slow reader stops the source, and gets all`, async (t) => {
      const made = await passage(t, engine, [source, target]);
      const sent = pattern(24_000_000, i);
      made.from.peer.socket.end(sent);
      await waitFor(() => made.stops > 0, "a full socket");
      assert.ok(made.to.stream.unsent <= 1024 * 1024);
      assert.equal((await made.to.peer.take()) === sent.toString("latin1"), true);
      assert.ok(made.to.heard.events.includes("drain"));
    });
  }

  test("a target that is reset closes with its error; what was for it goes to nobody else", async (t) => {
    const made = await passage(t, engine, [ORIGINS[0], ORIGINS[1]], { onClose: () => made.from.stream.destroy() });
    made.from.peer.socket.on("error", () => {}).write(pattern(64_000_000));
    await waitFor(() => made.spliced > 0, "spliced bytes");
    made.to.peer.socket.resetAndDestroy();
    await waitFor(() => made.from.heard.events.includes("close"), "the end of both");
    assert.match(made.to.heard.error?.code ?? "", /^(ECONNRESET|EPIPE)$/);
    const next = await passage(t, engine, [ORIGINS[0], ORIGINS[1]]);
    const sent = pattern(16_000_000, 7);
    next.from.peer.socket.end(sent);
    assert.equal((await next.to.peer.take()) === sent.toString("latin1"), true);
  });

  test("a source that is reset closes with its error; the target has got what came before", async (t) => {
    const made = await passage(t, engine, [ORIGINS[0], ORIGINS[1]]);
    const sent = pattern(64_000_000);
    made.from.peer.socket.write(sent);
    made.to.peer.read();
    await waitFor(() => made.spliced > 0, "spliced bytes");
    made.from.peer.socket.resetAndDestroy();
    await waitFor(() => made.from.heard.events.includes("close"), "the end of the source");
    assert.equal(made.from.heard.error?.code, "ECONNRESET");
    made.to.stream.end();
    const got = await made.to.peer.take();
    assert.equal(sent.toString("latin1").startsWith(got), true);
  });

  test("nothing is spliced but behind a handler's bytes, to a stream that can take them", async (t) => {
    const { from, to } = await passage(t, engine, [ORIGINS[0], ORIGINS[1]]);
    const splice = (target: Stream): number => call(() => from.stream.spliceTo?.(target) ?? -1);
    from.peer.socket.write("few");
    assert.equal(await to.peer.take(3), "few");
    assert.equal(splice(to.stream), 0);
    to.stream.destroy();
    assert.equal(splice(to.stream), 0);
    from.stream.destroy();
    assert.equal(splice(to.stream), 0);
    assert.deepEqual(heardBut(from.heard), ["data"]);
  });
}
