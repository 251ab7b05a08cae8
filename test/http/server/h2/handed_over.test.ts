/** An address is handed over to another machine (docs/cluster.md): clients of HTTP/2 are told to go, and lose nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { H2Connection } from "../../../../src/http/server/h2/connection.ts";
import type { ConnectionHost } from "../../../../src/http/server/types.ts";
import * as h2 from "../../../../src/wire/h2/frames.ts";
import { FakeStream } from "../h1/fake_stream.ts";
import { host } from "../h1/harness.ts";

const NOTICE = h2.goaway(h2.MAX_STREAM, h2.ERROR.NO_ERROR);

function opened(letting: Partial<ConnectionHost>): { stream: FakeStream; connection: H2Connection } {
  const stream = new FakeStream();
  const connection = new H2Connection(stream, Object.assign(Object.create(host), letting), undefined);
  stream.handler = connection;
  return { stream, connection };
}

const turn = () => new Promise(setImmediate);

test("while responses say that connections close, those of HTTP/2 go on: they can be told later", async () => {
  const { stream, connection } = opened({ lettingGo: true, lettingAllGo: false });
  connection.onData(stream, Buffer.from(h2.PREFACE + h2.settingsFrame([]), "latin1"));
  await turn();
  assert.ok(!stream.written.includes(NOTICE));
  connection.shutdown();
  await turn();
  assert.ok(stream.written.endsWith(NOTICE + h2.ping("shutdown")));
  stream.destroy();
});

test("a connection that begins when all were told is told at once", async () => {
  const { stream, connection } = opened({ lettingGo: true, lettingAllGo: true });
  await turn();
  assert.ok(stream.written.endsWith(NOTICE + h2.ping("shutdown")));
  connection.onData(stream, Buffer.from(h2.PREFACE + h2.settingsFrame([]) + h2.pingAck("shutdown"), "latin1"));
  await turn();
  assert.ok(stream.written.endsWith(h2.goaway(0, h2.ERROR.NO_ERROR)));
  assert.equal(stream.ended, true);
  stream.destroy();
});
