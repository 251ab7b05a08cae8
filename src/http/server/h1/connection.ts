import { type Address, hostText } from "../../../net/address.ts";
import type { ProxyProtocol } from "../../../net/proxy_protocol.ts";
import { failureText, type Stream, type StreamError, type StreamHandler } from "../../../net/stream.ts";
import { now } from "../../../sys/clock.ts";
import { defer, logFault } from "../../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import { COUNTER } from "../../core/counters.ts";
import type { CoreSettings, Server } from "../../core/location.ts";
import { logConnection } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import type { ClientTls } from "../../core/types.ts";
import { nextNumber } from "../connections.ts";
import { LingeringClose, type LingeringSettings } from "../lingering_close.ts";
import type { Accepted, AddressConfig, Closable, ConnectionHost } from "../types.ts";
import { type ExchangeOwner, H1Exchange } from "./exchange.ts";
import { H1HeadReader, type HeadReaderOwner } from "./head_reader.ts";
import { H1Input, type InputOwner } from "./input.ts";

// States of a connection.

/** Waits for a request; none of its bytes has come. */
const IDLE = 0;
/** The same within keepalive_min_timeout: a worker that exits gracefully does not close it yet. */
const KEPT = 1;
/** Part of a head was read. */
const HEAD = 2;
/** A request is being processed. */
const BUSY = 3;
/** The last response was sent; the client may still be sending (lingering_close). */
const LINGERING = 4;
const CLOSING = 5;
const CLOSED = 6;

/**
 * One HTTP/1 client connection: reads head after head, gives each request to its exchange, strictly one at a time, and
 * decides what follows a response: the next request, a lingering close or a close.
 */
export class H1Connection implements ExchangeOwner, HeadReaderOwner, InputOwner, StreamHandler, Closable {
  readonly number: number;
  requests = 0;
  readonly startedAt: number;
  readonly proxyProtocol: ProxyProtocol | undefined;
  readonly tls: ClientTls | undefined;
  readonly secure: boolean;
  pipelined = false;
  readonly host: ConnectionHost;
  afterRequest: (() => void) | undefined = undefined;
  earlier: Closable | undefined = undefined;
  later: Closable | undefined = undefined;
  place = -1;

  private readonly stream: Stream;
  private readonly input: H1Input;
  private readonly exchange: H1Exchange;
  private readonly heads: H1HeadReader;
  /**
   * The deadline of a head, or of waiting for one. While a request is processed it is the exchange's, which ignores it if it has
   * not armed it.
   */
  private readonly deadline: Deadline<H1Connection>;
  atClose: (() => void)[] | undefined = undefined;
  private state = IDLE;
  /** How long it may be idle, ms: keepalive_timeout, or what is left of it after keepalive_min_timeout. */
  private idleTime = 0;
  /** The configuration of the current request, or the one in force when the connection was accepted. */
  private config: AddressConfig;
  /** nginx's c->error: the connection must not be used any more, although its stream is still open. */
  private error = false;
  /** Subrequests of the last request go on: the worker waits for them before it exits. */
  private outlived = false;

  /** `accepted`: set if stages came before this protocol. */
  constructor(stream: Stream, host: ConnectionHost, accepted?: Accepted) {
    this.number = accepted === undefined ? nextNumber() : accepted.number;
    this.stream = stream;
    this.host = host;
    this.startedAt = accepted === undefined ? Math.floor(now()) : accepted.startedAt;
    this.proxyProtocol = accepted?.proxyProtocol;
    this.tls = accepted?.tls;
    this.secure = host.config.ssl;
    const { config } = host;
    this.config = config;
    this.input = new H1Input(stream, this);
    this.exchange = new H1Exchange(this, stream, this.input);
    this.heads = new H1HeadReader(this, this.exchange, this.input);
    this.deadline = new Deadline<H1Connection>(this, expired);
    const elapsed = accepted === undefined ? 0 : now() - accepted.startedAt;
    setDeadline(this.deadline, config.defaultServer.clientHeaderTimeout - elapsed);
    if (!config.defaultServer.root.core.tcpNodelay) stream.setNoDelay(false);
    if (accepted !== undefined) {
      host.replaced(accepted, this);
      return;
    }
    host.opened(this);
    host.waits(this);
    host.counters[COUNTER.waiting]++;
  }

  get remote(): Address {
    return this.stream.remote;
  }

  get local(): Address {
    return this.stream.local;
  }

  get counters(): Int32Array {
    return this.host.counters;
  }

  get sent(): number {
    return this.exchange.sent;
  }

  get closed(): boolean {
    return this.error || this.stream.closed;
  }

  get idle(): boolean {
    return this.state === IDLE || this.state === LINGERING;
  }

