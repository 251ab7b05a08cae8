import type { Pool } from "../../balancer/pool.ts";
import type { StreamError } from "../../net/stream.ts";
import type { Request } from "../core/request.ts";
import type { ClientTunnel } from "../core/types.ts";
import type { UpstreamState } from "../core/upstream.ts";
import type { KeptBody } from "./kept_body.ts";
import type { AnswerReader, UpstreamTarget } from "./protocol.ts";
import type { RequestSender } from "./request_sender.ts";

/** The request that an exchange with a server is used for. */
export interface ConnectionUser {
  readonly request: Request;
  readonly target: UpstreamTarget;
  /** What $upstream_* shows of this server. */
  readonly present: UpstreamState;
  /** What is kept of a body passed on as it comes, over all servers. */
  kept: KeptBody | undefined;
  /**
   * The answer's head is complete, and ends at the reader's `pos` in `bytes`: it is passed on, or the server is
   * released.
   */
  onHead(connection: ServerExchange, bytes: Buffer): void;
  /** The server failed before it answered; `condition` is a parameter of proxy_next_upstream. */
  nextUpstream(condition: string): void;
  finalize(code: number): void;
  /** Starts to deliver the client's body to the connection's sender. */
  startBody(): void;
  onFault(error: unknown): void;
}

/** Receiver of the bytes behind an answer's head. */
export interface AnswerSink {
  /** What the connection is doing, for the error log. */
  readonly doing: string;
  /** No bytes: the answer has ended without any more. */
  onServerData(bytes: Buffer): void;
  /** All that was received at once was passed on, where `reading` was true meanwhile. */
  onServerRead(): void;
  /** The server has half-closed. */
  onServerEnd(): void;
  onServerClose(error: StreamError | undefined): void;
  /** The deadline that it has armed has passed. */
  onTimeout(): void;
  /** The server takes bytes again. Without it, the rest of the request is sent then. */
  onServerDrain?(): void;
  /** The kernel has all of the request, after the answer began. */
  onRequestSent?(): void;
}

/** One request and its answer on a connection to a server: the connection itself, or a stream of one. */
export interface ServerExchange {
  readonly reader: AnswerReader;
  readonly sender: RequestSender;
  /** The connection may be kept for another request. */
  keepalive: boolean;
  /** The connection has carried a request before. */
  readonly reused: boolean;
  /** The server has not processed the request, and says so: it may be repeated, whatever its method. */
  readonly refused: boolean;
  /** The answer's head has been passed on. */
  readonly answered: boolean;
  /** More of what was received at once follows: `onServerRead` ends it. */
  readonly reading: boolean;
  /** What it is doing, for the error log. */
  readonly doing: string;
  /** Begins a request's exchange. `user` gets all events until `release`. */
  begin(user: ConnectionUser): void;
  /** The answer's head is passed on; what follows goes to the sink. */
  passTo(sink: AnswerSink): void;
  /**
   * The request does not need it any more: its connection goes back to the pool if it can carry another (`reuse`), else it is
   * closed. `place` names the location. True if the exchange is kept; until it carries another request, the head that was read
   * belongs to this one.
   */
  release(place: string, pool: Pool | undefined, reuse: boolean): boolean;
  /** What a sink was told before it was this one: the server has half-closed, or the connection is closed. */
  missedEnd(): void;
  missedClose(error: StreamError | undefined): void;
  /** Of an upgraded connection: what the client sends. False when the server takes no more for now. */
  write(bytes: Uint8Array | string): boolean;
  /** Writes what the client has sent behind the bytes just written: see Stream.spliceTo. Returns how many bytes. */
  spliceFrom(client: ClientTunnel): number;
  /** The same in the other direction. */
  spliceTo(client: ClientTunnel): number;
  halfClose(): void;
  readonly isPaused: boolean;
  pause(): void;
  resume(): void;
  /** Sets the deadline of the current step, ms. */
  arm(ms: number): void;
  /** The current step has no deadline. */
  disarm(): void;
}
