import type { Peer } from "../../balancer/peer.ts";
import { PooledStream } from "../../balancer/pool.ts";
import type { Stream } from "../../net/stream.ts";
import { now } from "../../sys/clock.ts";
import { guarded } from "../../sys/guard.ts";
import { Deadline } from "../../sys/timers.ts";
import type { AnswerReader, UpstreamProtocol } from "./protocol.ts";
import type { UpstreamRequest } from "./request.ts";

/** What a server connection keeps from request to request, so that reuse costs nothing. */
export class ServerConnection {
  readonly pooled: PooledStream;
  readonly protocol: UpstreamProtocol;
  readonly reader: AnswerReader;
  /** Re-armed while a request is at work; left to run out while the connection is idle. */
  readonly deadline: Deadline<ServerConnection>;
  current: UpstreamRequest | undefined = undefined;

  constructor(stream: Stream, peer: Peer, protocol: UpstreamProtocol, bind: string) {
    this.pooled = new PooledStream(stream, peer.name, now(), bind);
    this.pooled.data = this;
    this.protocol = protocol;
    this.reader = protocol.reader();
    this.deadline = new Deadline<ServerConnection>(this, timedOut);
  }
}

function timedOut(connection: ServerConnection): void {
  const { current } = connection;
  if (current !== undefined) guarded(expired, current);
}

function expired(upstream: UpstreamRequest): void {
  upstream.expired();
}
