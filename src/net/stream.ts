import type { Address } from "./address.ts";

/**
 * The contract between the protocols and whatever moves their bytes: a reliable byte stream (tcp, unix; later TLS, which
 * is a Stream around a Stream). No Node stream or socket object passes above it; addresses and errors are plain values.
 * test/net/contract states it in scenarios that every engine has to pass.
 */
export interface Stream {
  /** Who gets the events. Set before the first event can fire; may be swapped at any time (pools, upgrade). */
  handler: StreamHandler;
  readonly remote: Address;
  readonly local: Address;

  /**
   * Sends bytes; a string is a byte string (latin1). The bytes are taken before it returns: the caller may reuse the
   * buffer. True: go on. False: bytes are queued behind what the kernel has not taken yet; stop until `onDrain`. No bytes
   * at all ask for just that answer. After `end`, and on a closed stream, nothing is taken, and the answer is true.
   */
  write(data: Uint8Array | string): boolean;
  /** Between cork and uncork writes are gathered into one, and answer true; `uncork` answers for all of them. */
  cork(): void;
  uncork(): boolean;
  /**
   * The kernel has not taken all that was written; `onSent` follows. An engine that sends beside the program may be
   * sending though `write` answered true. A closed stream is not.
   */
  readonly sending: boolean;
  /** The bytes given to `write` that the kernel has not taken, to the byte; on a closed stream, those that were lost. */
  readonly unsent: number;

  /**
   * Stops and resumes `onData`; neither calls it. A paused stream still reports that its peer is gone, where the handler
   * listens for that (`onPeerClosed`): a connection that failed is closed, with what had come lost.
   */
  pause(): void;
  resume(): void;

  /** Half-closes after all that was written has been sent. Reading goes on; once the peer has ended too, the stream closes. */
  end(): void;
  /** Closes now; what was not sent is lost. With `reset`, a TCP peer sees RST instead of FIN (reset_timedout_connection). */
  destroy(reset?: boolean): void;
  /** True from `destroy` or a failure on: no event comes any more but `onClose`. */
  readonly closed: boolean;

  /** tcp_nodelay; TCP keep-alive with optional idle seconds. No-ops on unix sockets. */
  setNoDelay(on: boolean): void;
  setKeepAlive(on: boolean, idleSeconds?: number): void;
}

/**
 * Callbacks are called one at a time, never from within a call into the stream. An exception that leaves one is
 * contained: a handler that is a FaultOwner (sys/guard.ts) ends what it was at work on, else the exception is logged
 * with [alert] and the stream destroyed.
 */
export interface StreamHandler {
  /** `bytes` is lent for the length of the call: whoever keeps bytes copies them. It may be written to meanwhile. */
  onData(stream: Stream, bytes: Buffer): void;
  /** After `write` or `uncork` answered false: nothing is queued any more. */
  onDrain(stream: Stream): void;
  /**
   * `sending` has come to an end: the kernel has all that was written. After `onDrain`, where both are due, and not while
   * that has written more. A response is over now, not when it was handed to `write`.
   */
  onSent?(stream: Stream): void;
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
