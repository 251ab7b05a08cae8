import { type Address, hostText } from "../../../net/address.ts";
import type { ProxyProtocol } from "../../../net/proxy_protocol.ts";
import { failureText, type Stream, type StreamError } from "../../../net/stream.ts";
import { now } from "../../../sys/clock.ts";
import { defer, logFault } from "../../../sys/guard.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import { type FrameHandler, FrameReader } from "../../../wire/h2/frame_reader.ts";
import * as h2 from "../../../wire/h2/frames.ts";
import { HpackDecoder } from "../../../wire/h2/hpack_decoder.ts";
import { COUNTER } from "../../core/counters.ts";
import { finalizeRequest, startPhases } from "../../core/engine.ts";
import type { Server } from "../../core/location.ts";
import { logConnection, logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { startWithBody } from "../../core/request_body.ts";
import type { ClientTls } from "../../core/types.ts";
import { judgeCertificate } from "../client_certificate.ts";
import { nextNumber } from "../connections.ts";
import { createRequest } from "../create_request.ts";
import { LingeringClose } from "../lingering_close.ts";
import type { Accepted, AddressConfig, Closable, ConnectionHost, ProtocolConnection } from "../types.ts";
import { H2Exchange, type StreamOwner } from "./exchange.ts";
import { H2Output, type OutputOwner } from "./output.ts";
import { giveRequestMemoryBack, takeRequestMemory } from "./request_memory.ts";

/** Bytes of frames that carry nothing, beyond eight times those that carry something: a flood (as in nginx). */
const FLOOD_BYTES = 1024 * 1024;
/** Control frames are queued for a client that does not read them up to so many bytes. */
const MOST_CONTROL = 1024 * 1024;
/** The window of the connection is opened again when it is below that. */
const LOW_WINDOW = h2.MAX_WINDOW / 4;

/** So many bytes wait for the socket before streams do: what is decided later goes to the one that is then most urgent. */
const FULL = 64 * 1024;

const NOTHING = Buffer.alloc(0);

/** An HTTP/2 connection of a client (RFC 9113): its frames, its windows, and its streams. */
export class H2Connection implements ProtocolConnection, FrameHandler, StreamOwner, OutputOwner {
  readonly number: number;
  requests = 0;
  readonly startedAt: number;
  readonly proxyProtocol: ProxyProtocol | undefined;
  readonly tls: ClientTls | undefined;
  readonly secure: boolean;
  readonly host: ConnectionHost;
  afterRequest: (() => void) | undefined = undefined;
  earlier: Closable | undefined = undefined;
  later: Closable | undefined = undefined;

  private readonly stream: Stream;
  private readonly output: H2Output;
  private readonly reader: FrameReader;
  private readonly decoder = new HpackDecoder();
  private readonly deadline: Deadline<H2Connection>;
  /** Those whose request is not over. */
  private readonly streams = new Map<number, H2Exchange>();
  /** Streams that wait for room, in the order in which they are served. */
  private readonly waiting: H2Exchange[] = [];
  /** Streams whose response was sent as far as this process can see. */
  private unsent: H2Exchange[] = [];
  private lastStream = 0;
  /** How much the client lets us send on the connection, and first on each stream. */
  private sendWindow = h2.DEFAULT_WINDOW;
  private initialWindow = h2.DEFAULT_WINDOW;
  private peerFrameSize = h2.DEFAULT_FRAME_SIZE;
  private recvWindow = h2.MAX_WINDOW;
  private settingsAcknowledged = false;
  private goawaySent = false;
  private closing = false;
  private error = false;
  /** Streams opened by what has come in one piece, and refused ones. */
  private opened = 0;
  private refused = 0;
  private totalBytes = 0;
  private payloadBytes = 0;
  private prioritiesLeft: number;
  /** A stream whose header block did not come in time. */
  private timedOut = 0;
  // The frame that is being read.
  private length = 0;
  private type = 0;
  private flags = 0;
  private id = 0;
  private target: H2Exchange | undefined = undefined;
  /** A header block whose CONTINUATION has to come: its stream, whether the request ends with it, and its bytes so far. */
  private blockStream = 0;
  private blockEnds = false;
  private block: Buffer = NOTHING;

  /** `preface`: how many bytes of the client's preface were read before. */
  constructor(stream: Stream, host: ConnectionHost, accepted: Accepted | undefined, preface = 0) {
    this.number = accepted === undefined ? nextNumber() : accepted.number;
    this.stream = stream;
    this.output = new H2Output(stream, this);
    this.host = host;
    this.startedAt = accepted === undefined ? Math.floor(now()) : accepted.startedAt;
    this.proxyProtocol = accepted?.proxyProtocol;
    this.tls = accepted?.tls;
    this.secure = host.config.ssl;
    this.reader = new FrameReader(preface);
    this.deadline = new Deadline<H2Connection>(this, expired);
    const { http2 } = this.defaultServer;
    this.prioritiesLeft = Math.max(http2.maxConcurrentStreams, 100);
    setDeadline(this.deadline, this.defaultServer.clientHeaderTimeout);
    if (accepted === undefined) {
      host.opened(this);
      host.waits(this);
      host.counters[COUNTER.waiting]++;
    } else {
      host.replaced(accepted, this);
    }
    this.greet();
  }

  private greet(): void {
    const { http2 } = this.defaultServer;
    this.output.write(
      h2.settingsFrame([
        [h2.SETTING.MAX_CONCURRENT_STREAMS, http2.maxConcurrentStreams],
        [h2.SETTING.INITIAL_WINDOW_SIZE, http2.bodyPrereadSize],
        [h2.SETTING.MAX_FRAME_SIZE, h2.MAX_FRAME_SIZE],
      ]) + h2.windowUpdate(0, h2.MAX_WINDOW - h2.DEFAULT_WINDOW),
    );
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
    for (const { config } of this.streams.values()) return config;
    return this.requests === 0 ? this.host.config : undefined;
  }

  private get defaultServer(): Server {
    return this.tls === undefined ? this.host.config.defaultServer : this.tls.server;
  }

  // ---- the stream's events

  onData(_stream: Stream, bytes: Buffer): void {
    if (this.closed || this.closing) return;
    this.opened = 0;
    this.totalBytes += bytes.length;
    this.reader.read(bytes, this);
    if (this.closed) return;
    if (this.totalBytes / 8 > this.payloadBytes + FLOOD_BYTES || this.output.unsent > this.bound) {
      this.fail(h2.ERROR.NO_ERROR, "http2 flood detected");
    }
  }

  /** Bytes that may wait to be sent: what responses have, and control frames. */
  private get bound(): number {
    return MOST_CONTROL + this.streams.size * FULL;
  }

  onDrain(): void {
    this.serveWaiting();
  }

  onSent(): void {
    if (!this.output.sending) this.outputSent();
    this.serveWaiting();
  }

  outputSent(): void {
    const { unsent } = this;
    if (unsent.length === 0) return;
    this.unsent = [];
    for (const stream of unsent) stream.onSent();
  }

  onEnd(): void {
    if (this.closed) return;
    if (this.streams.size > 0 || this.reader.incomplete) {
      this.log("client prematurely closed connection");
    } else {
      this.logIdleEnd();
    }
    this.close();
  }

  onClose(_stream: Stream, error: StreamError | undefined): void {
    this.error = true;
    clearDeadline(this.deadline);
    const sentence = error === undefined ? "client prematurely closed connection" : failureText("recv", error);
    for (const stream of [...this.streams.values()]) stream.onClosed(sentence);
    this.unsent = [];
    if (this.requests === 0 || this.streams.size === 0) this.leave();
  }

  private left = false;

  private leave(): void {
    if (this.left) return;
    this.left = true;
    if (!this.busyCounted) this.host.counters[COUNTER.waiting]--;
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

  // ---- what streams ask for

  get full(): boolean {
    return this.output.unsent > FULL;
  }

  get window(): number {
    return this.sendWindow;
  }

  get frameSize(): number {
    return this.peerFrameSize;
  }

  sendData(stream: number, bytes: Uint8Array, endStream: boolean): void {
    const { length } = bytes;
    this.sendWindow -= length;
    this.output.writeData(h2.frameHead(length, h2.DATA, endStream ? h2.FLAG.END_STREAM : 0, stream), bytes);
  }

  cork(): void {
    this.output.cork();
  }

  uncork(): void {
    this.output.uncork();
  }

  sendHeaders(stream: number, block: string, endStream: boolean): number {
    const frames = h2.headersFrames(stream, block, endStream, this.peerFrameSize);
    this.payloadBytes += frames.length;
    this.output.write(frames);
    return frames.length;
  }

  reset(stream: number, error: number): void {
    if (!this.closed) this.output.write(h2.rstStream(stream, error));
  }

  consumed(stream: number, bytes: number): void {
    if (!this.closed) this.output.write(h2.windowUpdate(stream, bytes));
  }

  wantsRoom(stream: H2Exchange): void {
    if (stream.waiting) return;
    stream.waiting = true;
    this.waiting.push(stream);
  }

  awaitSent(stream: H2Exchange): void {
    if (this.output.sending && !this.stream.closed) this.unsent.push(stream);
    else stream.onSent();
  }

  /** Serves those that wait for room in turns, a frame each, as long as there is room. */
  private serveWaiting(): void {
    const { waiting } = this;
    if (waiting.length === 0) return;
    this.cork();
    for (let turns = waiting.length; turns > 0 && !this.closed && !this.full; turns--) {
      const stream = waiting.shift();
      if (stream === undefined) break;
      stream.waiting = false;
      if (stream.onRoom()) {
        this.wantsRoom(stream);
        turns++;
      } else if (stream.blocked) {
        this.wantsRoom(stream);
      }
    }
    this.uncork();
  }

  // ---- frames

  onFrame(length: number, type: number, flags: number, id: number): boolean {
    this.length = length;
    this.type = type;
    this.flags = flags;
    this.id = id;
    if (this.blockStream !== 0 && type !== h2.CONTINUATION) {
      return this.fail(h2.ERROR.PROTOCOL_ERROR, "client sent inappropriate frame while CONTINUATION was expected");
    }
    switch (type) {
      case h2.DATA:
        return this.beginData();
      case h2.HEADERS:
      case h2.CONTINUATION:
        return this.beginBlock();
      case h2.PRIORITY:
        if (this.prioritiesLeft-- <= 0) {
          return this.fail(h2.ERROR.ENHANCE_YOUR_CALM, "client sent too many PRIORITY frames");
        }
        return length === 5 || this.wrongLength("PRIORITY");
      case h2.RST_STREAM:
        return length === 4 || this.wrongLength("RST_STREAM");
      case h2.SETTINGS:
        return this.beginSettings();
      case h2.PING:
        return length === 8 || this.wrongLength("PING");
      case h2.GOAWAY:
        return (length >= 8 && length <= h2.DEFAULT_FRAME_SIZE) || this.wrongLength("GOAWAY");
      case h2.WINDOW_UPDATE:
        return length === 4 || this.wrongLength("WINDOW_UPDATE");
      case h2.PUSH_PROMISE:
        return this.fail(h2.ERROR.PROTOCOL_ERROR, "client sent PUSH_PROMISE frame");
      default:
        return length <= h2.DEFAULT_FRAME_SIZE || this.wrongLength("unknown");
    }
  }

  private wrongLength(name: string): boolean {
    return this.fail(h2.ERROR.FRAME_SIZE_ERROR, `client sent ${name} frame with incorrect length ${this.length}`);
  }

  private wrongStream(name: string): boolean {
    return this.fail(h2.ERROR.PROTOCOL_ERROR, `client sent ${name} frame with incorrect identifier`);
  }

  onPayload(payload: Buffer): boolean {
    switch (this.type) {
      case h2.HEADERS:
        return this.takeHeaders(payload);
      case h2.CONTINUATION:
        return this.takeBlock(payload, (this.flags & h2.FLAG.END_HEADERS) !== 0);
      case h2.PRIORITY:
        return this.takePriority(payload);
      case h2.RST_STREAM:
        return this.takeReset(payload.readUInt32BE(0));
      case h2.SETTINGS:
        return this.takeSettings(payload);
      case h2.PING:
        if (this.id !== 0) return this.wrongStream("PING");
        if ((this.flags & h2.FLAG.ACK) === 0) this.output.write(h2.pingAck(payload.latin1Slice()));
        return true;
      case h2.GOAWAY:
        return this.id === 0 || this.wrongStream("GOAWAY");
      case h2.WINDOW_UPDATE:
        return this.takeWindow(payload.readUInt32BE(0) & h2.MAX_WINDOW);
      default:
        return true;
    }
  }

  onBadPreface(): boolean {
    return this.fail(h2.ERROR.PROTOCOL_ERROR, "invalid connection preface");
  }

  // ---- DATA

  private beginData(): boolean {
    const { length, id } = this;
    if (id === 0) return this.wrongStream("DATA");
    if (length > this.recvWindow) {
      const text = `received DATA frame length ${length}, available window ${this.recvWindow}`;
      return this.fail(h2.ERROR.FLOW_CONTROL_ERROR, `client violated connection flow control: ${text}`);
    }
    this.recvWindow -= length;
    if (this.recvWindow < LOW_WINDOW) {
      this.output.write(h2.windowUpdate(0, h2.MAX_WINDOW - this.recvWindow));
      this.recvWindow = h2.MAX_WINDOW;
    }
    const stream = this.streams.get(id);
    this.target = undefined;
    if (stream === undefined) return id <= this.lastStream || this.wrongStream("DATA");
    if (length > stream.body.window) {
      const text = `received DATA frame length ${length}, available window ${stream.body.window}`;
      this.resetStream(stream, h2.ERROR.FLOW_CONTROL_ERROR, `client violated flow control for stream ${id}: ${text}`);
    } else if (stream.body.ended) {
      this.resetStream(stream, h2.ERROR.STREAM_CLOSED, `client sent DATA frame for half-closed stream ${id}`);
    } else {
      this.target = stream;
    }
    return true;
  }

  onFrameData(piece: Buffer, last: boolean): boolean {
    this.payloadBytes += piece.length;
    const { target } = this;
    if (target === undefined) return true;
    const ends = last && (this.flags & h2.FLAG.END_STREAM) !== 0;
    try {
      target.body.receive(piece, ends);
    } catch (error) {
      target.onFault(error);
    }
    return !this.closed;
  }

  onBadPadding(): boolean {
    return this.fail(h2.ERROR.PROTOCOL_ERROR, `client sent padded DATA frame with incorrect length: ${this.length}`);
  }

  // ---- HEADERS

  private beginBlock(): boolean {
    const { limits } = this.defaultServer;
    // A block may take some more than its fields do, and no less than half of it.
    const most = 2 * limits.largeBuffers * limits.largeBufferSize + 1024;
    if (this.block.length + this.length > most)
      return this.fail(h2.ERROR.ENHANCE_YOUR_CALM, "client sent too large header");
    if (this.type === h2.HEADERS) return true;
    if (this.blockStream === 0) return this.fail(h2.ERROR.PROTOCOL_ERROR, "client sent unexpected CONTINUATION frame");
    if (this.id !== this.blockStream) return this.wrongStream("CONTINUATION");
    return true;
  }

  private takeHeaders(payload: Buffer): boolean {
    const { flags, id, length } = this;
    let at = 0;
    let end = payload.length;
    if ((flags & h2.FLAG.PADDED) !== 0) {
      const padding = payload[0] ?? 0;
      at = 1;
      if (padding >= length) {
        const text = `client sent padded HEADERS frame with incorrect length: ${length}, padding: ${padding}`;
        return this.fail(h2.ERROR.FRAME_SIZE_ERROR, text);
      }
      end -= padding;
    }
    const priority = (flags & h2.FLAG.PRIORITY) !== 0;
    if (end - at < (priority ? 5 : 0)) return this.wrongLength("HEADERS");
    const depend = priority ? payload.readUInt32BE(at) & h2.MAX_WINDOW : 0;
    if (priority) at += 5;
    if (at === end) {
      return this.fail(h2.ERROR.FRAME_SIZE_ERROR, "client sent HEADERS frame with empty header block");
    }
    const known = this.streams.get(id);
    if (known !== undefined && !known.body.ended && (flags & h2.FLAG.END_STREAM) !== 0) {
      // Trailers of a request.
      this.blockStream = id;
      this.blockEnds = true;
      return this.takeBlock(payload.subarray(at, end), (flags & h2.FLAG.END_HEADERS) !== 0);
    }
    if (id % 2 === 0 || id <= this.lastStream) {
      const text = `client sent HEADERS frame with incorrect identifier ${id}, the last was ${this.lastStream}`;
      return this.fail(h2.ERROR.PROTOCOL_ERROR, text);
    }
    if (depend === id) {
      return this.fail(h2.ERROR.PROTOCOL_ERROR, `client sent HEADERS frame for stream ${id} with incorrect dependency`);
    }
    this.blockStream = id;
    this.lastStream = id;
    this.blockEnds = (flags & h2.FLAG.END_STREAM) !== 0;
    return this.takeBlock(payload.subarray(at, end), (flags & h2.FLAG.END_HEADERS) !== 0);
  }

  /** A part of a header block. */
  private takeBlock(bytes: Buffer, whole: boolean): boolean {
    if (!whole && this.type === h2.HEADERS) setDeadline(this.deadline, this.defaultServer.clientHeaderTimeout);
    if (!whole || this.block.length > 0) this.block = Buffer.concat([this.block, bytes]);
    if (!whole) return true;
    const block = this.block.length > 0 ? this.block : bytes;
    const id = this.blockStream;
    this.block = NOTHING;
    this.blockStream = 0;
    const { limits } = this.defaultServer;
    const error = this.decoder.decode(block, {
      field: limits.largeBufferSize,
      all: limits.largeBuffers * limits.largeBufferSize,
    });
    if (error !== undefined) return this.fail(BLOCK_ERRORS[error.kind], error.sentence);
    this.payloadBytes += block.length;
    const known = this.streams.get(id);
    if (known === undefined) return this.begin(id, block.length);
    known.body.receive(NOTHING, true);
    return !this.closed;
  }

  /** Begins the request of the head just decoded. */
  private begin(id: number, length: number): boolean {
    const { host } = this;
    const { http2 } = this.defaultServer;
    if (this.goawaySent || id === this.timedOut) return true;
    if (this.streams.size >= http2.maxConcurrentStreams) {
      return this.refuse(id, `concurrent streams exceeded ${this.streams.size}`);
    }
    if (this.opened++ >= 2 * http2.maxConcurrentStreams) return this.refuse(id, "client sent too many streams at once");
    if (!this.settingsAcknowledged && !this.blockEnds && http2.bodyPrereadSize < h2.DEFAULT_WINDOW) {
      return this.refuse(id, "client sent stream with data before settings were acknowledged");
    }
    clearDeadline(this.deadline);
    this.requests++;
    const { config } = host;
    const memory = takeRequestMemory(config);
    const stream = new H2Exchange(this, id, config, memory, this.initialWindow, http2.bodyPrereadSize);
    stream.body.ended = this.blockEnds;
    if (this.streams.size === 0) this.becomeBusy();
    this.streams.set(id, stream);
    this.checkEnd();
    const status = memory.head.take(this.decoder, length);
    const { counters } = host;
    counters[COUNTER.requests]++;
    counters[COUNTER.writing]++;
    const request = createRequest(stream, stream, config, memory.head, memory.response);
    stream.begin(request);
    try {
      this.start(stream, request, status, memory.head.error);
    } catch (error) {
      stream.onFault(error);
    }
    return !this.closed;
  }

  private start(stream: H2Exchange, request: Request, status: number, error: string): void {
    const { fields } = stream.memory.head;
    const refused = request.badUri ? 400 : request.refused;
    if (request.contentLength < 0 && !stream.body.ended) request.chunked = true;
    stream.body.begin(request);
    if (status !== 0 || refused !== 0) {
      const sentence = status !== 0 ? error : refused === 421 ? MISDIRECTED : "client sent invalid request";
      request.discardBody = true;
      if (refused !== 500) logError(request, "info", `${sentence} while reading client request headers`);
      finalizeRequest(request, status !== 0 ? status : refused);
      return;
    }
    if (request.contentLength > 0 && stream.body.ended) {
      request.discardBody = true;
      logError(request, "info", "client prematurely closed stream while reading client request headers");
      finalizeRequest(request, 400);
      return;
    }
    if (!request.server.http2.enabled && !this.host.config.http2) {
      request.discardBody = true;
      logError(request, "info", `${DISABLED} while reading client request headers`);
      finalizeRequest(request, 421);
      return;
    }
    const { tls } = this;
    const verify = request.server.tls.verify;
    const refusal = tls === undefined || verify === "off" ? undefined : judgeCertificate(tls, verify);
    if (refusal !== undefined) {
      request.discardBody = true;
      logError(request, "info", `${refusal.sentence} while reading client request headers`);
      finalizeRequest(request, refusal.status);
      return;
    }
    if (fields.ignored !== undefined) {
      for (const sentence of fields.ignored)
        logError(request, "info", `${sentence} while reading client request headers`);
    }
    const early = request.server.earlyBody;
    if (early === undefined || request.bodyEnded) startPhases(request);
    else startWithBody(request, early);
  }

  /** keepalive_requests and keepalive_time: no more streams after these. */
  private checkEnd(): void {
    const { keepaliveTimeout, keepaliveRequests, keepaliveTime } = this.defaultServer.root.core;
    const over = keepaliveTimeout === 0 || this.requests >= keepaliveRequests || now() - this.startedAt > keepaliveTime;
    if (over) this.sayGoodbye(h2.ERROR.NO_ERROR);
  }

  private refuse(id: number, sentence: string): boolean {
    this.log(sentence);
    if (this.refused++ > Math.max(this.defaultServer.http2.maxConcurrentStreams, 100)) {
      return this.fail(h2.ERROR.NO_ERROR, "client sent too many refused streams");
    }
    this.reset(id, h2.ERROR.REFUSED_STREAM);
    return true;
  }

  private busyCounted = false;

  private becomeBusy(): void {
    if (this.busyCounted) return;
    this.busyCounted = true;
    this.host.counters[COUNTER.waiting]--;
  }

  // ---- other frames

  private takePriority(payload: Buffer): boolean {
    if (this.id === 0) return this.wrongStream("PRIORITY");
    if ((payload.readUInt32BE(0) & h2.MAX_WINDOW) !== this.id) return true;
    return this.fail(
      h2.ERROR.PROTOCOL_ERROR,
      `client sent PRIORITY frame for stream ${this.id} with incorrect dependency`,
    );
  }

  private takeReset(error: number): boolean {
    if (this.id === 0 || this.id > this.lastStream) return this.wrongStream("RST_STREAM");
    const stream = this.streams.get(this.id);
    if (stream === undefined) return true;
    const how =
      error === h2.ERROR.CANCEL
        ? `client canceled stream ${this.id}`
        : `client terminated stream ${this.id} with status ${error}`;
    stream.onClosed(how);
    return !this.closed;
  }

  private resetStream(stream: H2Exchange, error: number, sentence: string): void {
    this.reset(stream.id, error);
    stream.onClosed(sentence);
  }

  private beginSettings(): boolean {
    if (this.id !== 0) return this.wrongStream("SETTINGS");
    if ((this.flags & h2.FLAG.ACK) !== 0) {
      if (this.length === 0) return true;
      const text = `client sent SETTINGS frame with the ACK flag and nonzero length`;
      return this.fail(h2.ERROR.FRAME_SIZE_ERROR, text);
    }
    return (this.length % 6 === 0 && this.length <= h2.DEFAULT_FRAME_SIZE) || this.wrongLength("SETTINGS");
  }

  private takeSettings(payload: Buffer): boolean {
    if ((this.flags & h2.FLAG.ACK) !== 0) {
      this.settingsAcknowledged = true;
      return true;
    }
    let windowChange = 0;
    for (let at = 0; at < payload.length; at += 6) {
      const id = payload.readUInt16BE(at);
      const value = payload.readUInt32BE(at + 2);
      switch (id) {
        case h2.SETTING.INITIAL_WINDOW_SIZE:
          if (value > h2.MAX_WINDOW) {
            const text = `client sent SETTINGS frame with incorrect INITIAL_WINDOW_SIZE value ${value}`;
            return this.fail(h2.ERROR.FLOW_CONTROL_ERROR, text);
          }
          windowChange = value - this.initialWindow;
          break;
        case h2.SETTING.MAX_FRAME_SIZE:
          if (value > h2.MAX_FRAME_SIZE || value < h2.DEFAULT_FRAME_SIZE) {
            const text = `client sent SETTINGS frame with incorrect MAX_FRAME_SIZE value ${value}`;
            return this.fail(h2.ERROR.PROTOCOL_ERROR, text);
          }
          this.peerFrameSize = value;
          break;
        case h2.SETTING.ENABLE_PUSH:
          if (value > 1) {
            const text = `client sent SETTINGS frame with incorrect ENABLE_PUSH value ${value}`;
            return this.fail(h2.ERROR.PROTOCOL_ERROR, text);
          }
          break;
      }
    }
    this.output.write(h2.SETTINGS_ACK);
    if (windowChange !== 0) this.adjustWindows(windowChange);
    return !this.closed;
  }

  private adjustWindows(change: number): void {
    this.initialWindow += change;
    for (const stream of [...this.streams.values()]) {
      if (change > 0 && stream.window > h2.MAX_WINDOW - change) {
        this.resetStream(stream, h2.ERROR.FLOW_CONTROL_ERROR, `client violated flow control for stream ${stream.id}`);
      } else {
        stream.window += change;
      }
    }
    if (change > 0) this.serveWaiting();
  }

  private takeWindow(increment: number): boolean {
    const { id } = this;
    if (increment === 0) {
      const text = `client sent WINDOW_UPDATE frame with incorrect window increment 0`;
      return this.fail(h2.ERROR.PROTOCOL_ERROR, text);
    }
    if (id === 0) {
      if (increment > h2.MAX_WINDOW - this.sendWindow) {
        const text = `received WINDOW_UPDATE frame with window increment ${increment} not allowed for window ${this.sendWindow}`;
        return this.fail(h2.ERROR.FLOW_CONTROL_ERROR, `client violated connection flow control: ${text}`);
      }
      this.sendWindow += increment;
    } else {
      if (id > this.lastStream) return this.wrongStream("WINDOW_UPDATE");
      const stream = this.streams.get(id);
      if (stream === undefined) return true;
      if (increment > h2.MAX_WINDOW - stream.window) {
        const text = `received WINDOW_UPDATE frame with window increment ${increment} not allowed for window ${stream.window}`;
        this.resetStream(stream, h2.ERROR.FLOW_CONTROL_ERROR, `client violated flow control for stream ${id}: ${text}`);
        return !this.closed;
      }
      stream.window += increment;
    }
    this.serveWaiting();
    return !this.closed;
  }

  // ---- the end

  requestFreed(stream: H2Exchange, outlived: boolean): void {
    if (!outlived) giveRequestMemoryBack(stream.memory);
    if (this.streams.get(stream.id) !== stream) return;
    this.streams.delete(stream.id);
    const waits = this.waiting.indexOf(stream);
    if (waits >= 0) this.waiting.splice(waits, 1);
    if (this.stream.closed) {
      if (this.streams.size === 0) this.leave();
      return;
    }
    this.notifyFreed();
    if (this.streams.size > 0) return;
    this.busyCounted = false;
    this.host.counters[COUNTER.waiting]++;
    this.host.waits(this);
    if (this.goawaySent || this.host.exiting) this.finish();
    else setDeadline(this.deadline, this.defaultServer.root.core.keepaliveTimeout);
  }

  private sayGoodbye(error: number): void {
    if (this.goawaySent || this.closed) return;
    this.goawaySent = true;
    this.output.write(h2.goaway(this.lastStream, error));
  }

  /** No stream is left, and none will come. */
  private finish(): void {
    if (this.closing || this.closed) return;
    this.closing = true;
    clearDeadline(this.deadline);
    this.sayGoodbye(h2.ERROR.NO_ERROR);
    this.output.flush();
    const { core } = this.defaultServer.root;
    if (core.lingeringClose === "off") defer(destroyNow, this.stream);
    else new LingeringClose(this.stream, core, this);
  }

  /** A connection error (RFC 9113 section 5.4.1): the client is told, and all streams end. False. */
  private fail(error: number, sentence: string): false {
    if (this.closing || this.closed) return false;
    this.log(sentence);
    this.reader.stop();
    this.sayGoodbye(error);
    for (const stream of [...this.streams.values()]) stream.onClosed(undefined);
    this.finish();
    return false;
  }

  shutdown(): void {
    if (this.requests === 0 && this.streams.size === 0) return;
    this.sayGoodbye(h2.ERROR.NO_ERROR);
    if (this.streams.size === 0) this.finish();
  }

  destroy(): void {
    this.stream.destroy();
  }

  private close(): void {
    this.error = true;
    defer(destroyNow, this.stream);
  }

  expire(): void {
    if (this.closed || this.closing) return;
    const header =
      this.blockStream !== 0 ? this.blockStream : this.type === h2.HEADERS && this.reader.incomplete ? this.id : 0;
    if (header !== 0) {
      // The block is still to be decoded, for those that follow.
      this.timedOut = header;
      this.log("client timed out (110: Connection timed out)");
      this.reset(header, h2.ERROR.PROTOCOL_ERROR);
    } else if (this.requests === 0 || this.reader.incomplete) {
      this.fail(h2.ERROR.PROTOCOL_ERROR, "client timed out (110: Connection timed out)");
    } else {
      this.finish();
    }
  }

  private log(sentence: string): void {
    const { defaultServer } = this;
    logConnection(
      this,
      { defaultServer, listening: this.host.config.listening },
      "info",
      `${sentence} while processing HTTP/2 connection`,
    );
  }

  private logIdleEnd(): void {
    const { errorLog } = this.defaultServer.root;
    errorLog.write("info", `client ${hostText(this.remote)} closed keepalive connection`, this.number);
  }
}

const DISABLED = "client attempted to request the server name for which the negotiated protocol is disabled";
const MISDIRECTED = "client attempted to request the server name different from the one that was negotiated";

const BLOCK_ERRORS = {
  compression: h2.ERROR.COMPRESSION_ERROR,
  size: h2.ERROR.FRAME_SIZE_ERROR,
  large: h2.ERROR.ENHANCE_YOUR_CALM,
} as const;

function expired(connection: H2Connection): void {
  connection.expire();
}

function destroyNow(stream: Stream): void {
  stream.destroy();
}