  /** In force until a request's host is known. */
  get defaultServer(): Server {
    return this.tls === undefined ? this.host.config.defaultServer : this.tls.server;
  }

  get busyWith(): AddressConfig | undefined {
    return this.state !== BUSY && this.requests > 0 && !this.outlived ? undefined : this.config;
  }

  // ---- the stream's events

  onData(_stream: Stream, bytes: Buffer): void {
    if (this.state <= KEPT) this.pipelined = false;
    this.input.receive(bytes);
  }

  onDrain(): void {
    this.exchange.onDrain();
  }

  onSent(): void {
    this.exchange.onSent();
  }

  onEnd(): void {
    this.input.end();
  }

  onPeerClosed(): void {
    this.exchange.onPeerClosed();
  }

  onClose(_stream: Stream, error: StreamError | undefined): void {
    try {
      this.endWhatRuns(error);
    } catch (exception) {
      this.onFault(exception);
    }
    this.exchange.release();
    clearDeadline(this.deadline);
    this.state = CLOSED;
    if (this.atClose !== undefined) for (const close of this.atClose) close();
    // A request that goes on without its client still has its fields.
    if (this.exchange.current !== undefined) return;
    this.heads.free(false);
    if (!this.outlived) this.leave();
  }

  private leave(): void {
    this.host.closed(this);
    this.notifyFreed();
  }

  private endWhatRuns(error: StreamError | undefined): void {
    const { counters } = this.host;
    if (this.state === BUSY) this.exchange.onClose(error);
    else if (this.state <= KEPT) this.idleFailed(error);
    else if (this.state === HEAD && error !== undefined) this.heads.breakOff(400, failureText("recv", error));
    else if (this.state === HEAD) counters[COUNTER.reading]--;
  }

  /** ngx_http_wait_request_handler, ngx_http_keepalive_handler */
  private idleFailed(error: StreamError | undefined): void {
    this.host.counters[COUNTER.waiting]--;
    if (error?.sentence === undefined) return;
    const during = this.requests === 0 ? "while waiting for request" : "while keepalive";
    this.logIdle(`${error.sentence} ${during}`, error.crit ? "crit" : "info");
  }

  // ---- heads

  take(bytes: Buffer, at: number, end: number): number {
    if (this.closed || this.state === LINGERING) return end;
    if (this.state === BUSY) return this.exchange.take(bytes, at, end);
    return this.heads.read(bytes, at, end);
  }

  /** The first part of a head has come. */
  headBegins(): void {
    const { host } = this;
    host.counters[COUNTER.waiting]--;
    host.counters[COUNTER.reading]++;
    this.state = HEAD;
    // The first head must be complete within the time that began when the connection was accepted.
    if (this.requests > 0) setDeadline(this.deadline, this.defaultServer.clientHeaderTimeout);
  }

  /** A head is complete, or will not be completed. */
  requestBegins(): void {
    const { host } = this;
    const { counters } = host;
    counters[this.state === HEAD ? COUNTER.reading : COUNTER.waiting]--;
    counters[COUNTER.requests]++;
    counters[COUNTER.writing]++;
    this.state = BUSY;
    this.requests++;
    this.config = host.config;
  }

  // ---- after a request

  /** An exchange has freed its request. `outlived`: not all of its subrequests are over, `subrequestsEnded` follows. */
  requestFreed(outlived: boolean): void {
    this.outlived = outlived;
    this.heads.free(outlived);
    if (outlived) return;
    if (this.state === CLOSED) this.leave();
    else this.notifyFreed();
  }

  subrequestsEnded(): void {
    this.outlived = false;
    if (this.state === CLOSED) this.leave();
    else if (this.state !== BUSY) this.notifyFreed();
  }

  private notifyFreed(): void {
    const { afterRequest } = this;
    if (afterRequest === undefined) return;
    this.afterRequest = undefined;
    afterRequest();
  }

  /** After a request whose response was sent: waits for the next request or closes. */
  finalize({ keepalive, lingering, location: { core } }: Request): void {
    const { host, input } = this;
    if (this.stream.closed) return;
    if (keepalive && !input.exhausted) {
      // A worker that exits answers with "Connection: close", but not where the head had been sent before.
      if (host.exiting && core.keepaliveMinTimeout === 0) this.shutdownIdle(core);
      else this.setKeepalive(core);
      return;
    }
    const left = lingering || this.pipelined || input.left;
    input.drop();
    if (!input.halfClosed && (core.lingeringClose === "always" || (core.lingeringClose === "on" && left))) {
      this.setLingeringClose(core);
    } else {
      this.close(false);
    }
  }

