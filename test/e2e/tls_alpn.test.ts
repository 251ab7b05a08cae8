import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "node:tls";
import { noOpenssl, selfSigned } from "../support/certificates.ts";
import { startHoldfast } from "../support/holdfast.ts";

/** The protocol that a client and a server with TLS agree on, with what a request says of it; else why they do not. */
function agreed(port: number, protocols: readonly string[], maxVersion: "TLSv1.2" | "TLSv1.3"): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({
      host: "127.0.0.1",
      port,
      maxVersion,
      ALPNProtocols: [...protocols],
      rejectUnauthorized: false,
    });
    let text = "";
    socket.on("secureConnect", () => socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    socket.on("data", (bytes) => {
      text += bytes.toString();
    });
    socket.on("end", () => resolve(`${socket.alpnProtocol} ${text.split("\r\n\r\n")[1]}`));
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

test("a listener speaks HTTP/1 to clients that offer it, and refuses those that offer only others", {
  skip: noOpenssl,
}, async (t) => {
  const { certificate, key } = selfSigned("one.example");
  const holdfast = await startHoldfast(t, {
    files: { "conf/one.crt": certificate, "conf/one.key": key },
    config: ([port]) => `worker_processes 1; http {
      server { listen 127.0.0.1:${port} ssl; ssl_certificate one.crt; ssl_certificate_key one.key;
        return 200 "[$ssl_alpn_protocol]"; } }`,
  });
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    const offering = (...protocols: readonly string[]) => agreed(holdfast.port, protocols, version);
    assert.equal(await offering("h2", "http/1.1"), "http/1.1 [http/1.1]");
    assert.equal(await offering("http/1.0", "http/1.1"), "http/1.1 [http/1.1]", "the server's order counts");
    assert.equal(await offering("http/1.0"), "http/1.0 [http/1.0]");
    assert.equal(await offering(), "false []");
    assert.match(await offering("h2"), /ALERT_NO_APPLICATION_PROTOCOL/);
    assert.match(await offering("acme-tls/1"), /ALERT_NO_APPLICATION_PROTOCOL/);
  }
});
