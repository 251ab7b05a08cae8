/** HTTP/2: how streams come to their end when others, or their client, hold the connection up. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { httpBackend } from "../support/backend.ts";
import { RawH2 } from "../support/h2.ts";
import { RawH2Server } from "../support/h2_backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const WHOLE_WINDOW = h2.windowUpdate(0, h2.MAX_WINDOW - h2.DEFAULT_WINDOW);

function data(stream: number, text: string, flags = 0): string {
  return h2.frameHead(text.length, h2.DATA, flags, stream) + text;
}

test("small responses end beside a large one that keeps the socket full", async (t) => {
  const piece = Buffer.alloc(64 * 1024, "e");
  const backend = await httpBackend(t, (_, response) => {
    const more = () => {
      while (response.write(piece));
    };
    response.on("drain", more);
    more();
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen ${port} sndbuf=16k; http2 on; http2_max_concurrent_streams 4;
      location / { return 200 small; } location /endless { proxy_pass http://${backend.address}; proxy_buffering off; } } }`,
  });
  const client = await RawH2.open(t, holdfast.port, [[h2.SETTING.INITIAL_WINDOW_SIZE, h2.MAX_WINDOW]]);
  const { socket, frames } = client;
  // It reads more slowly than is sent.
  socket.on("data", () => {
    socket.pause();
    setTimeout(() => socket.resume(), 2);
  });
  client.write(WHOLE_WINDOW, client.get(1, "/endless"));
  await client.frame(h2.DATA, 1);
  for (let stream = 3; stream < 25; stream += 2) {
    client.write(client.get(stream, "/small"));
    const over = await waitFor(() => {
      const found = frames.find((one) => one.stream === stream && one.type !== h2.HEADERS);
      if (found === undefined) frames.length = 0;
      return found;
    }, `the end of stream ${stream}`);
    assert.equal(over.type, h2.DATA, `stream ${stream} was refused`);
  }
});

test("a client that takes nothing for send_timeout loses its connection, also where all of its responses are queued", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { log_format ends $uri; access_log logs/access.log ends;
      send_timeout 1s; keepalive_timeout 60s;
      server { listen ${port} sndbuf=4k; http2 on; root .; } }`,
    files: { picture: "p".repeat(20_000) },
  });
  const client = await RawH2.open(t, holdfast.port, [[h2.SETTING.INITIAL_WINDOW_SIZE, h2.MAX_WINDOW]]);
  client.socket.pause();
  client.write(WHOLE_WINDOW);
  // So many fill the buffers on the way; the last of them are all that waits when the others have timed out.
  for (let i = 0; i < 60; i++) client.write(client.get(2 * i + 1, "/picture"));
  await holdfast.waitForLog(/client timed out \(110: Connection timed out\) while processing HTTP\/2 connection/);
  await waitFor(() => holdfast.accessLog().split("\n").length === 61, "the ends of all requests");
});

test("a body that is not what was declared ends a request that waits for a limit, or for auth_request, only once", async (t) => {
  const asked: (string | undefined)[] = [];
  let answer = () => {};
  const backend = await httpBackend(t, ({ url }, response) => {
    asked.push(url);
    if (url === "/check") answer = () => response.end();
    else response.end(url);
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { limit_req_zone $uri zone=all:1m rate=10r/s;
      server { listen ${port}; http2 on; error_page 400 /wrong;
      location / { limit_req zone=all burst=9; proxy_pass http://${backend.address}; }
      location = /checked { auth_request /check; proxy_pass http://${backend.address}; }
      location = /check { proxy_pass http://${backend.address}; }
      location = /wrong { proxy_pass http://${backend.address}; } } }`,
  });
  const client = await RawH2.open(t, holdfast.port);
  await client.frame(h2.SETTINGS);
  const declared = [["content-length", "3"]] as const;
  client.write(h2.SETTINGS_ACK, client.get(1, "/"), client.get(3, "/", declared, 0), data(3, "longer"));
  const first = await client.frame(h2.DATA, 3);
  assert.equal(first.payload.toString(), "/wrong");
  client.write(client.get(5, "/checked", declared, 0), data(5, "longer"));
  await waitFor(() => asked.includes("/check"), "the question whether the request may pass");
  answer();
  const second = await client.frame(h2.DATA, 5);
  assert.equal(second.payload.toString(), "/wrong");
  client.write(client.get(7, "/last"));
  await client.frame(h2.DATA, 7);
  assert.deepEqual(asked, ["/", "/wrong", "/check", "/wrong", "/last"]);
});

test("trailers of a request that was answered before them are no error", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen ${port}; http2 on; return 200 early; } }`,
  });
  const client = await RawH2.open(t, holdfast.port);
  client.write(h2.SETTINGS_ACK, client.get(1, "/", [], 0));
  await client.frame(h2.RST_STREAM, 1);
  client.write(data(1, "rest"), client.head(1, [["checksum", "1"]]), client.get(3, "/"));
  await client.frame(h2.DATA, 3);
});

test("proxy_read_timeout counts from the request's end although another one keeps the connection to the server busy", async (t) => {
  const server = await RawH2Server.start(
    t,
    h2.settingsFrame([[h2.SETTING.INITIAL_WINDOW_SIZE, h2.MAX_WINDOW]]) + WHOLE_WINDOW,
  );
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { upstream u { server 127.0.0.1:${server.port}; keepalive 1; keepalive_streams 8; }
      client_max_body_size 0; client_body_buffer_size 64m; proxy_http_version 2; proxy_socket_sndbuf 16k;
      server { listen ${port}; location / { proxy_pass http://u; } location /short { proxy_pass http://u; proxy_read_timeout 1s; } } }`,
  });
  const size = 60_000_000;
  const large = await RawConnection.open(holdfast.port);
  t.after(() => large.close());
  large.write(`POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`);
  large.write(Buffer.alloc(size, "l"));
  const { socket, frames } = await server.connection(0);
  let taken = 0;
  // It reads more slowly than is sent.
  socket.on("data", () => {
    for (const { type, payload } of frames) if (type === h2.DATA) taken += payload.length;
    frames.length = 0;
    socket.pause();
    setTimeout(() => socket.resume(), 5);
  });
  await waitFor(() => taken > 0, "the large request");
  const short = await RawConnection.open(holdfast.port);
  t.after(() => short.close());
  short.write("GET /short HTTP/1.1\r\nHost: x\r\n\r\n");
  assert.equal((await short.readResponse()).status, 504);
  assert.ok(taken < size, "the large request was over before");
});
