import { defer } from "../../../sys/guard.ts";
import * as h2 from "../../../wire/h2/frames.ts";
import { StreamTable } from "../../../wire/h2/stream_table.ts";
import { COUNTER } from "../../core/counters.ts";
import { finalizeRequest } from "../../core/engine.ts";
import type { Server } from "../../core/location.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { createRequest } from "../create_request.ts";
import { logIgnored, MISDIRECTED, startRequest, tlsRefusal } from "../start_request.ts";
import type { ConnectionHost } from "../types.ts";
import { H2Exchange, type StreamOwner } from "./exchange.ts";
import type { H2FrameInput } from "./frame_input.ts";
import type { Goaway } from "./goaway.ts";
import { OverStreams } from "./over_streams.ts";
import { prioritize } from "./priority.ts";
import { takeRequestMemory } from "./request_memory.ts";

/** The connection that the streams are on. */
export interface StreamsOwner extends StreamOwner {
  readonly host: ConnectionHost;
  /** In force until a request's host is known. */
  readonly defaultServer: Server;
  readonly input: H2FrameInput;
  readonly goaway: Goaway;
  fail(error: number, sentence: string): false;
  log(sentence: string): void;
  /** A request begins. */
  requestBegins(): void;
}

/** The streams of a connection whose requests are not over, and how others are opened. */
export class H2Streams {
  /** The highest number that the client has used. */
  last = 0;
  /** How much the client lets us send first on each stream. */
  initialWindow = h2.DEFAULT_WINDOW;
  /** A stream whose header block did not come in time. */
  timedOut = 0;
  private readonly owner: StreamsOwner;
  private readonly open = new StreamTable<H2Exchange>();
  private readonly over = new OverStreams();
  /** Streams opened in this turn of the event loop, however many pieces were read in it; and refused ones. */
  private opened = 0;
  private refused = 0;
  /** That of the DATA frame that is being read, and its number. */
  private target: H2Exchange | undefined = undefined;
  private targetId = 0;

  constructor(owner: StreamsOwner) {
    this.owner = owner;
  }

  get size(): number {
    return this.open.size;
  }

  /** Any of them. */
  get any(): H2Exchange | undefined {
    return this.open.any;
  }

  /** The lowest number; 0: there is none. */
  get oldest(): number {
    return this.size === 0 ? 0 : Math.min(...this.open.all().map(({ id }) => id));
  }

  /** The end of a turn of the event loop in which streams were opened. */
  endTurn(): void {
    this.opened = 0;
  }

  onFault(error: unknown): void {
    this.owner.onFault(error);
  }

  // ---- what frames are for

  /** A DATA frame begins. False: the client may not use that stream. */
  beginData(id: number, length: number): boolean {
    const stream = this.open.get(id);
    this.target = undefined;
    this.targetId = id;
    if (stream === undefined) return id <= this.last;
    const { window, ended } = stream.body;
    if (length > window) {
      const text = `received DATA frame length ${length}, available window ${window}`;
      this.reset(stream, h2.ERROR.FLOW_CONTROL_ERROR, `client violated flow control for stream ${id}: ${text}`);
    } else if (ended) {
      this.reset(stream, h2.ERROR.STREAM_CLOSED, `client sent DATA frame for half-closed stream ${id}`);
    } else {
      this.target = stream;
    }
    return true;
  }

  /** A piece of that frame, lent for the call. False: the client knew that there is no use for it. */
  receive(piece: Buffer, ends: boolean): boolean {
    const { target } = this;
    if (target === undefined) return ends ? this.over.end(this.targetId) : this.over.has(this.targetId);
    try {
      target.body.receive(piece, ends);
    } catch (error) {
      target.onFault(error);
    }
    return true;
  }

  /** The request's body has not ended. */
  awaitsTrailers(id: number): boolean {
    return this.open.get(id)?.body.ended === false;
  }

  /**
   * The end of a request's body. Nothing reads what is in trailers, but they may be malformed (RFC 9113 section 8.1). False: the client
   * knew that there is no use for them.
   */
  trailersDecoded(id: number, ends: boolean): boolean {
    const stream = this.open.get(id);
    // The request may have come to its end before its trailers did.
    if (stream === undefined) return ends && this.over.end(id);
    if (this.owner.input.blocks.decoder.malformedTrailers) {
      this.reset(stream, h2.ERROR.PROTOCOL_ERROR, `client sent invalid trailers on stream ${id}`);
    } else {
      stream.body.receive(NOTHING, true);
    }
    return true;
  }

