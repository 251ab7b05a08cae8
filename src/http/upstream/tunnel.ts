import type { StreamError } from "../../net/stream.ts";
import { ERROR, OK } from "../core/codes.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { ClientTunnel, TunnelHandler } from "../core/types.ts";
import type { UpstreamState } from "../core/upstream.ts";
import type { AnswerSink, ServerExchange } from "./server_exchange.ts";

const NOTHING = Buffer.alloc(0);

/** The passage whose connections were upgraded. */
export interface TunnelOwner {
  readonly request: Request;
  readonly present: UpstreamState;
  finalize(code: number): void;
}

/** After an upgrade: passes bytes in both directions as they come. */
export class UpstreamTunnel implements AnswerSink, TunnelHandler {
  readonly doing = "proxying upgraded connection";
  private readonly owner: TunnelOwner;
  private readonly client: ClientTunnel;
  private readonly connection: ServerExchange;
  /** proxy_read_timeout: how long both sides may be silent. */
  private readonly timeout: number;
  private clientEnded = false;
  private serverEnded = false;
  private over = false;

  constructor(owner: TunnelOwner, client: ClientTunnel, connection: ServerExchange, timeout: number) {
    this.owner = owner;
    this.client = client;
    this.connection = connection;
    this.timeout = timeout;
  }

  /** Starts when the head has been passed on; what follows it in `bytes` belongs to the tunnel. */
  begin(bytes: Buffer, from: number): void {
    const { request, present } = this.owner;
    request.exchange.flush();
    this.client.start(request, this);
    if (this.over) return;
    if (from < bytes.length) {
      present.responseLength += bytes.length - from;
      if (!this.client.write(bytes.subarray(from))) this.connection.pause();
    }
    this.connection.arm(this.timeout);
  }

  /** The server was released. */
  detach(): void {
    this.over = true;
  }

  onServerData(bytes: Buffer): void {
    const { client, connection } = this;
    const { present } = this.owner;
    present.responseLength += bytes.length;
    connection.arm(this.timeout);
    if (client.write(bytes)) {
      const more = connection.spliceTo(client);
      present.responseLength += more;
      if (more === 0 || client.write(NOTHING)) return;
    }
    connection.pause();
  }

  onServerRead(): void {}

  onServerDrain(): void {
    this.client.resume();
  }

  /** The server sends nothing more. */
  onServerEnd(): void {
    this.client.end();
    this.serverEnded = true;
    if (this.clientEnded) this.owner.finalize(OK);
  }

  /** The client still gets what the server had sent. */
  onServerClose(_error: StreamError | undefined): void {
    this.owner.finalize(OK);
  }

  /** What the client has not taken is lost. */
  onTimeout(): void {
    const { request } = this.owner;
    logError(request, "error", `upstream timed out (110: Connection timed out) while ${this.doing}`);
    this.owner.finalize(request.exchange.blocked ? ERROR : OK);
  }

  onClientData(bytes: Buffer): void {
    if (this.over) return;
    const { client, connection } = this;
    connection.arm(this.timeout);
    if (connection.write(bytes) && (connection.spliceFrom(client) === 0 || connection.write(NOTHING))) return;
    client.pause();
  }

  /** The client sends nothing more. */
  onClientEnd(): void {
    if (this.over) return;
    this.clientEnded = true;
    this.connection.halfClose();
    if (this.serverEnded) this.owner.finalize(OK);
  }

  onClientDrain(): void {
    if (!this.over) this.connection.resume();
  }
}
