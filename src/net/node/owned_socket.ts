/**
 * node:net's socket as a stream sees it. Every socket of a thread reads into one shared buffer through node:net's
 * `onread` option: no buffer a read, no buffer an idle connection. That is why bytes are only lent to `onData`.
 */
import net from "node:net";

/** The stream a socket belongs to: what it hears of the socket. */
export interface SocketOwner {
  /** Lent for the call. */
  received(bytes: Buffer): void;
  ended(): void;
  failed(error: Error): void;
  /** The socket is being destroyed: the last moment at which the system can be asked about it. */
  closing(): void;
  gone(): void;
}

const READ_SIZE = 64 * 1024;
/** Reads shorter than this share their views of the read buffer. */
const VIEWS = 4096;

const readBuffer = Buffer.allocUnsafeSlow(READ_SIZE);

/** The views of short reads by their length, kept: making one costs more than looking it up. */
const views: (Buffer | undefined)[] = new Array(VIEWS).fill(undefined);

function view(length: number): Buffer {
  if (length >= VIEWS) return length === READ_SIZE ? readBuffer : readBuffer.subarray(0, length);
  const known = views[length];
  if (known !== undefined) return known;
  const made = readBuffer.subarray(0, length);
  views[length] = made;
  return made;
}

const onread: net.OnReadOpts = {
  buffer: readBuffer,
  callback(this: unknown, length: number): boolean {
    (this as OwnedSocket).owner?.received(view(length));
    return true;
  },
};

/** One set of listeners serves all sockets. */
export class OwnedSocket extends net.Socket {
  owner: SocketOwner | undefined = undefined;

  constructor(options: net.SocketConstructorOpts) {
    super({ ...options, allowHalfOpen: true, onread });
    this.on("end", onEnd);
    this.on("error", onError);
    this.on("close", onClose);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.owner?.closing();
    super._destroy(error, callback);
  }
}

function onEnd(this: OwnedSocket): void {
  this.owner?.ended();
}

function onError(this: OwnedSocket, error: Error): void {
  this.owner?.failed(error);
}

function onClose(this: OwnedSocket): void {
  this.owner?.gone();
}
