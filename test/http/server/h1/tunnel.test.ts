import assert from "node:assert/strict";
import { test } from "node:test";
import { OK } from "../../../../src/http/core/codes.ts";
import { sendHeader } from "../../../../src/http/core/engine.ts";
import type { Request } from "../../../../src/http/core/request.ts";
import { opened, receive, whenHeld } from "./harness.ts";

test("limit_rate ends where a tunnel begins", () => {
  const got: string[] = [];
  const tunnel = {
    onClientData(bytes: Buffer) {
      got.push(bytes.toString("latin1"));
    },
    onClientEnd() {},
    onClientDrain() {},
  };
  whenHeld((request) => {
    request.response.status = 101;
    assert.equal(sendHeader(request), OK);
    request.exchange.flush();
    request.exchange.tunnel?.start(request, tunnel);
    request.exchange.tunnel?.write(Buffer.from("tunnel"));
  });
  const stream = opened();
  receive(stream, "GET /slow HTTP/1.1\r\nHost: one\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nfirst");
  assert.match(stream.written, /^HTTP\/1\.1 101 .*\r\n\r\ntunnel$/s);
  assert.deepEqual(got, ["first"]);
  stream.destroy();
});

test("a tunnel that cannot take what came first is not read further", () => {
  let request: Request | undefined;
  whenHeld((taken) => {
    request = taken;
  });
  const stream = opened();
  receive(stream, "GET /held HTTP/1.1\r\nHost: one\r\n\r\nfirst");
  assert.ok(request !== undefined);
  const { tunnel } = request.exchange;
  assert.ok(tunnel !== undefined);
  tunnel.start(request, {
    onClientData() {
      tunnel.pause();
    },
    onClientEnd() {},
    onClientDrain() {},
  });
  assert.equal(stream.paused, true);
  tunnel.resume();
  assert.equal(stream.paused, false);
  stream.destroy();
});
