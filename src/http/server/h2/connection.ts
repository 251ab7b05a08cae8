import type { Address } from "../../../net/address.ts";
import type { ProxyProtocol } from "../../../net/proxy_protocol.ts";
import { failureText, type Stream, type StreamError } from "../../../net/stream.ts";
import { now } from "../../../sys/clock.ts";
import { defer, logFault } from "../../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import * as h2 from "../../../wire/h2/frames.ts";
import type { RequestLimits } from "../../../wire/http1/request_fields.ts";
import { COUNTER } from "../../core/counters.ts";
import type { Server } from "../../core/location.ts";
import { logConnection } from "../../core/log_context.ts";
import type { ClientTls } from "../../core/types.ts";
import { nextNumber } from "../connections.ts";
import { LingeringClose } from "../lingering_close.ts";
import type { Accepted, AddressConfig, Closable, ConnectionHost, ProtocolConnection } from "../types.ts";
import type { H2Exchange } from "./exchange.ts";
import { type FrameInputOwner, H2FrameInput } from "./frame_input.ts";
import { Goaway, type GoawayOwner } from "./goaway.ts";
import { H2Output, type OutputOwner } from "./output.ts";
import { giveRequestMemoryBack } from "./request_memory.ts";
import { H2Streams, type StreamsOwner } from "./streams.ts";

/** Control frames are queued for a client that does not read them up to so many bytes, and for each stream so many. */
const MOST_CONTROL = 1024 * 1024;
const MOST_OF_STREAM = 64 * 1024;

/** An HTTP/2 connection of a client (RFC 9113): how long it lasts, and how it ends. */
export class H2Connection implements ProtocolConnection, FrameInputOwner, OutputOwner, StreamsOwner, GoawayOwner {
  readonly number: number;
  requests = 0;
  readonly startedAt: number;
  readonly proxyProtocol: ProxyProtocol | undefined;
  readonly tls: ClientTls | undefined;
  readonly secure: boolean;
  readonly host: ConnectionHost;
  readonly input: H2FrameInput;
  readonly output: H2Output;
  readonly streams: H2Streams;
  readonly goaway: Goaway;
  afterRequest: (() => void) | undefined = undefined;
  earlier: Closable | undefined = undefined;
  later: Closable | undefined = undefined;
  place = -1;

  private readonly stream: Stream;
  private readonly deadline: Deadline<H2Connection>;
  private closing = false;
  private error = false;
  /** It does not count as waiting for a request. */
  private busy = false;
  private left = false;

  /** `preface`: how many bytes of the client's preface were read before. */
  constructor(stream: Stream, host: ConnectionHost, accepted: Accepted | undefined, preface = 0) {
    this.number = accepted === undefined ? nextNumber() : accepted.number;
    this.stream = stream;
    this.host = host;
    this.startedAt = accepted === undefined ? Math.floor(now()) : accepted.startedAt;
    this.proxyProtocol = accepted?.proxyProtocol;
    this.tls = accepted?.tls;
    this.secure = host.config.ssl;
    const { http2, clientHeaderTimeout } = this.defaultServer;
    this.output = new H2Output(stream, this);
    this.input = new H2FrameInput(this, http2.maxConcurrentStreams, preface);
    this.streams = new H2Streams(this);
    this.goaway = new Goaway(this);
    this.deadline = new Deadline<H2Connection>(this, expired);
    setDeadline(this.deadline, clientHeaderTimeout);
    if (accepted === undefined) {
      host.opened(this);
      host.waits(this);
      host.counters[COUNTER.waiting]++;
    } else {
      host.replaced(accepted, this);
    }
    this.greet();
    // It was in the queue of a socket that is closed by now, or in its TLS handshake.
    if (host.exiting || host.lettingAllGo) this.shutdown();
  }

