import assert from "node:assert/strict";
import { test } from "node:test";
import type { Engine } from "../../../src/net/engine.ts";
import type { Stream } from "../../../src/net/stream.ts";
import { IGNORE } from "../../../src/net/stream.ts";
import { waitFor } from "../../support/wait.ts";
import { CAUSES, dial, faults, hears, listening, recorder, scene, serving, TCP } from "./harness.ts";

const CAUSES_AND_CLOSE: typeof CAUSES = { ...CAUSES, onClose: ({ peer }) => peer.socket.resetAndDestroy() };

function thrower(event: string): () => never {
  return () => {
    throw new Error(`thrown in ${event}`);
  };
}

/** One line: [alert], with where it was thrown. */
function sayOnce(event: string): void {
  assert.equal(faults.length, 1);
  assert.match(faults[0], new RegExp(`^\\[alert\\] exception: Error: thrown in ${event} at .*throwing\\.ts`));
}

export function throwing(engine: Engine): void {
  for (const origin of TCP) {
    for (const [event, cause] of Object.entries(CAUSES_AND_CLOSE)) {
      test(`${origin.name}: an exception in ${event} ends that stream, says so in the log, and nothing else`, async (t) => {
        const other = await scene(t, engine, origin);
        const made = await scene(t, engine, origin, { [event]: thrower(event) });
        faults.length = 0;
        cause(made);
        await hears(made.heard, "close");
        assert.equal(made.stream.closed, true);
        made.peer.read();
        await waitFor(() => made.peer.ended || made.peer.closed, "the end at the peer");
        sayOnce(event);
        assert.equal(other.stream.closed, false);
        other.stream.write("still here");
        assert.equal(await other.peer.take(10), "still here");
      });
    }

    test(`${origin.name}: a handler that can end its work by itself keeps the stream for that`, async (t) => {
      let stream: Stream | undefined;
      const handler = {
        onData: thrower("onData"),
        onFault(error: unknown) {
          assert.match(String(error), /thrown in onData/);
          stream?.write("sorry");
          stream?.end();
        },
      };
      const made = await scene(t, engine, origin);
      stream = made.stream;
      stream.handler = { ...recorder(), ...handler };
      faults.length = 0;
      made.peer.socket.write("x");
      assert.equal(await made.peer.take(), "sorry");
      assert.deepEqual(faults, []);
    });
  }

  test("an exception in onConnect ends the connection that was made", async (t) => {
    const { address, next } = await serving(t);
    const heard = recorder({ onConnect: thrower("onConnect") });
    faults.length = 0;
    const stream = engine.connect({ address }, heard);
    const peer = await next();
    await hears(heard, "close");
    assert.deepEqual([heard.events, heard.error, stream.closed], [["connect", "close"], undefined, true]);
    await peer.take();
    sayOnce("onConnect");
  });

  test("an exception in the onClose of a failed connect is logged, and that is all", async (t) => {
    const { address } = await serving(t);
    const nobody = { family: "unix", path: `${"path" in address ? address.path : ""}/nowhere` } as const;
    const heard = recorder({ onClose: thrower("onClose") });
    faults.length = 0;
    engine.connect({ address: nobody }, heard);
    await hears(heard, "close");
    await waitFor(() => faults.length > 0, "the log");
    sayOnce("onClose");
  });

  test("an exception while a connection is accepted ends that connection; the next is accepted", async (t) => {
    let accepted = 0;
    const address = await listening(t, engine, () => (++accepted === 1 ? thrower("accept")() : IGNORE));
    faults.length = 0;
    const first = await dial(t, address);
    assert.equal(await first.take(), "");
    await dial(t, address);
    await waitFor(() => accepted === 2, "the second connection");
    sayOnce("accept");
  });
}
