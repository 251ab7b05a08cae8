/** What the threads share stays true while workers come and go, and through signals at odd moments. */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

test("workers that finish their requests beside their successors keep the counts right", async (t) => {
  const held: ServerResponse[] = [];
  const backend = await httpBackend(t, (_request, response) => held.push(response));
  const config = (workers: number, port: number) => `worker_processes ${workers}; http {
    upstream u { server ${backend.address} max_conns=8; }
    server { listen 127.0.0.1:${port}; location / { proxy_pass http://u; } location = /status { stub_status; } } }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(2, ports[0]) });
  const clients = await Promise.all(
    Array.from({ length: 8 }, async () => {
      const connection = await RawConnection.open(holdfast.port);
      connection.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      return connection;
    }),
  );
  await waitFor(() => held.length === 8, "eight requests at the backend");
  assert.equal((await get(holdfast.port, "/")).status, 502);

  assert.equal(await holdfast.reload(config(1, holdfast.port)), true);
  assert.equal(await holdfast.reload(config(2, holdfast.port)), true);
  // The second worker of the first generation still holds its requests.
  assert.equal((await get(holdfast.port, "/")).status, 502);
  for (const response of held) response.end("done");
  for (const client of clients) {
    assert.equal((await client.readResponse()).status, 200);
    client.close();
  }
  await waitFor(async () => {
    const { body } = await get(holdfast.port, "/status");
    return /^Active connections: 1 /.test(body);
  }, "the counters without the clients that left");
});