  private greet(): void {
    const { http2 } = this.defaultServer;
    const settings: [id: number, value: number][] = [
      [h2.SETTING.MAX_CONCURRENT_STREAMS, http2.maxConcurrentStreams],
      [h2.SETTING.INITIAL_WINDOW_SIZE, http2.bodyPrereadSize],
      [h2.SETTING.MAX_FRAME_SIZE, h2.MAX_FRAME_SIZE],
    ];
    if (http2.connectProtocol) settings.push([h2.SETTING.ENABLE_CONNECT_PROTOCOL, 1]);
    this.output.put(h2.settingsFrame(settings) + h2.windowUpdate(0, h2.MAX_WINDOW - h2.DEFAULT_WINDOW));
  }

  // ---- as others see it

  get remote(): Address {
    return this.stream.remote;
  }

  get local(): Address {
    return this.stream.local;
  }

  get counters(): Int32Array {
    return this.host.counters;
  }

  get closed(): boolean {
    return this.error || this.stream.closed;
  }

  get idle(): boolean {
    return this.streams.size === 0;
  }

  get busyWith(): AddressConfig | undefined {
    const { any } = this.streams;
    if (any !== undefined) return any.config;
    return this.requests === 0 ? this.host.config : undefined;
  }

  get defaultServer(): Server {
    return this.tls === undefined ? this.host.config.defaultServer : this.tls.server;
  }

  /** As long as a client of HTTP/1 has to see that its idle connection was closed. */
  get noticeTimeout(): number {
    return this.defaultServer.root.core.lingeringTimeout;
  }

  get limits(): RequestLimits {
    return this.defaultServer.limits;
  }

  get sendTimeout(): number {
    return this.defaultServer.root.core.sendTimeout;
  }

  // ---- the stream's events

  onData(_stream: Stream, bytes: Buffer): void {
    if (this.closed || this.closing) return;
    const useful = this.input.read(bytes);
    if (this.closed) return;
    if (!useful || this.output.unsent > MOST_CONTROL + this.streams.size * MOST_OF_STREAM) {
      this.fail(h2.ERROR.NO_ERROR, "http2 flood detected");
    } else {
      this.output.serve();
      if (this.goaway.said) this.endIfIdle();
    }
  }

  onDrain(): void {
    this.output.onDrain();
  }

  onSent(): void {
    this.output.onSent();
  }

  onEnd(): void {
    if (this.closed) return;
    if (this.streams.size > 0 || this.input.incomplete) this.log("client prematurely closed connection");
    this.close();
  }

  onClose(_stream: Stream, error: StreamError | undefined): void {
    this.error = true;
    clearDeadline(this.deadline);
    this.goaway.stop();
    this.output.close();
    if (error !== undefined) this.log(failureText("recv", error));
    this.streams.closeAll();
    if (this.streams.size === 0) this.leave();
  }

  private leave(): void {
    if (this.left) return;
    this.left = true;
    if (!this.busy) this.host.counters[COUNTER.waiting]--;
    this.host.closed(this);
    this.notifyFreed();
  }

  private notifyFreed(): void {
    const { afterRequest } = this;
    if (afterRequest === undefined) return;
    this.afterRequest = undefined;
    afterRequest();
  }

  onFault(error: unknown): void {
    logFault(error, `, client connection: *${this.number}`);
    this.stream.destroy();
  }

  // ---- what streams and frames ask for

  reset(stream: number, error: number): void {
    if (!this.closed) this.output.put(h2.rstStream(stream, error));
  }

  consumed(stream: number, bytes: number): void {
    if (!this.closed) this.output.put(h2.windowUpdate(stream, bytes));
  }

  blockBegins(): void {
    setDeadline(this.deadline, this.defaultServer.clientHeaderTimeout);
  }

  blockEnds(): void {
    if (this.streams.size > 0) clearDeadline(this.deadline);
    else if (this.requests > 0) setDeadline(this.deadline, this.defaultServer.root.core.keepaliveTimeout);
  }

