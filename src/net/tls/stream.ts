import { defer } from "../../sys/guard.ts";
import { MOST_BYTES, SSL_ERROR_WANT_READ, type SslConnection } from "../../sys/openssl/ssl.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import type { Address } from "../address.ts";
import { fault, type Stream, type StreamError, type StreamHandler } from "../stream.ts";
import { isCleanEnd, tlsError } from "./errors.ts";

/** What is written while a stream is corked goes into as few records as possible: these bytes are that stream's. */
const GATHERED_BYTES = 16 * 1024;
const gathered = Buffer.allocUnsafeSlow(GATHERED_BYTES);
let gatheredLength = 0;
let gatherer: TlsStream | undefined;

/** How long the last bytes may take to leave: nginx's time for a shutdown. */
export const LEAVING_MS = 3000;

/**
 * A Stream around a Stream, once the handshake is complete. What the peer sends is decrypted as it comes, what is written is
 * encrypted at once and is the inner stream's from then on.
 */
export class TlsStream implements Stream, StreamHandler {
  handler: StreamHandler;
  readonly inner: Stream;
  readonly ssl: SslConnection;
  /** The most bytes of a record (ssl_buffer_size). */
  private readonly recordSize: number;
  private corked = 0;
  private paused = false;
  /** `destroy` was called, and waits for the last bytes to leave. */
  private leaving = false;
  private deadline: Deadline<Stream> | undefined = undefined;
  private failure: StreamError | undefined = undefined;
  /** Received and not yet decrypted, because the stream is paused. */
  private held: Buffer | undefined = undefined;
  /** The peer has said that it sends no more, and `onEnd` has followed. */
  private ended = false;
  /** Our side has. */
  private shut = false;
  private reading = false;
  private resuming = false;
  /** The inner stream's `onEnd` came while bytes were held. */
  private endHeld = false;

  constructor(inner: Stream, ssl: SslConnection, handler: StreamHandler, recordSize: number) {
    this.inner = inner;
    this.ssl = ssl;
    this.handler = handler;
    this.recordSize = Math.min(recordSize, MOST_BYTES);
  }

  get remote(): Address {
    return this.inner.remote;
  }

  get local(): Address {
    return this.inner.local;
  }

  get closed(): boolean {
    return this.leaving || this.inner.closed;
  }

  get sending(): boolean {
    return !this.closed && this.inner.sending;
  }

  get unsent(): number {
    return this.inner.unsent;
  }

  // ---- writing

  write(data: Uint8Array | string): boolean {
    if (this.closed || this.shut) return true;
    if (this.corked > 0 && this.gather(data)) return true;
    this.encrypt(data);
    return this.inner.write("");
  }

  /** Keeps a few bytes for the record that follows. */
  private gather(data: Uint8Array | string): boolean {
    if (data.length > GATHERED_BYTES) return false;
    if (gatherer !== this || gatheredLength + data.length > GATHERED_BYTES) {
      gatherer?.sendGathered();
      gatherer = this;
    }
    if (typeof data === "string") gathered.latin1Write(data, gatheredLength, data.length);
    else gathered.set(data, gatheredLength);
    gatheredLength += data.length;
    return true;
  }

  private sendGathered(): void {
    const length = gatheredLength;
    gatherer = undefined;
    gatheredLength = 0;
    if (length > 0 && !this.closed && !this.shut) this.encryptAll(gathered.subarray(0, length));
  }

  private encrypt(data: Uint8Array | string): void {
    if (gatherer === this) this.sendGathered();
    if (data.length > 0) this.encryptAll(data);
  }

  private encryptAll(data: Uint8Array | string): void {
    const { ssl, recordSize } = this;
    const most = recordSize === GATHERED_BYTES ? MOST_BYTES : recordSize;
    for (let at = 0; at < data.length && !this.closed; at += most) {
      const error = ssl.write(data, at, Math.min(at + most, data.length));
      this.sendOutput();
      if (error !== 0) this.fail(tlsError("SSL_write()", error));
    }
  }

  /** Gives the inner stream what OpenSSL has for the peer. */
  sendOutput(): void {
    for (let output = this.ssl.takeOutput(); output !== undefined; output = this.ssl.takeOutput()) {
      this.inner.write(output);
    }
  }

  cork(): void {
    this.corked++;
    this.inner.cork();
  }

  uncork(): boolean {
    this.corked--;
    if (this.corked === 0 && gatherer === this) this.sendGathered();
    return this.inner.uncork();
  }

  // ---- reading

  onData(_inner: Stream, bytes: Buffer): void {
    if (this.paused || this.held !== undefined) {
      this.held = this.held === undefined ? Buffer.from(bytes) : Buffer.concat([this.held, bytes]);
      return;
    }
    this.decrypt(bytes);
  }

