import type { Peer } from "../../../balancer/peer.ts";
import { type Pool, PooledStream } from "../../../balancer/pool.ts";
import type { ConnectOptions } from "../../../net/engine.ts";
import { IGNORE, type Stream, type StreamError, type StreamHandler } from "../../../net/stream.ts";
import type { Level } from "../../../runtime/log/log.ts";
import { now } from "../../../sys/clock.ts";
import { logFault } from "../../../sys/guard.ts";
import * as h2 from "../../../wire/h2/frames.ts";
import { StreamTable } from "../../../wire/h2/stream_table.ts";
import { Connecting, type ConnectingOwner } from "../connecting.ts";
import type { TlsChoice } from "../tls.ts";
import { type FramesOwner, ServerFrames, type StreamFrames } from "./frames.ts";
import { FIRST_WINDOW } from "./inbound.ts";
import { ServerOutput } from "./output.ts";
import { byLastSent, ReadEnd } from "./read_end.ts";
import { ServerStream, type StreamOwner } from "./stream.ts";

/** How many streams a server is thought to take until it says so (RFC 9113 section 6.5.2). */
const STREAMS = 100;

/** What a connection begins with: no table of fields, no push, and no window of the connection, as each stream has its own. */
const GREETING =
  h2.PREFACE +
  h2.settingsFrame([
    [h2.SETTING.HEADER_TABLE_SIZE, 0],
    [h2.SETTING.ENABLE_PUSH, 0],
    [h2.SETTING.INITIAL_WINDOW_SIZE, FIRST_WINDOW],
  ]) +
  h2.windowUpdate(0, h2.MAX_WINDOW - h2.DEFAULT_WINDOW);

/** A connection of HTTP/2 to a server, which carries the streams of several requests. */
export class H2ServerConnection implements StreamHandler, ConnectingOwner, FramesOwner, StreamOwner {
  readonly pooled: PooledStream;
  readonly output: ServerOutput;
  reads = 0;
  reading = false;
  /** Nothing more is read from it. */
  dead = false;
  /** Until it is open. */
  private connecting: Connecting | undefined;
  private stream: Stream;
  private readonly keepsAlive: boolean;
  private readonly frames: ServerFrames;
  private readonly streams = new StreamTable<ServerStream>();
  /** Those that wait until it is open. */
  private waiting: ServerStream[] = [];
  /** Those that no request uses. */
  private readonly free: ServerStream[] = [];
  private readonly readEnd = new ReadEnd<ServerStream>();
  private lastId = -1;
  /** No further stream is opened. */
  private retired = false;

  /** `identity`: what is in the pool under another one is not for its requests. */
  constructor(
    peer: Peer,
    identity: string,
    tls: TlsChoice | undefined,
    options: ConnectOptions,
    socketKeepalive: boolean,
  ) {
    this.connecting = new Connecting(this, peer.name, tls);
    this.stream = this.connecting.connect(options);
    this.keepsAlive = socketKeepalive;
    this.pooled = new PooledStream(this.stream, peer.name, Math.floor(now()), identity);
    this.pooled.data = this;
    this.pooled.watch = this;
    this.pooled.streams = 0;
    this.pooled.most = STREAMS;
    this.frames = new ServerFrames(this);
    this.output = new ServerOutput(this.stream);
  }

  /** A stream for another request, which begins it at once. */
  join(): ServerStream {
    const { pooled } = this;
    if (pooled.streams++ === 0 && this.connecting === undefined) this.stream.handler = this;
    const stream = this.free.pop() ?? new ServerStream(this);
    if (this.connecting !== undefined) this.waiting.push(stream);
    return stream;
  }

  // ---- the streams

  get opening(): string | undefined {
    return this.connecting?.doing;
  }

  get reused(): boolean {
    return this.pooled.requests > 1;
  }

  open(stream: ServerStream): void {
    this.lastId += 2;
    stream.id = this.lastId;
    this.streams.add(stream);
    // The numbers of streams do not begin again.
    if (this.lastId > h2.MAX_WINDOW - 4) this.retire();
  }

  write(bytes: string): void {
    this.output.put(bytes);
  }

  touch(stream: ServerStream): void {
    if (this.reading) this.readEnd.answer(stream);
  }

  giveRoom(stream: ServerStream): void {
    this.readEnd.room(stream);
  }

  reset(id: number, error: number): void {
    if (!this.dead && !this.stream.closed) this.write(h2.rstStream(id, error));
  }

  onRefusal(): void {
    const { pooled } = this;
    pooled.most = Math.min(pooled.most, Math.max(1, pooled.streams - 1));
  }

  retire(): void {
    this.retired = true;
    this.pooled.most = 0;
    this.pooled.sharedBy?.unshare(this.pooled);
  }

  leave(stream: ServerStream, place: string, pool: Pool | undefined): boolean {
    const { pooled } = this;
    if (stream.id === 0) this.waiting = this.waiting.filter((one) => one !== stream);
    else this.streams.remove(stream);
    this.frames.expectLate(stream.answer.room);
    pooled.streams--;
    if (this.dead || this.stream.closed) return false;
    if (pooled.streams > 0) {
      this.free.push(stream);
      return true;
    }
    if (pooled.most === 0 || this.connecting !== undefined || pool === undefined) {
      this.close();
      return false;
    }
    pooled.sharedBy?.unshare(pooled);
    if (!pool.put(pooled, place)) {
      this.close();
      return false;
    }
    this.free.length = 0;
    this.free.push(stream);
    return true;
  }

