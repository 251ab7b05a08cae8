import assert from "node:assert/strict";
import { test } from "node:test";
import { WorkerConnections } from "../../../src/http/server/connections.ts";
import type { Closable, ConnectionHost } from "../../../src/http/server/types.ts";

let looks = 0;

class FakeConnection implements Closable {
  busy = false;
  destroyed = false;
  earlier: Closable | undefined = undefined;
  later: Closable | undefined = undefined;
  place = -1;
  readonly busyWith = undefined;
  afterRequest: (() => void) | undefined = undefined;
  readonly all: WorkerConnections;

  constructor(all: WorkerConnections) {
    this.all = all;
    all.add(this);
    all.waits(this);
  }

  get host(): ConnectionHost {
    throw new Error("nobody asks for it here");
  }

  get idle(): boolean {
    looks++;
    return !this.busy;
  }

  shutdown(): void {}

  destroy(): void {
    this.destroyed = true;
    this.all.remove(this);
  }
}

/** All places are taken, so that each `admit` closes idle ones. */
function full(count: number) {
  const all = new WorkerConnections(1000);
  all.listening = 1000;
  const connections = Array.from({ length: count }, () => new FakeConnection(all));
  const destroyed = () => connections.flatMap((connection, i) => (connection.destroyed ? [i] : []));
  return { all, connections, destroyed, admit: () => all.admit(() => {}) };
}

test("those idle for longest make room, an eighth of them but no more than 32; none that is at work", () => {
  const { all, connections, destroyed, admit } = full(20);
  connections[0].busy = true;
  connections[3].busy = true;
  all.waits(connections[1]);
  assert.equal(admit(), true);
  assert.deepEqual(destroyed(), [2, 4]);
  // They have finished: the last of those that are idle.
  connections[3].busy = false;
  all.waits(connections[3]);
  for (let i = 0; i < 7; i++) admit();
  assert.equal(destroyed().length, 2 + 2 + 6);
  assert.equal(connections[1].destroyed, false);
  for (let i = 0; i < 20; i++) admit();
  assert.deepEqual(
    connections.map(({ destroyed: gone }) => gone),
    connections.map((_, i) => i !== 0),
  );
  assert.equal(admit(), true);
});

test("who makes room is found without a look at all the others", () => {
  const { destroyed, admit } = full(10_000);
  looks = 0;
  assert.equal(admit(), true);
  assert.equal(destroyed().length, 32);
  assert.deepEqual(
    destroyed(),
    Array.from({ length: 32 }, (_, i) => i),
  );
  assert.ok(looks <= 64, `${looks} looks`);
});

test("a connection that cannot be told to end keeps none of the others from it, and the worker leaves", () => {
  for (const tell of ["shutdownAll", "shutdown", "destroyAll"] as const) {
    const { all, connections } = full(3);
    const ended: number[] = [];
    const failing = new Error(`thrown in ${tell}`);
    for (const [i, connection] of connections.entries()) {
      const end = (): void => {
        if (i === 1) throw failing;
        ended.push(i);
        all.remove(connection);
      };
      connection.shutdown = end;
      connection.destroy = end;
      // As H1Connection does.
      Object.assign(connection, { onFault: () => all.remove(connection) });
    }
    let allClosed = 0;
    if (tell === "shutdownAll") all.shutdownAll(() => allClosed++);
    else if (tell === "shutdown") all.shutdown(() => true);
    else all.destroyAll();
    assert.deepEqual(ended, [0, 2], tell);
    if (tell === "shutdownAll") assert.equal(allClosed, 1);
  }
});