  private setKeepalive({ keepaliveTimeout, keepaliveMinTimeout }: CoreSettings): void {
    const { host } = this;
    host.counters[COUNTER.waiting]++;
    host.waits(this);
    this.pipelined = true;
    if (keepaliveMinTimeout === 0) {
      this.state = IDLE;
      this.idleTime = keepaliveTimeout;
      setDeadline(this.deadline, keepaliveTimeout);
    } else {
      this.state = KEPT;
      this.idleTime = Math.max(0, keepaliveTimeout - keepaliveMinTimeout);
      setDeadline(this.deadline, keepaliveTimeout - this.idleTime);
    }
    this.input.readOn();
  }

  private setLingeringClose(core: LingeringSettings): void {
    this.state = LINGERING;
    this.host.waits(this);
    clearDeadline(this.deadline);
    new LingeringClose(this.stream, core, this);
  }

  /** Deferred until the log lines of this turn are written: when a client sees the close, its request is logged. */
  close(reset: boolean): void {
    this.error = true;
    // An idle connection counts as waiting until onClose.
    if (this.state === BUSY) this.state = CLOSING;
    if (!this.stream.closed) defer(reset ? resetNow : destroyNow, this.stream);
  }

  /** Marks the connection as unusable; `close` follows. */
  setError(): void {
    this.error = true;
  }

  // ---- its end

  clientEnded(): void {
    if (this.closed) return;
    if (this.state === BUSY) {
      this.exchange.onEnd();
    } else if (this.state === HEAD) {
      this.heads.breakOff(400, "client prematurely closed connection");
    } else {
      this.logIdleEnd();
      this.close(false);
    }
  }

  private logIdle(sentence: string, level: "info" | "crit" = "info"): void {
    const { defaultServer } = this;
    logConnection(this, { defaultServer, listening: this.host.config.listening }, level, sentence);
  }

  private logIdleEnd(): void {
    if (this.requests === 0) {
      this.logIdle("client closed connection while waiting for request");
      return;
    }
    const { errorLog } = this.defaultServer.root;
    errorLog.write("info", `client ${hostText(this.remote)} closed keepalive connection`, this.number);
  }

  armTimer(ms: number): void {
    setDeadline(this.deadline, ms);
  }

  /** The deadline has passed. */
  expire(): void {
    const { host, stream } = this;
    switch (this.state) {
      case IDLE:
        if (this.requests === 0) {
          this.logIdle("client timed out (110: Connection timed out) while waiting for request");
        }
        stream.destroy();
        return;
      case KEPT:
        if (this.idleTime === 0) {
          stream.destroy();
        } else if (host.exiting) {
          host.counters[COUNTER.waiting]--;
          this.shutdownIdle(this.defaultServer.root.core);
        } else {
          this.state = IDLE;
          host.waits(this);
          setDeadline(this.deadline, this.idleTime);
        }
        return;
      case HEAD:
        this.heads.breakOff(408, "client timed out (110: Connection timed out)");
        return;
      case BUSY:
        this.exchange.expire();
    }
  }

  shutdown(): void {
    // Like nginx: a connection on which nothing was asked yet has client_header_timeout.
    if (this.state === BUSY) this.exchange.shutdown();
    else if (this.state === IDLE && this.requests > 0) {
      this.host.counters[COUNTER.waiting]--;
      this.shutdownIdle(this.defaultServer.root.core);
    }
  }

  /**
   * Closes a connection that its client may be using again. nginx answers a request that is on its way with a reset; after a
   * FIN, the client asks anew elsewhere. It has lingering_timeout to see that.
   */
  private shutdownIdle({
    lingeringClose,
    lingeringTimeout,
    sendTimeout,
  }: LingeringSettings & Pick<CoreSettings, "lingeringClose">): void {
    const { input } = this;
    input.drop();
    if (lingeringClose === "off" || input.halfClosed) this.close(false);
    else this.setLingeringClose({ lingeringTime: lingeringTimeout, lingeringTimeout, sendTimeout });
  }

  destroy(): void {
    this.stream.destroy();
  }

  /** An exception left code that was at work for this connection. What was read and not taken is dropped. */
  onFault(error: unknown): void {
    const { exchange, heads, input, stream } = this;
    const inHead = input.busy && this.state <= HEAD;
    input.fail();
    try {
      // An incomplete head becomes a request, so that it is answered, counted and logged.
      if (inHead) heads.begin().bodyEnded = true;
      if (exchange.fail(error)) return;
      logFault(error, `, client connection: *${this.number}`);
    } catch (second) {
      logFault(second);
      exchange.giveUp();
    }
    stream.destroy();
  }
}

function expired(connection: H1Connection): void {
  connection.expire();
}

function destroyNow(stream: Stream): void {
  stream.destroy();
}

function resetNow(stream: Stream): void {
  stream.destroy(true);
}