  /** Bytes that came behind the handshake, and what is held in the SSL. */
  decrypt(bytes: Buffer): void {
    for (let at = 0; at < bytes.length || at === 0; at += MOST_BYTES) {
      if (this.paused && at > 0) {
        this.held = Buffer.from(bytes.subarray(at));
        return;
      }
      if (bytes.length > 0) this.ssl.receive(bytes.subarray(at, at + MOST_BYTES));
      if (!this.readAll(bytes.length)) return;
    }
  }

  /** False if nothing more is to be read now. What was received may be needed to write as well, as after a KeyUpdate. */
  private readAll(received: number): boolean {
    const { ssl } = this;
    this.reading = true;
    let more = true;
    while (more && !this.paused && !this.closed) more = this.readOnce(received);
    this.reading = false;
    if (this.inner.closed) {
      ssl.takeUnused();
      return false;
    }
    const unused = this.paused || this.leaving ? ssl.takeUnused() : undefined;
    if (unused !== undefined && !this.leaving) this.held = unused;
    return !this.paused && !this.closed;
  }

  private readOnce(received: number): boolean {
    const { ssl } = this;
    const count = ssl.read();
    this.sendOutput();
    if (count > 0) {
      const { handler } = this;
      try {
        handler.onData(this, ssl.readBytes(count));
      } catch (error) {
        fault(this, handler, error);
      }
      return received > GATHERED_BYTES || ssl.hasPending;
    }
    const error = -count;
    if (error !== SSL_ERROR_WANT_READ) this.readFailed(error);
    return false;
  }

  private readFailed(error: number): void {
    if (!isCleanEnd(error)) this.fail(tlsError("SSL_read()", error));
    else this.reportEnd();
  }

  /** The peer sends no more. */
  private reportEnd(): void {
    if (this.ended || this.closed) return;
    this.ended = true;
    const { handler } = this;
    try {
      handler.onEnd(this);
    } catch (error) {
      fault(this, handler, error);
    }
  }

  pause(): void {
    this.paused = true;
    this.inner.pause();
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    if (this.reading || (this.held === undefined && !this.endHeld && !this.ssl.hasPending)) {
      this.inner.resume();
      return;
    }
    if (this.resuming) return;
    this.resuming = true;
    defer(readHeld, this);
  }

  /** To be called by `readHeld`. */
  readHeld(): void {
    this.resuming = false;
    if (this.paused || this.closed) return;
    const held = this.held ?? NOTHING;
    this.held = undefined;
    this.decrypt(held);
    if (this.paused || this.closed) return;
    if (this.endHeld) this.reportEnd();
    else this.inner.resume();
  }

  // ---- the inner stream's other events

  onDrain(): void {
    if (!this.leaving) this.handler.onDrain(this);
  }

  onSent(): void {
    if (this.leaving) this.inner.destroy();
    else this.handler.onSent?.(this);
  }

  onEnd(): void {
    if (this.held !== undefined || this.paused) this.endHeld = true;
    else this.reportEnd();
  }

  get onPeerClosed(): ((stream: Stream) => void) | undefined {
    return this.handler.onPeerClosed === undefined ? undefined : peerClosed;
  }

  onClose(_inner: Stream, error: StreamError | undefined): void {
    if (gatherer === this) {
      gatherer = undefined;
      gatheredLength = 0;
    }
    this.leaving = true;
    if (this.deadline !== undefined) clearDeadline(this.deadline);
    try {
      // What the handshake has agreed on may be logged now.
      this.handler.onClose(this, this.failure ?? error);
    } finally {
      this.ssl.free();
    }
  }

  /** An exception in one of the above, which are calls of the handler's. */
  onFault(error: unknown): void {
    fault(this, this.handler, error);
  }

  // ---- the end

  private fail(error: StreamError): void {
    this.failure ??= error;
    this.inner.destroy();
  }

  end(): void {
    if (this.closed || this.shut) return;
    if (gatherer === this) this.sendGathered();
    this.shut = true;
    this.ssl.shutdown();
    this.sendOutput();
    this.inner.end();
  }

  /** The peer is told, where its socket has room for it (ngx_ssl_shutdown). */
  destroy(reset?: boolean): void {
    const { inner } = this;
    if (this.closed) return;
    if (reset || this.shut || inner.sending) {
      inner.destroy(reset);
      return;
    }
    this.ssl.shutdown();
    this.sendOutput();
    this.leaving = true;
    if (!inner.sending) {
      inner.destroy();
      return;
    }
    inner.pause();
    this.deadline = new Deadline<Stream>(inner, destroyNow);
    setDeadline(this.deadline, LEAVING_MS);
  }

  setNoDelay(on: boolean): void {
    this.inner.setNoDelay(on);
  }

  setKeepAlive(on: boolean, idleSeconds?: number): void {
    this.inner.setKeepAlive(on, idleSeconds);
  }
}

function destroyNow(inner: Stream): void {
  inner.destroy();
}

const NOTHING = Buffer.alloc(0);

function readHeld(stream: TlsStream): void {
  stream.readHeld();
}

function peerClosed(inner: Stream): void {
  const { handler } = inner;
  if (handler instanceof TlsStream) handler.handler.onPeerClosed?.(handler);
}
