import type { EventLoop } from "../sys/event_loop.ts";
import type { Address } from "./address.ts";
import type { SocketOptions } from "./socket_options.ts";
import type { ConnectHandler, Stream, StreamError, StreamHandler } from "./stream.ts";

/**
 * What makes streams out of sockets. Nothing above net/ knows how: it asks `engine()` (engines.ts) and sees streams,
 * addresses and errors. Every engine passes test/net/contract.
 */
export interface Engine {
  /** As the directive `use` names it. */
  readonly name: string;
  /** The event loop that waits for its sockets. */
  readonly loop: EventLoop;
  /** Before a thread's first connection. Answers a sentence where the engine is not all that it could be here. */
  readonly prepare: () => Promise<string | undefined>;
  /** Opens a connection. `handler.onConnect` comes first; a failure is `onClose` with the error, never an exception. */
  readonly connect: (options: ConnectOptions, handler: ConnectHandler) => Stream;
  /**
   * Listens, where no descriptor is given on a socket that is bound for it. `accept` gets each new stream and returns
   * its handler; `failed` hears of a connection that could not be accepted, and (as EMFILE) when all descriptors but the
   * reserved ones are in use: whoever can should then stop accepting for a while. Rejects with the StreamError of bind
   * or listen.
   */
  readonly listen: (
    options: ListenOptions,
    accept: (stream: Stream) => StreamHandler,
    failed: (error: StreamError) => void,
  ) => Promise<Listener>;
  /** How many streams of this thread are open, to clients and to servers. One that was destroyed is not. */
  readonly openStreams: () => number;
}

export interface ConnectOptions {
  readonly address: Address;
  /** proxy_bind's source address. */
  readonly localAddress?: string;
  readonly localPort?: number;
}

export interface ListenOptions extends SocketOptions {
  readonly address: Address;
  readonly backlog?: number | undefined;
  readonly ipv6only?: boolean | undefined;
  readonly reusePort?: boolean;
  /** A descriptor that is bound: the listener's from now on. Else it binds for itself, and sets the SocketOptions. */
  readonly fd?: number | undefined;
}

export interface Listener {
  readonly address: Address;
  /** Sentences about parameters that could not be set. */
  readonly notes: readonly string[];
  /** Stops accepting; connections live on. */
  close(): void;
}
