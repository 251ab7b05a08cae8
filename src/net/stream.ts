import type { Address } from "./address.ts";

/**
 * The one interface the protocols see: a reliable byte stream (tcp, unix, later tls and the epoll engine). No Node
 * stream or socket object passes above it; addresses and errors are plain values.
 */
export interface Stream {
  /** Who gets the events. Set before the first event can fire; may be swapped at any time (pools, upgrade). */
  handler: StreamHandler;
  readonly remote: Address;
  readonly local: Address;

  /**
   * Sends bytes; a string is a byte string (latin1). The bytes are taken before it returns: the caller may reuse the
   * buffer. Returns false while anything is queued, that is, was not taken by the kernel: stop until `onDrain`, which also
   * ends a response. Safe after close (ignored).
   */
  write(data: Uint8Array | string): boolean;
  /** Between cork and uncork writes are gathered into one; `uncork` answers for them as `write` does. */
  cork(): void;
  uncork(): boolean;
  /** Not 0 while anything is queued; a write under way counts whole. */
  readonly queued: number;
  /** The bytes given to `write` that the kernel has not taken, to the byte; on a closed stream, those that were lost. */
  readonly unsent: number;

  /**
   * Stops and resumes `onData`. A paused stream still reports that its peer is gone, where the handler listens for that
   * (`onPeerClosed`): a connection that failed is closed, with what had come lost.
   */
  pause(): void;
  resume(): void;

  /** Half-closes after what is queued was sent. */
  end(): void;
  /** Closes once what is queued was sent. */
  close(): void;
  /** Closes now; what is queued is lost. With `reset`, the peer sees RST instead of FIN (reset_timedout_connection). */
  destroy(reset?: boolean): void;
  /** True once destroyed or closed; no further event comes. */
  readonly closed: boolean;

  /** tcp_nodelay; TCP keep-alive with optional idle seconds. No-ops on unix sockets. */
  setNoDelay(on: boolean): void;
  setKeepAlive(on: boolean, idleSeconds?: number): void;
}

/**
 * Callbacks are called one at a time, never from within a call into the stream except `write` failing to a dead peer.
 * An exception that leaves one is contained: a handler that is a FaultOwner (sys/guard.ts) ends what it was at work
 * on, else the exception is logged and the stream destroyed.
 */
export interface StreamHandler {
  /** `bytes` is lent for the length of the call: whoever keeps bytes copies them. It may be written to meanwhile. */
  onData(stream: Stream, bytes: Buffer): void;
  /** The write queue is empty again after `write` returned false. */
  onDrain(stream: Stream): void;
  /** The peer half-closed: no more `onData`. Writing may go on. */
  onEnd(stream: Stream): void;
  /**
   * While paused: the peer has half-closed, and what it sent before is still to be read; `onEnd` follows that. Called now
   * and then until resumed. A handler without it gets all bytes first, and then hears of an end or a failure.
   */
  onPeerClosed?(stream: Stream): void;
  /** The stream is gone; `error` says why when it did not end by itself. Last event. */
  onClose(stream: Stream, error: StreamError | undefined): void;
}

/** Hears of nothing: for a stream that is to be destroyed, or was. */
export const IGNORE: StreamHandler = { onData() {}, onDrain() {}, onEnd() {}, onClose() {} };

/** `code` is the errno name (ECONNRESET …), `message` nginx's text `(104: Connection reset by peer)` without parentheses. */
export interface StreamError {
  readonly code: string;
  readonly message: string;
}

/** Handler that gets `onConnect` first; a failed connect is `onClose` with the error and no `onConnect`. */
export interface ConnectHandler extends StreamHandler {
  onConnect(stream: Stream): void;
}
