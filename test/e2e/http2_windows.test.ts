/** HTTP/2 to clients: streams that share a window, and what else holds them back. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { httpBackend } from "../support/backend.ts";
import { type RawFrame, RawH2 } from "../support/h2.ts";
import { RawH2Server } from "../support/h2_backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

test("a stream that limit_rate holds back has its whole send_timeout when others use up the connection's window", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen ${port}; http2 on; root .;
      location /rated { limit_rate 1000; } location /others { send_timeout 1s; } } }`,
    files: { rated: "s".repeat(100_000), others: "q".repeat(300_000) },
  });
  const client = await RawH2.open(t, holdfast.port, [[h2.SETTING.INITIAL_WINDOW_SIZE, 1_000_000]]);
  client.write(client.get(1, "/rated"));
  await client.frame(h2.DATA, 1);
  client.write(client.get(3, "/others"));
  await client.frame(h2.RST_STREAM, 3);
  client.write(h2.windowUpdate(0, 1000));
  const more = () => client.frames.filter(({ type, stream }) => type === h2.DATA && stream === 1).length;
  const before = more();
  await waitFor(
    () => more() > before || client.frames.some(({ type, stream }) => type === h2.RST_STREAM && stream === 1),
    "more of it",
  );
  assert.equal(client.frames.filter(({ type }) => type === h2.RST_STREAM).length, 1);
});

test("a response that its cache has before its client takes the rest comes to its end", async (t) => {
  let finish = () => {};
  const backend = await httpBackend(t, (_, response) => {
    response.writeHead(200, { "content-length": 4000 });
    response.write("a".repeat(2000));
    finish = () => response.end("b".repeat(2000));
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { proxy_cache_path cache keys_zone=c:1m; log_format ends '$uri $status $body_bytes_sent';
      access_log logs/access.log ends; server { listen ${port}; http2 on;
      location / { proxy_pass http://${backend.address}; proxy_cache c; proxy_cache_valid 1m; } } }`,
  });
  const client = await RawH2.open(t, holdfast.port, [[h2.SETTING.INITIAL_WINDOW_SIZE, 1000]]);
  client.write(client.get(1, "/kept"));
  await client.frame(h2.DATA, 1);
  finish();
  const kept = () => readdirSync(`${holdfast.prefix}/cache`).some((name) => /^[0-9a-f]{32}$/.test(name));
  await waitFor(kept, "the response in the cache");
  client.write(h2.windowUpdate(1, 100_000));
  await holdfast.waitForLog(/\/kept 200 4000/, "logs/access.log");
});

test("uploads to a server that share its connection's window take turns", async (t) => {
  const server = await RawH2Server.start(t);
  const holdfast = await startHoldfast(t, {
    config: ([
      port,
    ]) => `http { upstream u { server 127.0.0.1:${server.port}; keepalive 1; } client_body_buffer_size 512k;
      server { listen ${port}; location / { proxy_http_version 2; proxy_pass http://u; } } }`,
  });
  const upload = async () => {
    const client = await RawConnection.open(holdfast.port);
    t.after(() => client.close());
    client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n");
    client.write(Buffer.alloc(300_000, "u"));
  };
  await upload();
  const connection = await server.connection(0);
  const taken = (stream: number) =>
    connection.frames.reduce((sum, frame) => (frame.stream === stream ? sum + dataOf(frame) : sum), 0);
  await waitFor(() => taken(1) === h2.DEFAULT_WINDOW, "all that the window lets through");
  await upload();
  await connection.frame(h2.HEADERS, 3);
  const before = taken(1);
  for (let more = 16_384; more <= 4 * 16_384; more += 16_384) {
    connection.write(h2.windowUpdate(1, 16_384), h2.windowUpdate(0, 16_384));
    await waitFor(() => taken(1) + taken(3) === before + more, "what is let through");
  }
  assert.equal(taken(3), 32_768);
});

function dataOf({ type, payload }: RawFrame): number {
  return type === h2.DATA ? payload.length : 0;
}
