import type { EventLoop } from "../sys/event_loop.ts";
import type { Address } from "./address.ts";
import type { SocketOptions } from "./socket_options.ts";
import type { ConnectHandler, Stream, StreamError, StreamHandler } from "./stream.ts";

/**
 * Connects, listens and accepts; streams only. Where datagrams will have their place is said in docs/architecture.md
 * ("Streams and engines"). The layers above net/ use `engine()` (engines.ts) and know no sockets, only streams,
 * addresses and errors. Every engine must pass test/net/contract.
 */
export interface Engine {
  /** As the directive `use` names it. */
  readonly name: string;
  /** The event loop that waits for its sockets. */
  readonly loop: EventLoop;
  /** Called before a process's first connection. Returns a message if the engine is slower here than it should be. */
  readonly prepare: () => Promise<string | undefined>;
  /** Opens a connection. `handler.onConnect` comes first; a failure is `onClose` with the error, never an exception. */
  readonly connect: (options: ConnectOptions, handler: ConnectHandler) => Stream;
  /**
   * Listens on the descriptor given, or on a socket that it binds. `accept` is called with each new stream and returns
   * its handler. `failed` is called if accepting fails, and with EMFILE when only reserved descriptors are left (see
   * descriptors.ts): the caller should then stop accepting for a while. Rejects with the StreamError of bind or listen.
   */
  readonly listen: (
    options: ListenOptions,
    accept: (stream: Stream) => StreamHandler,
    failed: (error: StreamError) => void,
  ) => Promise<Listener>;
  /**
   * Reads bytes of a file, at most FILE_PIECE, and waits for the disk beside the event loop; what is in memory readCached
   * (sys/page_cache.ts) has at once. `onFileRead` follows, in a later event; until then the descriptor must stay open.
   */
  readonly readFile: (fd: number, position: number, length: number, handler: FileReadHandler) => void;
  /** How many streams of this process are open, to clients and to servers; not those that were destroyed. */
  readonly openStreams: () => number;
}

export interface FileReadHandler {
  /**
   * `bytes` are lent for the call. They may be fewer than was asked for, and are none at the end of the file, or with an
   * error. An exception goes to the handler's `onFault`, if it is a FaultOwner.
   */
  onFileRead(bytes: Buffer, error: StreamError | undefined): void;
}

/** The most that is read of a file at once. */
export const FILE_PIECE = 64 * 1024;

export interface ConnectOptions {
  readonly address: Address;
  /** proxy_bind's source address. */
  readonly localAddress?: string;
  readonly localPort?: number;
  /** The local address may be one that this machine does not have (IP_TRANSPARENT). */
  readonly transparent?: boolean;
  /** Sizes of the kernel's buffers, bytes; 0 or undefined: the system's. */
  readonly rcvbuf?: number;
  readonly sndbuf?: number;
}

export interface ListenOptions extends SocketOptions {
  readonly address: Address;
  readonly backlog?: number | undefined;
  readonly ipv6only?: boolean | undefined;
  readonly reusePort?: boolean;
  /** A bound socket, which the listener now owns. Without it, the listener binds one and sets the SocketOptions. */
  readonly fd?: number | undefined;
}

export interface Listener {
  readonly address: Address;
  /** Messages about parameters that could not be set. */
  readonly notes: readonly string[];
  /** Stops accepting; connections stay open. */
  close(): void;
}
