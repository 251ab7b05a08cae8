/** Request bodies whose client, server or worker comes to an end before they do. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { httpBackend, httpsBackend, tcpBackend } from "../support/backend.ts";
import { selfSigned } from "../support/certificates.ts";
import { RawH2 } from "../support/h2.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Sends a POST with half of its body, and returns what has the client go. */
const leavers: Readonly<Record<string, (t: TestContext, port: number, path: string) => Promise<() => void>>> = {
  async "HTTP/1"(t, port, path) {
    const connection = await RawConnection.open(port);
    t.after(() => connection.close());
    connection.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf`);
    return () => connection.socket.resetAndDestroy();
  },
  async "HTTP/2"(t, port, path) {
    const client = await RawH2.open(t, port);
    const fields: [string, string][] = [
      [":method", "POST"],
      [":scheme", "http"],
      [":path", path],
      [":authority", "x"],
    ];
    client.write(h2.SETTINGS_ACK, client.head(1, fields, 0), `${h2.frameHead(4, h2.DATA, 0, 1)}half`);
    return () => client.write(h2.rstStream(1, h2.ERROR.CANCEL));
  },
};

for (const [name, leaver] of Object.entries(leavers)) {
  test(`${name}: a request that goes on without its client ends where the rest of its body would be read`, async (t) => {
    let taken = 0;
    const { certificate: cert, key } = selfSigned("localhost");
    const server = await httpsBackend(t, { cert, key }, (request, response) => {
      request.resume().on("end", () => {
        taken++;
        response.end();
      });
    });
    // While it is closed, the request waits for the handshake.
    const gate = Promise.withResolvers<void>();
    let waiting = 0;
    const door = await tcpBackend(t, async (connection) => {
      const { socket } = connection;
      waiting++;
      await gate.promise;
      const inner = connect(server.port, "127.0.0.1");
      inner.on("error", () => socket.destroy());
      inner.write(connection.received, "latin1");
      socket.pipe(inner).pipe(socket);
    });
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `http { log_format uri '$uri $status'; access_log logs/access.log uri;
        proxy_request_buffering off; proxy_ignore_client_abort on; proxy_http_version 1.1;
        server { listen ${port}; http2 on; location / { proxy_pass https://${door.address}; } } }`,
    });
    const leave = await leaver(t, holdfast.port, "/gone");
    await waitFor(() => waiting === 1, "the request's connection");
    leave();
    await holdfast.waitForLog(/client canceled stream|reset by peer/);
    gate.resolve();
    await waitFor(() => /^\/gone 400$/m.test(holdfast.accessLog()), "the end of the request");
    assert.equal(taken, 0);
  });
}

test("a slice is not asked for without the body that the first one had and that was passed on as it came", async (t) => {
  const asked: string[] = [];
  const backend = await httpBackend(t, (request, response) => {
    const first = Number(/\d+/.exec(request.headers.range ?? "")?.[0]);
    let body = "";
    request.on("data", (piece) => {
      body += piece;
    });
    request.on("end", () => {
      asked.push(`${request.method} ${first} ${body}`);
      const last = Math.min(first + 9, 24);
      response.writeHead(206, { "Content-Range": `bytes ${first}-${last}/25` });
      response.end("x".repeat(last + 1 - first));
    });
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { slice 10; proxy_http_version 1.1; proxy_set_header Range $slice_range;
      server { listen ${port}; client_body_buffer_size 4; location / { proxy_pass http://${backend.address}; }
        location /streamed { proxy_request_buffering off; proxy_pass http://${backend.address}; } } }`,
  });
  const ask = async (method: string, path: string) => {
    const connection = await RawConnection.open(holdfast.port);
    t.after(() => connection.close());
    const fields = "Host: x\r\nConnection: close\r\nTransfer-Encoding: chunked";
    connection.write(`${method} ${path} HTTP/1.1\r\n${fields}\r\n\r\n8\r\nthe body\r\n0\r\n\r\n`);
    return connection.until(() => false);
  };
  for (const method of ["GET", "POST"]) {
    assert.match(await ask(method, "/"), /\r\n\r\nx{25}$/);
    assert.deepEqual(asked.splice(0), [`${method} 0 the body`, `${method} 10 the body`, `${method} 20 the body`]);
    await ask(method, "/streamed");
    assert.deepEqual(asked.splice(0), [`${method} 0 the body`]);
  }
  await holdfast.waitForLog(/the request body is gone, so the request cannot be passed on/);
});
