/** Request bodies whose client, server or worker comes to an end before they do. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { httpsBackend, tcpBackend } from "../support/backend.ts";
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
