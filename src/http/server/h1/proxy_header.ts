import { PROXY_ERROR, PROXY_MORE, ProxyProtocolReader } from "../../../net/proxy_protocol.ts";
import type { Stream, StreamError, StreamHandler } from "../../../net/stream.ts";
import { logConnection } from "../../core/log_context.ts";
import type { H1Connection } from "./connection.ts";

/** Reads the PROXY protocol's header before a connection's first request, within client_header_timeout. */
export class ProxyHeader implements StreamHandler {
  private readonly connection: H1Connection;
  private readonly reader = new ProxyProtocolReader();

  constructor(connection: H1Connection) {
    this.connection = connection;
    connection.waitingFor = "reading PROXY protocol";
  }

  onData(stream: Stream, bytes: Buffer): void {
    const { connection, reader } = this;
    const code = reader.feed(bytes, 0, bytes.length);
    if (code === PROXY_MORE) return;
    if (code === PROXY_ERROR) {
      logConnection(connection, connection.host.config, "error", `${reader.error} while reading PROXY protocol`);
      stream.destroy();
      return;
    }
    connection.proxyProtocol = reader.header;
    connection.waitingFor = "waiting for request";
    stream.handler = connection;
    if (reader.end < bytes.length) connection.onData(stream, bytes.subarray(reader.end));
  }

  onDrain(): void {}

  onFault(error: unknown): void {
    this.connection.onFault(error);
  }

  onEnd(): void {
    this.connection.onEnd();
  }

  onClose(stream: Stream, error: StreamError | undefined): void {
    this.connection.onClose(stream, error);
  }
}