  /** Nothing more is read from it. Whoever is told of that and asks the same server again must not join those that are. */
  private die(): void {
    this.dead = true;
    this.retire();
  }

  /** It is of no use any more. */
  private close(): void {
    const { pooled, stream } = this;
    this.die();
    pooled.pool?.remove(pooled);
    pooled.leave();
    this.output.close();
    stream.handler = IGNORE;
    stream.destroy();
  }

  // ---- connecting

  log(level: Level, sentence: string): void {
    for (const stream of this.waiting) stream.log(level, sentence);
  }

  onHandshake(stream: Stream): void {
    this.stream = stream;
    this.output.stream = stream;
    this.pooled.stream = stream;
  }

  onConnected(stream: Stream): void {
    this.connecting = undefined;
    stream.handler = this;
    if (this.keepsAlive) stream.setKeepAlive(true);
    const { waiting } = this;
    this.waiting = [];
    this.write(GREETING);
    for (const one of waiting) one.onConnected();
  }

  nextUpstream(condition: string): void {
    this.die();
    const { waiting } = this;
    for (const stream of [...waiting]) stream.onConnectFailure(condition);
    this.close();
  }

  finalize(code: number): void {
    this.die();
    for (const stream of [...this.waiting]) stream.finalize(code);
    this.close();
  }

  // ---- events of the stream

  onData(_stream: Stream, bytes: Buffer): void {
    this.reads++;
    this.reading = true;
    try {
      this.frames.read(bytes);
    } finally {
      this.reading = false;
      this.readEnd.tell();
    }
    // A server that reads nothing is sent no more than that.
    if (!this.dead && this.output.unsent > MOST_UNSENT + this.pooled.streams * UNSENT_OF_ONE)
      this.fail("upstream does not read what it asks for", h2.ERROR.ENHANCE_YOUR_CALM);
  }

  onDrain(): void {
    this.output.onDrain();
    for (const stream of this.streams.all().sort(byLastSent)) stream.outbound.onRoom();
  }

  onSent(): void {
    this.output.tellSent();
  }

  onEnd(): void {
    this.end(undefined);
  }

  onClose(_stream: Stream, error: StreamError | undefined): void {
    this.end(error);
  }

  /** The server has closed it. */
  private end(error: StreamError | undefined): void {
    if (this.dead) return;
    this.die();
    for (const stream of this.streams.all()) stream.onConnectionClose(error);
    this.close();
  }

  onFault(error: unknown): void {
    logFault(error, ` on a connection to ${this.pooled.name}`);
    this.fail("the connection has failed", h2.ERROR.INTERNAL_ERROR);
  }

  // ---- its frames

  streamOf(id: number): StreamFrames | undefined {
    return this.streams.get(id);
  }

  get requested(): number {
    return this.output.requested;
  }

  wasOpened(id: number): boolean {
    return id % 2 === 1 && id <= this.lastId;
  }

  onSetting(id: number, value: number): boolean {
    switch (id) {
      case h2.SETTING.INITIAL_WINDOW_SIZE:
        return this.setInitialWindow(value);
      case h2.SETTING.MAX_CONCURRENT_STREAMS:
        if (!this.retired) this.pooled.most = value;
        if (value === 0 && this.pooled.streams === 0) this.close();
        return !this.dead;
      case h2.SETTING.HEADER_TABLE_SIZE:
        this.output.tableChanged = true;
        return true;
      default:
        // The size of frames that it takes is no less than ours.
        return true;
    }
  }

  private setInitialWindow(value: number): boolean {
    if (value > h2.MAX_WINDOW) {
      this.fail(
        `upstream sent settings frame with too large initial window size: ${value}`,
        h2.ERROR.FLOW_CONTROL_ERROR,
      );
      return false;
    }
    const grows = value > this.output.initialWindow;
    this.output.initialWindow = value;
    for (const stream of this.streams.all()) {
      if (stream.outbound.overflows) {
        stream.breakOff("upstream sent too large initial window size", h2.ERROR.FLOW_CONTROL_ERROR);
      } else if (grows) {
        this.readEnd.room(stream);
      }
    }
    return !this.dead;
  }

  onWindow(increment: number): boolean {
    const { output } = this;
    if (increment > h2.MAX_WINDOW - output.window) return false;
    const shut = output.window <= 0;
    output.window += increment;
    // Else no stream has waited for it.
    if (shut && output.window > 0) for (const stream of this.streams.all()) this.readEnd.room(stream);
    return true;
  }

  onGoaway(last: number, error: number): void {
    this.retire();
    if (this.pooled.streams === 0) {
      this.close();
      return;
    }
    for (const stream of this.streams.all()) if (stream.id > last) stream.onGoaway(error);
  }

  fail(sentence: string, error: number, block = false): void {
    if (this.dead) return;
    this.die();
    this.write(h2.goaway(0, error));
    this.output.flush();
    for (const stream of this.streams.all()) stream.fail(sentence, block);
    this.close();
  }
}

/** How much may wait for a server that does not read: answers to its control frames, and what requests have. */
const MOST_UNSENT = 256 * 1024;
const UNSENT_OF_ONE = 256 * 1024;