  /** False: there is no such stream. */
  openWindow(id: number, increment: number): boolean {
    if (id > this.last) return false;
    const stream = this.open.get(id);
    if (stream === undefined) return true;
    const { window } = stream.output;
    if (increment > h2.MAX_WINDOW - window) {
      const text = `received WINDOW_UPDATE frame with window increment ${increment} not allowed for window ${window}`;
      this.reset(stream, h2.ERROR.FLOW_CONTROL_ERROR, `client violated flow control for stream ${id}: ${text}`);
    } else {
      stream.output.opened(increment);
    }
    return true;
  }

  adjustWindows(initial: number): void {
    const change = initial - this.initialWindow;
    this.initialWindow = initial;
    for (const stream of this.open.all()) {
      if (change > 0 && stream.output.window > h2.MAX_WINDOW - change) {
        this.reset(stream, h2.ERROR.FLOW_CONTROL_ERROR, `client violated flow control for stream ${stream.id}`);
      } else {
        stream.output.opened(change);
      }
    }
  }

  /** False: there was no such stream. */
  resetByClient(id: number, error: number): boolean {
    if (id > this.last) return false;
    this.over.end(id);
    const stream = this.open.get(id);
    if (stream === undefined) return true;
    stream.resetByClient = true;
    stream.onReset(resetText(id, error));
    return true;
  }

  /** `value`: that of a Priority field. */
  prioritize(id: number, value: string): void {
    const output = this.open.get(id)?.output;
    if (output === undefined) return;
    prioritize(output, value);
    output.moved();
  }

  /**
   * The header block of that stream does not come in time. It is still to be decoded, for those that follow. `length`: what has come
   * of that of a request; -1: it is that of trailers.
   */
  timeOut(id: number, length: number): void {
    const stream = this.open.get(id);
    if (length >= 0) this.breakLate(id, length);
    this.timedOut = id;
    this.owner.reset(id, h2.ERROR.PROTOCOL_ERROR);
    stream?.onReset("client timed out (110: Connection timed out) while reading trailers");
  }

  private reset(stream: H2Exchange, error: number, sentence: string): void {
    this.owner.log(sentence);
    this.owner.reset(stream.id, error);
    stream.onClosed();
  }

  // ---- streams that are over

  /** The client does not know that stream to be over. */
  isOver(id: number): boolean {
    return this.over.has(id);
  }

  private addOver(id: number): void {
    const { owner } = this;
    // Those that it may have, and those that were refused for being more.
    this.over.add(id, owner.defaultServer.http2.maxConcurrentStreams + mostRefused(owner) + 1);
  }

  // ---- a request

  /** Begins the request of the head just decoded. */
  begin(id: number, length: number, ends: boolean): void {
    const stream = this.admit(id, ends);
    if (stream === undefined) return;
    const { head } = stream.memory;
    const status = head.take(this.owner.input.blocks.decoder, length);
    const request = this.create(stream);
    try {
      this.start(stream, request, status);
    } catch (error) {
      stream.onFault(error);
    }
  }

  /**
   * A header block cannot be decoded, or the connection ends before it does: as in nginx its request is in the access log, with
   * what is known of it.
   */
  break(id: number, length: number, ends: boolean): void {
    const stream = this.admit(id, ends);
    if (stream === undefined) return;
    stream.memory.head.take(this.owner.input.blocks.decoder, length, true);
    stream.drop(this.create(stream), 0);
  }

  /** A header block does not come in time. */
  breakLate(id: number, length: number): void {
    const stream = this.admit(id, false);
    if (stream === undefined) return;
    stream.memory.head.length = length;
    const request = this.create(stream);
    logError(request, "info", "client timed out (110: Connection timed out) while reading client request headers");
    request.timedOut = true;
    stream.drop(request, 408);
  }

