import { defer } from "../../sys/guard.ts";
import { MOST_BYTES, SSL_ERROR_WANT_READ, type SslConnection } from "../../sys/openssl/ssl.ts";
import { clearDeadline, Deadline, setDeadline } from "../../sys/timers.ts";
import type { Address } from "../address.ts";
import { SlabQueue } from "../slabs.ts";
import { fault, type Stream, type StreamError, type StreamHandler } from "../stream.ts";
import { isCleanEnd, tlsError } from "./errors.ts";

/** What is written while a stream is corked goes into as few records as possible: these bytes are that stream's. */
const GATHERED_BYTES = 16 * 1024;
const gathered = Buffer.allocUnsafeSlow(GATHERED_BYTES);
let gatheredLength = 0;
let gatherer: TlsStream | undefined;

/** How long the last bytes may take to leave: nginx's time for a shutdown. */
export const LEAVING_MS = 3000;

/** What OpenSSL answers by itself (to KeyUpdates, say) goes to a peer that takes none of it, up to so many bytes. */
const MOST_REPLIES = 64 * 1024;
const TAKES_NOTHING = "peer asks for what it does not take";

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
  /** It is closed, but for the last bytes, which have to leave. */
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
  /** Written within a message of the peer's to TLS itself: nothing can be encrypted before that is complete. */
  private waiting: SlabQueue | undefined = undefined;
  /** `write` has answered false because of that. */
  private draining = false;
  /** Bytes written since the inner stream has last sent all, and what they came to; lost: dropped unencrypted. */
  private flight = 0;
  private flightEncrypted = 0;
  private lost = 0;
  private replies = 0;

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
    return !this.closed && (this.inner.sending || this.waiting !== undefined);
  }

  /** In proportion: the inner stream knows only what the bytes were encrypted to. */
  get unsent(): number {
    const { flight, flightEncrypted, waiting } = this;
    const { unsent } = this.inner;
    const encrypted = flight === 0 ? 0 : Math.min(flight, Math.ceil((unsent * flight) / flightEncrypted));
    return this.lost + encrypted + (waiting === undefined ? 0 : waiting.length);
  }

  // ---- writing

  write(data: Uint8Array | string): boolean {
    if (this.closed || this.shut) return true;
    if (this.corked > 0 && this.gather(data)) return true;
    if (gatherer === this) this.sendGathered();
    if (data.length > 0) this.encrypt(data);
    return this.settled();
  }

  /** What `write` answers. */
  private settled(): boolean {
    if (this.waiting === undefined) return this.inner.write("");
    if (this.corked > 0 || this.closed) return true;
    this.draining = true;
    return false;
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
    if (this.closed) this.lost += length;
    else if (length > 0) this.encrypt(gathered.subarray(0, length));
  }

  private encrypt(data: Uint8Array | string): void {
    const done = this.waiting === undefined ? this.encryptFrom(data) : 0;
    if (done === data.length) return;
    if (this.closed) {
      this.lost += data.length - done;
      return;
    }
    this.waiting ??= new SlabQueue();
    this.waiting.push(typeof data === "string" ? Buffer.from(data.slice(done), "latin1") : data.subarray(done));
  }

  /** Returns how many bytes were encrypted: fewer than all if it failed, or cannot be now. */
  private encryptFrom(data: Uint8Array | string): number {
    const { ssl, recordSize } = this;
    const { length } = data;
    const most = recordSize === GATHERED_BYTES ? MOST_BYTES : recordSize;
    if (!this.inner.sending) {
      this.flight = 0;
      this.flightEncrypted = 0;
    }
    for (let at = 0; at < length; ) {
      if (this.closed) return at;
      const end = Math.min(at + most, length);
      const error = ssl.write(data, at, end);
      this.flightEncrypted += this.sendOutput();
      if (error !== 0) {
        if (error !== SSL_ERROR_WANT_READ) this.refuse(tlsError("SSL_write()", error));
        return at;
      }
      this.flight += end - at;
      at = end;
    }
    return length;
  }

  /** Encrypts what has waited. An event. */
  private encryptWaiting(waiting: SlabQueue): void {
    while (waiting.length > 0) {
      const first = waiting.first();
      const done = this.encryptFrom(first);
      waiting.drop(done);
      if (done < first.length) return;
    }
    this.waiting = undefined;
    if (this.shut) this.sendEnd();
    if (this.draining) {
      this.draining = false;
      if (!this.inner.write("")) return;
      this.handler.onDrain(this);
    }
    if (!this.closed && !this.sending) this.onSent();
  }

  /** Gives the inner stream what OpenSSL has for the peer; returns how many bytes. */
  sendOutput(): number {
    const output = this.ssl.takeOutput();
    if (output === undefined) return 0;
    // Its bytes may be others' when `write` returns.
    const { length } = output;
    this.inner.write(output);
    return length;
  }

  /** The same after a read. */
  private sendReplies(): void {
    const taken = !this.inner.sending;
    const sent = this.sendOutput();
    if (sent === 0) return;
    if (taken) this.replies = 0;
    this.replies += sent;
    if (this.replies > MOST_REPLIES) {
      this.refuse({ code: "EPROTO", message: TAKES_NOTHING, sentence: TAKES_NOTHING });
    }
  }

  cork(): void {
    this.corked++;
    this.inner.cork();
  }

  uncork(): boolean {
    this.corked--;
    if (this.corked === 0 && gatherer === this) this.sendGathered();
    const { inner } = this;
    const more = inner.uncork();
    if (this.leaving && !inner.sending) inner.destroy();
    return this.waiting === undefined ? more : this.settled();
  }

  // ---- reading

  onData(_inner: Stream, bytes: Buffer): void {
    if (this.ended || this.leaving) return;
    if (this.paused || this.held !== undefined) {
      this.held = this.held === undefined ? Buffer.from(bytes) : Buffer.concat([this.held, bytes]);
      return;
    }
    this.decrypt(bytes);
  }

  /** What the SSL has left of what it was given, and then these bytes. */
  decrypt(bytes: Buffer): void {
    const { ssl } = this;
    const { length } = bytes;
    if (ssl.hasPending && !this.paused) this.readAll();
    for (let at = 0; at < length; at += MOST_BYTES) {
      if (this.closed || this.ended) return;
      if (this.paused) {
        this.held = at === 0 ? Buffer.from(bytes) : Buffer.from(bytes.subarray(at));
        return;
      }
      ssl.receive(length <= MOST_BYTES ? bytes : bytes.subarray(at, at + MOST_BYTES));
      this.readAll();
    }
  }

  private readAll(): void {
    this.reading = true;
    let more = true;
    while (more && !this.paused && !this.closed && !this.ended) more = this.readOnce();
    this.reading = false;
    if (this.closed || this.ended) this.ssl.drop();
    const { waiting } = this;
    if (waiting !== undefined && !this.closed) this.encryptWaiting(waiting);
  }

  private readOnce(): boolean {
    const { ssl } = this;
    const count = ssl.read();
    this.sendReplies();
    if (count > 0) {
      const { handler } = this;
      try {
        handler.onData(this, ssl.readBytes(count));
      } catch (error) {
        fault(this, handler, error);
      }
      return ssl.hasPending;
    }
    const error = -count;
    if (error !== SSL_ERROR_WANT_READ) this.readFailed(error);
    return false;
  }

  private readFailed(error: number): void {
    if (!isCleanEnd(error)) this.refuse(tlsError("SSL_read()", error));
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
    this.closeIfOver();
  }

  /** Both sides have said that they send no more; that may have been in TLS alone. */
  private closeIfOver(): void {
    if (this.shut && this.ended && !this.closed && !this.sending) this.inner.destroy();
  }

  pause(): void {
    if (this.closed) return;
    this.paused = true;
    this.inner.pause();
  }

  resume(): void {
    if (!this.paused || this.closed) return;
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
    if (this.leaving) return;
    if (this.waiting === undefined) this.handler.onDrain(this);
    else this.draining = true;
  }

  onSent(): void {
    if (this.leaving) {
      this.inner.destroy();
      return;
    }
    if (this.waiting !== undefined) return;
    this.handler.onSent?.(this);
    this.closeIfOver();
  }

  onEnd(): void {
    if (this.held !== undefined || this.paused || this.resuming) this.endHeld = true;
    else this.reportEnd();
  }

  get onPeerClosed(): ((stream: Stream) => void) | undefined {
    return this.leaving || this.handler.onPeerClosed === undefined ? undefined : peerClosed;
  }

  onClose(_inner: Stream, error: StreamError | undefined): void {
    if (gatherer === this) {
      this.lost += gatheredLength;
      gatherer = undefined;
      gatheredLength = 0;
    }
    if (this.waiting !== undefined) {
      this.lost += this.waiting.length;
      this.waiting.clear();
      this.waiting = undefined;
    }
    const failure = this.failure ?? (this.leaving ? undefined : error);
    this.leaving = true;
    if (this.deadline !== undefined) clearDeadline(this.deadline);
    try {
      // What the handshake has agreed on may be logged now.
      this.handler.onClose(this, failure);
    } finally {
      this.ssl.free();
    }
  }

  /** An exception in one of the above, which are calls of the handler's. */
  onFault(error: unknown): void {
    fault(this, this.handler, error);
  }

  // ---- the end

  end(): void {
    if (this.closed || this.shut) return;
    if (gatherer === this) this.sendGathered();
    this.shut = true;
    if (this.waiting === undefined) this.sendEnd();
  }

  private sendEnd(): void {
    this.ssl.shutdown();
    this.sendOutput();
    this.inner.end();
    this.closeIfOver();
  }

  /** The peer is told, where its socket has room for it (ngx_ssl_shutdown). */
  destroy(reset?: boolean): void {
    const { inner } = this;
    if (this.closed && !reset) return;
    if (reset || this.shut || this.waiting !== undefined || inner.sending) {
      inner.destroy(reset);
      return;
    }
    this.ssl.shutdown();
    this.sendOutput();
    this.leave();
  }

  /** Closes with an error, once the peer has been told what `sendOutput` has sent. */
  refuse(error: StreamError): void {
    if (this.closed) return;
    this.failure = error;
    this.leave();
  }

  private leave(): void {
    const { inner } = this;
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
