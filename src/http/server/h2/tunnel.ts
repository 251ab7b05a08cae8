import { FLUSH, LAST } from "../../core/filters.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { ClientTunnel, TunnelHandler } from "../../core/types.ts";
import type { H2Body } from "./body.ts";
import type { H2StreamOutput } from "./stream_output.ts";

/**
 * A stream that an extended CONNECT asked for (RFC 8441). To the request it is an upgraded connection of HTTP/1: 101 from its
 * server is 200 to the client, and what follows goes as DATA both ways.
 */
export class H2Tunnel implements ClientTunnel {
  private readonly body: H2Body;
  private readonly output: H2StreamOutput;
  private request: Request | undefined = undefined;

  constructor(body: H2Body, output: H2StreamOutput) {
    this.body = body;
    this.output = output;
  }

  /** Makes of the response what the client is to see. */
  answer(request: Request): void {
    const { response } = request;
    if (response.status === 101) {
      response.status = 200;
      // It answers a key that the client has not sent.
      response.headers.remove("sec-websocket-accept");
    } else if (response.status >= 200 && response.status < 300) {
      // To the client that would be consent.
      logError(request, "warn", `no upgrade to WebSocket, but status ${response.status}, in answer to CONNECT`);
      response.status = 501;
    }
  }

  start(request: Request, handler: TunnelHandler): void {
    this.request = request;
    this.body.tunnel(handler);
  }

  write(bytes: Uint8Array): boolean {
    const { request, output } = this;
    if (request === undefined || bytes.length === 0) return !output.blocked;
    return output.send(request, bytes, FLUSH);
  }

  spliceFrom(): number {
    return 0;
  }

  spliceTo(): number {
    return 0;
  }

  end(): void {
    if (this.request !== undefined) this.output.send(this.request, "", LAST);
  }

  pause(): void {
    this.body.pause();
  }

  resume(): void {
    this.body.resume();
  }
}