  /** A stream for another request; undefined: there may be none. */
  private admit(id: number, ends: boolean): H2Exchange | undefined {
    const { owner } = this;
    const { http2 } = owner.defaultServer;
    if (id > owner.goaway.last) return undefined;
    if (id === this.timedOut) {
      if (!ends) this.addOver(id);
      return undefined;
    }
    if (this.open.size >= http2.maxConcurrentStreams) {
      return this.refuse(id, ends, `concurrent streams exceeded ${this.open.size}`);
    }
    if (this.opened === 0) defer(endTurn, this);
    if (this.opened++ >= 2 * http2.maxConcurrentStreams)
      return this.refuse(id, ends, "client sent too many streams at once");
    if (!owner.input.settingsAcknowledged && !ends && http2.bodyPrereadSize < h2.DEFAULT_WINDOW) {
      return this.refuse(id, ends, "client sent stream with data before settings were acknowledged");
    }
    owner.requestBegins();
    const { config } = owner.host;
    const memory = takeRequestMemory(config);
    const stream = new H2Exchange(owner, id, config, memory, this.initialWindow, http2.bodyPrereadSize);
    stream.body.ended = ends;
    this.open.add(stream);
    memory.head.allowsProtocol = http2.connectProtocol;
    return stream;
  }

  /** The request of the head that its stream has got. */
  private create(stream: H2Exchange): Request {
    const { config, counters } = this.owner.host;
    counters[COUNTER.requests]++;
    counters[COUNTER.writing]++;
    const { head, response } = stream.memory;
    const request = createRequest(stream, stream, config, head, response);
    // As in nginx nothing counts that comes after an invalid path.
    if (request.badUri) {
      request.requestLine = "";
      if (!head.hostFirst) request.host = "";
    }
    stream.begin(request);
    return request;
  }

  private start(stream: H2Exchange, request: Request, status: number): void {
    const { body, output } = stream;
    const { head } = stream.memory;
    const connects = head.protocol !== "";
    if (request.contentLength < 0 && !body.ended && !connects) request.chunked = true;
    body.begin(request);
    if (connects && status === 0) stream.offerTunnel(request);
    const { refused } = request;
    if (request.badUri) {
      refuseRequest(request, 400, "client sent invalid request");
    } else if (status !== 0) {
      refuseRequest(request, status, head.error);
    } else if (refused !== 0) {
      refuseRequest(request, refused, refused === 421 ? MISDIRECTED : "client sent invalid request");
    } else if (request.contentLength > 0 && body.ended) {
      refuseRequest(request, 400, "client prematurely closed stream");
    } else if (!request.server.http2.enabled && !this.owner.host.config.http2) {
      // As in nginx that is found before the head is looked at as a whole.
      if (head.bare) request.requestLine = "";
      refuseRequest(request, 421, DISABLED, false);
    } else {
      const refusal = tlsRefusal(request);
      if (refusal !== undefined) {
        refuseRequest(request, refusal.status, refusal.sentence);
        return;
      }
      const { headers, ignored } = head.fields;
      if (ignored !== undefined) logIgnored(request, ignored, false);
      const priority = headers.get("priority");
      if (priority !== undefined) prioritize(output, priority);
      startRequest(request);
    }
  }

  private refuse(id: number, ends: boolean, sentence: string): undefined {
    const { owner } = this;
    owner.log(sentence);
    if (this.refused++ > mostRefused(owner)) {
      owner.fail(h2.ERROR.NO_ERROR, "client sent too many refused streams");
      return;
    }
    owner.reset(id, h2.ERROR.REFUSED_STREAM);
    if (!ends) this.addOver(id);
  }

  /** The request is over. False: it was before. */
  remove(stream: H2Exchange): boolean {
    if (!this.open.remove(stream)) return false;
    if (!stream.body.ended && !stream.resetByClient) this.addOver(stream.id);
    return true;
  }

  /** The connection ends, and all streams with it. */
  closeAll(): void {
    for (const stream of this.open.all()) stream.onClosed();
  }
}

function mostRefused({ defaultServer }: StreamsOwner): number {
  return Math.max(defaultServer.http2.maxConcurrentStreams, 100);
}

function endTurn(streams: H2Streams): void {
  streams.endTurn();
}

function resetText(id: number, error: number): string {
  if (error === h2.ERROR.CANCEL) return `client canceled stream ${id}`;
  const why = error === h2.ERROR.INTERNAL_ERROR ? "due to internal error" : `with status ${error}`;
  return `client terminated stream ${id} ${why}`;
}

const NOTHING = Buffer.alloc(0);
const DISABLED = "client attempted to request the server name for which the negotiated protocol is disabled";

function refuseRequest(request: Request, status: number, sentence: string, host = true): void {
  request.discardBody = true;
  if (status !== 500) logError(request, "info", `${sentence} while reading client request headers`, host);
  finalizeRequest(request, status);
}
