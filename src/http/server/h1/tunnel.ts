import type { Stream } from "../../../net/stream.ts";
import type { Request } from "../../core/request.ts";
import type { ClientTunnel, TunnelHandler } from "../../core/types.ts";
import type { H1BodyReader } from "./body_reader.ts";
import type { H1Input } from "./input.ts";
import type { H1Output } from "./output.ts";

/** The client's side of an upgraded HTTP/1 connection: what follows the request's and the response's head is raw bytes. */
export class H1Tunnel implements ClientTunnel {
  private readonly input: H1Input;
  private readonly output: H1Output;
  private readonly body: H1BodyReader | undefined;
  private handler: TunnelHandler | undefined = undefined;

  constructor(input: H1Input, output: H1Output, body: H1BodyReader | undefined) {
    this.input = input;
    this.output = output;
    this.body = body;
  }

  get started(): boolean {
    return this.handler !== undefined;
  }

  start(request: Request, handler: TunnelHandler): void {
    this.output.startTunnel();
    this.handler = handler;
    this.body?.pause();
    request.keepalive = false;
    if (this.input.exhausted) handler.onClientEnd();
    else this.input.readOn();
  }

  write(bytes: Uint8Array): boolean {
    return this.output.writeTunnel(bytes);
  }

  spliceFrom(source: Stream): number {
    return this.output.spliceTunnel(source);
  }

  spliceTo(target: Stream): number {
    return this.input.spliceTo(target);
  }

  end(): void {
    this.output.endTunnel();
  }

  pause(): void {
    this.input.pause();
  }

  resume(): void {
    this.input.resume();
  }

  // ---- the client's events

  onData(bytes: Buffer): void {
    this.handler?.onClientData(bytes);
  }

  onDrain(): void {
    this.output.tunnelDrained();
    this.handler?.onClientDrain();
  }

  onEnd(): void {
    this.handler?.onClientEnd();
  }
}
