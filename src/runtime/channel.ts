import { Socket } from "node:net";
import { boundary } from "../sys/guard.ts";

/**
 * Messages between the master and a child, over a unix socket: a length of four bytes, then as many of the message. Node's
 * own channel is not for this: what one end writes to it can end the other, or be kept there without bound, and a child
 * that was taken over must not end its master.
 */
export interface ChannelOptions {
  /** The most bytes of a message. */
  readonly most: number;
  /** The bytes are lent for the call. */
  readonly message: (bytes: Buffer) => void;
  /** A longer message has been announced; nothing more is read. */
  readonly tooLong: () => void;
  /** The other end has been closed. */
  readonly closed: () => void;
}

const LENGTH_BYTES = 4;
const NONE: readonly Buffer[] = [];

export class Channel {
  readonly #socket: Socket;
  readonly #options: ChannelOptions;
  #received: Buffer[] = [];
  #bytes = 0;
  /** How many bytes are needed to go on. */
  #wanted = LENGTH_BYTES;

  /** The end of this process, whose descriptor is passed. */
  static at(fd: number, options: ChannelOptions): Channel {
    return new Channel(new Socket({ fd, readable: true, writable: true }), options);
  }

  /** The end of the process that has started the other: what `spawn` has put for "pipe". */
  static of(pipe: unknown, options: ChannelOptions): Channel {
    if (!(pipe instanceof Socket)) throw new Error("a child was started without a channel");
    return new Channel(pipe, options);
  }

  private constructor(socket: Socket, options: ChannelOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on(
      "data",
      boundary(undefined, (bytes: Buffer) => this.#receive(bytes)),
    );
    // The other end is closed as well then, and that is told by "close".
    socket.on("error", () => {});
    socket.on("close", boundary(undefined, options.closed));
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  close(): void {
    this.#socket.destroy();
  }

  send(message: Uint8Array): void {
    if (this.#socket.destroyed) return;
    const bytes = Buffer.allocUnsafe(LENGTH_BYTES + message.length);
    bytes.writeUInt32LE(message.length, 0);
    bytes.set(message, LENGTH_BYTES);
    this.#socket.write(bytes);
  }

  #receive(bytes: Buffer): void {
    this.#received.push(bytes);
    this.#bytes += bytes.length;
    while (this.#bytes >= this.#wanted && !this.#socket.destroyed) {
      const all = Buffer.concat(this.#received);
      const end = LENGTH_BYTES + all.readUInt32LE(0);
      if (end - LENGTH_BYTES > this.#options.most) {
        this.#keep(NONE);
        this.#socket.destroy();
        this.#options.tooLong();
        return;
      }
      this.#wanted = end;
      if (all.length < end) {
        this.#keep([all]);
        return;
      }
      this.#keep([all.subarray(end)]);
      this.#wanted = LENGTH_BYTES;
      boundary(undefined, this.#options.message)(all.subarray(LENGTH_BYTES, end));
    }
  }

  #keep(parts: readonly Buffer[]): void {
    this.#received = [...parts];
    this.#bytes = parts.reduce((sum, { length }) => sum + length, 0);
  }
}
