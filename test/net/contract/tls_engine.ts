import assert from "node:assert/strict";
import type { Engine } from "../../../src/net/engine.ts";
import { IGNORE, type Stream, type StreamHandler } from "../../../src/net/stream.ts";
import { startTls } from "../../../src/net/tls/client.ts";
import { TlsStage, type TlsStageOwner } from "../../../src/net/tls/server.ts";
import { contain } from "../../../src/sys/guard.ts";
import type { TestCertificate } from "../../support/certificates.ts";
import { serverContext, tlsContext } from "../../support/tls_memory.ts";
import { PATIENCE_MS } from "../../support/wait.ts";

/** An engine whose streams are TlsStreams around those of another. */
export function tlsEngine(engine: Engine, certificate: TestCertificate): Engine {
  const server = serverContext(certificate);
  const client = tlsContext("client");
  return {
    ...engine,
    name: `TLS over ${engine.name}`,
    /** What is returned is the stream below, for whoever gives up; `onConnect` has the other. */
    connect(options, handler) {
      return engine.connect(options, {
        ...IGNORE,
        onConnect(stream) {
          assert.ok(typeof startTls(stream, { context: client, serverName: "" }, handler) !== "string");
        },
        onClose: (stream, error) => handler.onClose(stream, error),
      });
    },
    listen(options, accept, failed) {
      const accepted = (inner: Stream): StreamHandler => {
        const owner: TlsStageOwner = {
          contextFor: () => server,
          certify: () => true,
          refused: () => {},
          log: () => {},
          closed: () => {},
          plain: (stream) => stream.destroy(),
          secured(stream, rest) {
            stream.handler = IGNORE;
            stream.handler = accept(stream);
            stream.decrypt(rest);
          },
          onFault(error) {
            contain(undefined, error);
            inner.destroy();
          },
        };
        return new TlsStage(inner, owner, server, PATIENCE_MS);
      };
      return engine.listen(options, accepted, failed);
    },
  };
}
