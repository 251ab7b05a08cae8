/** Connections that a leaving worker closes while their clients may be using them again. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { tcpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { listeningPorts } from "../support/ports.ts";
import { waitFor } from "../support/wait.ts";

for (const engine of ["io_uring", "node"]) {
  test(`a response that promised to keep the connection ends with a FIN, and no reset, in a worker that exits (${engine})`, async (t) => {
    const backend = await tcpBackend(t, async (connection) => {
      await connection.read();
      connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
      await gone;
      connection.write("other");
    });
    let leave = () => {};
    const gone = new Promise<void>((resolve) => {
      leave = resolve;
    });
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `events { use ${engine}; } http { server { listen 127.0.0.1:${port};
        location / { proxy_buffering off; proxy_pass http://${backend.address}; } } }`,
    });
    const client = connect({ port: holdfast.port, host: "127.0.0.1", allowHalfOpen: true });
    t.after(() => client.destroy());
    let received = "";
    let error: Error | undefined;
    client.on("data", (bytes) => {
      received += bytes;
    });
    client.on("error", (failure) => {
      error = failure;
    });
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await waitFor(() => received.endsWith("first"), "half of the response");
    assert.match(received, /\r\nConnection: keep-alive\r\n/);
    holdfast.signal("SIGQUIT");
    await holdfast.waitForLog(/gracefully shutting down/);
    await waitFor(() => listeningPorts(holdfast.pid).length === 0, "no listener");
    leave();
    await once(client, "end");
    assert.match(received, /firstother$/);
    // The next request was on its way. A reset is told to whoever writes on.
    await new Promise((resolve) => client.write("GET / HTTP/1.1\r\n", resolve));
    client.end("Host: a\r\n\r\n");
    await once(client, "close");
    assert.equal(error, undefined);
    assert.equal(await holdfast.exited, 0);
  });
}
