import type { Address } from "../../../src/net/address.ts";
import type { Engine } from "../../../src/net/engine.ts";
import type { ConnectHandler, Stream, StreamError, StreamHandler } from "../../../src/net/stream.ts";
import { contain } from "../../../src/sys/guard.ts";

/** More than this is queued, not sent. */
const MARK = 64 * 1024;

/**
 * Wraps an engine so that it sends asynchronously, as io_uring does: `write` copies the bytes and returns true, and they
 * are sent in the next turn. Shows that the contract demands nothing that only node:net does, and that a stream can be
 * implemented around another one, as TLS will be.
 */
export function asyncEngine(engine: Engine): Engine {
  return {
    ...engine,
    name: `async ${engine.name}`,
    connect(options, handler) {
      const stream = new AsyncStream(handler);
      stream.inner = engine.connect(options, stream);
      return stream;
    },
    listen(options, accept, failed) {
      const accepted = (inner: Stream): StreamHandler => {
        const stream = new AsyncStream(inner.handler);
        stream.inner = inner;
        stream.handler = accept(stream);
        return stream;
      };
      return engine.listen(options, accepted, failed);
    },
  };
}

class AsyncStream implements Stream, ConnectHandler {
  handler: StreamHandler;
  onPeerClosed?: () => void;
  #inner: Stream | undefined;
  #waiting: Buffer[] = [];
  #length = 0;
  #due = false;
  #scheduled = false;
  #corked = 0;
  #ending = false;

  constructor(handler: StreamHandler) {
    this.handler = handler;
  }

  get inner(): Stream {
    if (this.#inner === undefined) throw new Error("used before it was made");
    return this.#inner;
  }
  set inner(stream: Stream) {
    this.#inner = stream;
  }

  get remote(): Address {
    return this.inner.remote;
  }
  get local(): Address {
    return this.inner.local;
  }
  get closed(): boolean {
    return this.inner.closed;
  }
  get sending(): boolean {
    return !this.closed && (this.#length > 0 || this.inner.sending);
  }
  get unsent(): number {
    return this.#length + this.inner.unsent;
  }

  write(data: Uint8Array | string): boolean {
    if (this.closed || this.#ending) return true;
    if (data.length > 0) {
      this.#waiting.push(typeof data === "string" ? Buffer.from(data, "latin1") : Buffer.from(data));
      this.#length += data.length;
      if (!this.#scheduled) setImmediate(() => this.#send());
      this.#scheduled = true;
    }
    return this.#settled();
  }
  cork(): void {
    this.#corked++;
  }
  uncork(): boolean {
    this.#corked--;
    return this.#settled();
  }
  #settled(): boolean {
    if (this.closed || this.#corked > 0) return true;
    this.#due ||= this.#length + (this.inner.sending ? this.inner.unsent : 0) > MARK;
    return !this.#due;
  }

  #send(): void {
    this.#scheduled = false;
    if (this.closed) return;
    const all = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#length = 0;
    this.inner.write(all);
    if (this.#ending) this.inner.end();
    this.onSent();
  }

  pause(): void {
    const listens = this.handler.onPeerClosed !== undefined;
    this.onPeerClosed = listens ? () => this.handler.onPeerClosed?.(this) : undefined;
    this.inner.pause();
  }
  resume(): void {
    this.inner.resume();
  }
  end(): void {
    if (this.closed || this.#ending) return;
    this.#ending = true;
    if (this.#length === 0) this.inner.end();
  }
  destroy(reset?: boolean): void {
    this.inner.destroy(reset);
  }
  setNoDelay(on: boolean): void {
    this.inner.setNoDelay(on);
  }
  setKeepAlive(on: boolean, idleSeconds?: number): void {
    this.inner.setKeepAlive(on, idleSeconds);
  }

  onConnect(): void {
    if ("onConnect" in this.handler) (this.handler as ConnectHandler).onConnect(this);
  }
  onData(_inner: Stream, bytes: Buffer): void {
    this.handler.onData(this, bytes);
  }
  onDrain(): void {}
  onSent(): void {
    if (this.sending || this.closed) return;
    const { handler } = this;
    try {
      if (this.#due) {
        this.#due = false;
        handler.onDrain(this);
      }
      if (!this.closed && !this.sending) this.handler.onSent?.(this);
    } catch (error) {
      if (!contain(handler, error)) this.destroy();
    }
  }
  onEnd(): void {
    this.handler.onEnd(this);
  }
  onClose(_inner: Stream, error: StreamError | undefined): void {
    this.handler.onClose(this, error);
  }
  onFault(error: unknown): void {
    if (!contain(this.handler, error)) this.destroy();
  }
}
