/**
 * A socket of node:net. All sockets of a process read into one shared buffer, through the `onread` option: neither a read
 * nor an idle connection has a buffer of its own. That is why bytes are valid during `onData` only.
 */
import net from "node:net";

/** The stream that a socket belongs to. */
export interface SocketOwner {
  /** Valid during the call only. */
  received(bytes: Buffer): void;
  ended(): void;
  failed(error: Error): void;
  /** The socket is being destroyed; its handle is still there. */
  closing(): void;
  gone(): void;
}

const READ_SIZE = 64 * 1024;
/** Reads shorter than this share their views of the read buffer. */
const VIEWS = 4096;

const readBuffer = Buffer.allocUnsafeSlow(READ_SIZE);

/** Views of the read buffer by length, cached because creating one costs more than the lookup. */
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

/** All sockets share one set of listeners. */
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
