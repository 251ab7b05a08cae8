import assert from "node:assert/strict";
import net from "node:net";
import { mock, test } from "node:test";
import { nodeEngine } from "../../../src/net/node/engine.ts";
import { IGNORE } from "../../../src/net/stream.ts";
import { faults, listening, target } from "../contract/harness.ts";

test("an exception before a connection is anybody's closes it", async (t) => {
  const address = await listening(t, nodeEngine, () => IGNORE);
  faults.length = 0;
  const broken = mock.method(net.Socket.prototype, "setNoDelay", () => {
    throw new Error("thrown in setNoDelay");
  });
  t.after(() => broken.mock.restore());
  const client = net.connect(target(address)).resume();
  await new Promise((resolve) => client.on("close", resolve).on("error", () => {}));
  assert.equal(faults.length, 1);
  assert.match(faults[0], /^\[alert\] exception: Error: thrown in setNoDelay at /);
});