  requestBegins(): void {
    clearDeadline(this.deadline);
    this.requests++;
    if (!this.busy) {
      this.busy = true;
      this.host.counters[COUNTER.waiting]--;
    }
    if (this.goaway.begun) return;
    // No more streams after these?
    const { keepaliveTimeout, keepaliveRequests, keepaliveTime } = this.defaultServer.root.core;
    if (keepaliveTimeout === 0 || this.requests >= keepaliveRequests || now() - this.startedAt > keepaliveTime) {
      this.goaway.say(h2.ERROR.NO_ERROR);
    }
  }

  requestFreed(stream: H2Exchange, outlived: boolean): void {
    if (!outlived) giveRequestMemoryBack(stream.memory);
    const { streams, host } = this;
    if (!streams.remove(stream)) return;
    if (this.stream.closed) {
      if (streams.size === 0) this.leave();
      return;
    }
    this.notifyFreed();
    if (streams.size > 0) return;
    this.busy = false;
    host.counters[COUNTER.waiting]++;
    host.waits(this);
    if (this.goaway.said) this.endIfIdle();
    else setDeadline(this.deadline, this.defaultServer.root.core.keepaliveTimeout);
  }

  // ---- the end

  /** Which stream is the last was said: ends the connection when all up to that are over. */
  private endIfIdle(): void {
    const { streams, input, goaway } = this;
    const block = input.blocks.stream;
    const comes = block !== 0 && block <= goaway.last && block !== streams.timedOut;
    if (streams.size === 0 && !comes) this.finish();
  }

  noticeExpired(): void {
    this.endIfIdle();
  }

  /** No stream is left, and none will come. */
  private finish(): void {
    if (this.closing || this.closed) return;
    this.closing = true;
    clearDeadline(this.deadline);
    this.goaway.say(h2.ERROR.NO_ERROR);
    this.output.flush();
    const { core } = this.defaultServer.root;
    if (core.lingeringClose === "off") defer(destroyNow, this.stream);
    else new LingeringClose(this.stream, core, this);
  }

  fail(error: number, sentence: string): false {
    if (this.closing || this.closed) return false;
    this.log(sentence);
    this.input.stop();
    this.input.leaveBlock();
    this.goaway.say(error);
    this.streams.closeAll();
    this.finish();
    return false;
  }

  /**
   * The client may be sending requests, even where there is none: it is given notice. This is where Holdfast leaves nginx, which says
   * at once which stream was the last.
   */
  shutdown(): void {
    if (!this.closing) this.goaway.notice();
  }

  destroy(): void {
    this.stream.destroy();
  }

  private close(): void {
    this.error = true;
    defer(destroyNow, this.stream);
  }

  sendTimedOut(): void {
    if (this.closed) return;
    const sentence = "client timed out (110: Connection timed out)";
    this.log(sentence);
    this.error = true;
    this.streams.closeAll();
    this.stream.destroy(this.defaultServer.root.core.resetTimedoutConnection);
  }

  expire(): void {
    if (this.closed || this.closing) return;
    const header = this.input.pendingBlock;
    if (header !== 0 && header !== this.streams.timedOut) {
      // The block is still to be decoded, for those that follow; but that does not last for ever either.
      this.streams.timeOut(header, this.input.pendingRequest ? this.input.pendingLength : -1);
      setDeadline(this.deadline, 2 * this.defaultServer.clientHeaderTimeout);
      if (this.goaway.said) this.endIfIdle();
    } else if (this.input.incomplete) {
      this.fail(h2.ERROR.PROTOCOL_ERROR, "client timed out (110: Connection timed out)");
    } else if (!this.goaway.pending) {
      this.finish();
    }
  }

  log(sentence: string): void {
    const { defaultServer } = this;
    const { listening } = this.host.config;
    logConnection(this, { defaultServer, listening }, "info", `${sentence} while processing HTTP/2 connection`);
  }
}

function expired(connection: H2Connection): void {
  connection.expire();
}

function destroyNow(stream: Stream): void {
  stream.destroy();
}
