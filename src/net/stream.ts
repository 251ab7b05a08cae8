import { contain } from "../sys/guard.ts";
import type { Address } from "./address.ts";

/**
 * The contract between the protocols and whatever moves their bytes: a reliable byte stream (tcp, unix; later TLS, which
 * is a Stream around a Stream). No Node stream or socket object passes above it; addresses and errors are plain values.
 * test/net/contract states it in scenarios that every engine has to pass.
 */
export interface Stream {
  /** Receives the events. Set before the first one; may be replaced at any time (connection pool, upgrade). */
  handler: StreamHandler;
  readonly remote: Address;
  readonly local: Address;

  /**
   * Sends bytes; a string is a byte string (latin1). The bytes are sent or copied before it returns, so the caller may
   * reuse the buffer. Returns false if bytes are queued, because the kernel has not taken those before them: the caller
   * should stop until `onDrain`. With no bytes it only returns that. After `end` and on a closed stream it does nothing
   * and returns true.
   */
  write(data: Uint8Array | string): boolean;
  /**
   * Where the engine has it: sends bytes of a file (a descriptor, a position, a number of bytes) without copying them
   * through the process. Returns how many the kernel has taken, which may be fewer; 0: the file has none there. NO_ROOM:
   * none, and `onDrain` follows unless the stream is closed. NOT_THIS_FILE: they are to be read and written. `before` (a byte
   * string, perhaps of none) goes before them, and is taken as by `write`, whatever is returned. Not while corked.
   */
  sendFile?(file: number, offset: number, length: number, before: string): number;
  /**
   * Where the engine has it: within `onData`, when the bytes given there were written to `to`, moves what has come behind them
   * to that stream without copying it through the process. Returns how many bytes, 0 where that cannot be; then
   * `to.write("")` says whether to go on. What `to` does not take at once is queued there. Not while corked.
   */
  spliceTo?(to: Stream): number;
  /** Writes between `cork` and `uncork` return true and are sent together; `uncork` returns what `write` would. */
  cork(): void;
  uncork(): boolean;
  /**
   * The kernel has not taken all that was written; `onSent` follows. An engine that sends asynchronously may be sending
   * although `write` returned true. False on a closed stream.
   */
  readonly sending: boolean;
  /** How many of the bytes written the kernel has not taken, exactly; on a closed stream, how many were lost. */
  readonly unsent: number;

  /**
   * Stops and resumes `onData`; neither calls it. If the handler has `onPeerClosed`, a paused stream still reports that
   * its peer is gone: it closes after a failure (a reset), and bytes received before that are lost.
   */
  pause(): void;
  resume(): void;

  /** Half-closes when all that was written is sent. Reading goes on until the peer half-closes too, which closes the stream. */
  end(): void;
  /** Closes at once; what was not sent is lost. With `reset`, by RST instead of FIN if it is TCP. */
  destroy(reset?: boolean): void;
  /** True after `destroy` or a failure: the only event left is `onClose`. */
  readonly closed: boolean;

  /** tcp_nodelay; TCP keep-alive with optional idle seconds. No-ops on unix sockets. */
  setNoDelay(on: boolean): void;
  setKeepAlive(on: boolean, idleSeconds?: number): void;
}

/**
 * Callbacks are called one at a time, and never from within a call of a method of the stream. An exception in one is
 * passed to the handler's `onFault` if it is a FaultOwner (sys/guard.ts); else it is logged as [alert] and the stream is
 * destroyed.
 */
export interface StreamHandler {
  /** `bytes` is valid during the call only: copy what is to be kept. The handler may change it. */
  onData(stream: Stream, bytes: Buffer): void;
  /** After `write` or `uncork` returned false: nothing is queued any more. */
  onDrain(stream: Stream): void;
  /**
   * The kernel has all that was written: `sending` has become false. Follows `onDrain` if both are due, unless that has
   * written more. Only now is a response complete, not when it was passed to `write`.
   */
  onSent?(stream: Stream): void;
  /** The peer half-closed: no more `onData`. Writing may go on. */
  onEnd(stream: Stream): void;
  /**
   * While paused: the peer has half-closed; bytes it sent before may still have to be read, and `onEnd` follows them.
   * Called repeatedly until `resume`. Without it the end or failure is reported only after all bytes are read.
   */
  onPeerClosed?(stream: Stream): void;
  /** The stream is closed; `error` is set if it failed. The last event. */
  onClose(stream: Stream, error: StreamError | undefined): void;
}

/** Results of `sendFile`. */
export const NO_ROOM = -1;
export const NOT_THIS_FILE = -2;

/** Ignores all events: for a stream that is destroyed next. */
export const IGNORE: StreamHandler = { onData() {}, onDrain() {}, onEnd() {}, onClose() {} };

/** Engines call this with an exception in a handler: it destroys the stream if the handler is no FaultOwner. */
export function fault(stream: Stream, handler: StreamHandler, error: unknown): void {
  if (!contain(handler, error)) stream.destroy();
}

/** `code` is the errno name (ECONNRESET …), `message` nginx's text `(104: Connection reset by peer)` without parentheses. */
export interface StreamError {
  readonly code: string;
  readonly message: string;
  /** Of a failure that is no system call's: the whole sentence, `SSL_read() failed (SSL: error:…)`. */
  readonly sentence?: string;
  /** Nothing that a peer causes: for the log's [crit]. */
  readonly crit?: boolean;
}

/** `recv() failed (104: Connection reset by peer)`, or what failed instead of the call. */
export function failureText(call: string, { message, sentence }: StreamError): string {
  return sentence ?? `${call}() failed (${message})`;
}

/** `onConnect` is its first event; if connecting fails, `onClose` with the error is the only one. */
export interface ConnectHandler extends StreamHandler {
  onConnect(stream: Stream): void;
}
