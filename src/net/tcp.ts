/**
 * `Stream` over node:net. Every socket of a thread reads into one shared buffer through node:net's `onread` option: no
 * buffer a read, no buffer an idle connection. That is why bytes are only lent to `onData`.
 */
import net from "node:net";
import { getSystemErrorName } from "node:util";
import { boundary, contain } from "../runtime/guard.ts";
import { openFilesLimit } from "../runtime/limits.ts";
import { enterEvent, leaveEvent } from "../runtime/now.ts";
import { type Address, addressText, socketAddress } from "./address.ts";
import { byteString } from "./byte_string.ts";
import { type DirectHandle, directHandle } from "./direct_write.ts";
import { streamError } from "./errors.ts";
import { setSocketOptions } from "./socket_options.ts";
import type {
  ConnectHandler,
  ConnectOptions,
  Listener,
  ListenOptions,
  Stream,
  StreamError,
  StreamHandler,
} from "./stream.ts";

const READ_SIZE = 64 * 1024;
/** Strings up to this size are sent by node:net from the stack, without a buffer of their own. */
const STACK_WRITE = 16 * 1024;

/** Reads shorter than this share their views of the read buffer. */
const VIEWS = 4096;

const readBuffer = Buffer.allocUnsafeSlow(READ_SIZE);
/** Copies of bytes in flight are made in these; one whose write ended at once comes back. */
const copies: Buffer[] = [];
const COPIES = 16;

/** The views of short reads by their length, kept: making one costs more than looking it up. */
const views: (Buffer | undefined)[] = new Array(VIEWS).fill(undefined);

function received(length: number): Buffer {
  if (length >= VIEWS) return length === READ_SIZE ? readBuffer : readBuffer.subarray(0, length);
  const known = views[length];
  if (known !== undefined) return known;
  const made = readBuffer.subarray(0, length);
  views[length] = made;
  return made;
}

/** node:net's socket with the stream it belongs to, so that one set of listeners serves all sockets. */
class OwnedSocket extends net.Socket {
  owner: TcpStream | undefined = undefined;
}

const onread: net.OnReadOpts = {
  buffer: readBuffer,
  callback(this: unknown, length: number): boolean {
    const stream = (this as OwnedSocket).owner;
    if (stream === undefined) return true;
    const { handler } = stream;
    enterEvent();
    try {
      handler.onData(stream, received(length));
    } catch (error) {
      fault(stream, handler, error);
    } finally {
      leaveEvent();
    }
    return true;
  },
};

const NO_ADDRESS: Address = { family: "unix", path: "" };

/** An exception left a handler: what it was at work on ends; where the handler cannot see to that, so does the stream. */
function fault(stream: TcpStream, handler: StreamHandler, error: unknown): void {
  if (!contain(handler, error)) stream.destroy();
}

function onDrain(this: OwnedSocket): void {
  const stream = this.owner;
  if (stream === undefined) return;
  const { handler } = stream;
  try {
    handler.onDrain(stream);
  } catch (error) {
    fault(stream, handler, error);
  }
}

function onEnd(this: OwnedSocket): void {
  const stream = this.owner;
  if (stream === undefined) return;
  const { handler } = stream;
  try {
    handler.onEnd(stream);
  } catch (error) {
    fault(stream, handler, error);
  }
}

function onError(this: OwnedSocket, error: Error): void {
  if (this.owner === undefined) return;
  this.owner.error = streamError(error);
  if (this.owner.error.code === "EMFILE") scarce?.();
}

function onClose(this: OwnedSocket): void {
  const stream = this.owner;
  if (stream === undefined) return;
  this.owner = undefined;
  stream.closed = true;
  stream.uncount();
  const { handler } = stream;
  try {
    handler.onClose(stream, stream.error);
  } catch (error) {
    fault(stream, handler, error);
  }
}

let open = 0;

/** How many streams of this thread are open, to clients and to upstreams. */
export function openStreams(): number {
  return open;
}

class TcpStream implements Stream {
  handler: StreamHandler;
  readonly socket: OwnedSocket;
  remote: Address;
  closed = false;
  error: StreamError | undefined = undefined;
  localAddress: Address | undefined = undefined;
  private counted = true;
  /** Where text goes without node:stream; undefined until connected, where that cannot be, and while a write waits. */
  private direct: DirectHandle | undefined = undefined;
  private corked = 0;
  /** Bytes of a direct write that the kernel did not take at once. */
  private waiting = 0;

  constructor(socket: OwnedSocket, remote: Address, handler: StreamHandler) {
    open++;
    this.socket = socket;
    this.remote = remote;
    this.handler = handler;
    socket.owner = this;
    socket.on("drain", onDrain);
    socket.on("end", onEnd);
    socket.on("error", onError);
    socket.on("close", onClose);
  }

  /** Its place is free as soon as it is to be closed. */
  uncount(): void {
    if (this.counted) open--;
    this.counted = false;
  }

  get local(): Address {
    if (this.localAddress === undefined) {
      const { localAddress, localPort, localFamily } = this.socket;
      if (localAddress === undefined || localPort === undefined)
        return this.remote.family === "unix" ? this.remote : NO_ADDRESS;
      this.localAddress = socketAddress(localAddress, localPort, localFamily);
    }
    return this.localAddress;
  }

  get queued(): number {
    return this.socket.writableLength + this.waiting;
  }

  /** From now on text may be written directly: the socket is connected. */
  connected(): void {
    this.direct = directHandle(this.socket);
  }

  /** It has one of the reserved descriptors. */
  late(): boolean {
    return descriptorOf((this.socket as unknown as { _handle?: unknown })._handle) >= reserved;
  }

  get unsent(): number {
    const handle: unknown = (this.socket as unknown as { _handle?: unknown })._handle;
    const { writableLength } = this.socket;
    if (typeof handle !== "object" || handle === null || !("writeQueueSize" in handle)) return writableLength;
    return typeof handle.writeQueueSize === "number" ? writableLength + handle.writeQueueSize : writableLength;
  }

  write(data: Uint8Array | string): boolean {
    const socket = this.socket;
    if (this.closed || socket.destroyed) return true;
    if (typeof data === "string") return this.writeText(data);
    const length = data.length;
    if (length > READ_SIZE) return socket.write(Buffer.from(data));
    if (length <= STACK_WRITE && data instanceof Buffer) return this.writeText(byteString(data, 0, length));
    const copy = copies.pop() ?? Buffer.allocUnsafeSlow(READ_SIZE);
    copy.set(data);
    let lent = true;
    const giveBack = (): void => {
      if (lent && copies.length < COPIES) copies.push(copy);
      lent = false;
    };
    const more = socket.write(length === READ_SIZE ? copy : copy.subarray(0, length), giveBack);
    if (socket.writableLength === 0) giveBack();
    return more;
  }

  private writeText(text: string): boolean {
    const { socket, direct } = this;
    if (direct === undefined || this.corked > 0 || text.length > STACK_WRITE || socket.writableLength > 0) {
      return socket.write(text, "latin1");
    }
    const result = direct.writeLatin1String(null, text);
    if (typeof result === "number") {
      if (result !== 0) this.fail(result);
      return true;
    }
    // What follows is queued behind it by node:stream, which hands it to the same queue.
    this.direct = undefined;
    this.waiting = text.length;
    const ended = (status: number): void => {
      this.waiting = 0;
      if (this.closed || this.socket.destroyed) return;
      if (status < 0) this.fail(status);
      else this.direct = direct;
    };
    result.oncomplete = ended;
    if (result.writeStatus !== null) ended(result.writeStatus);
    return true;
  }

  /** A write failed with this negated errno. */
  private fail(status: number): void {
    const code = getSystemErrorName(status);
    this.socket.destroy(Object.assign(new Error(code), { code }));
  }

  cork(): void {
    this.corked++;
    this.socket.cork();
  }

  uncork(): void {
    this.corked--;
    this.socket.uncork();
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  end(): void {
    if (!this.closed && !this.socket.destroyed) this.socket.end();
  }

  close(): void {
    if (!this.closed && !this.socket.destroyed) this.socket.destroySoon();
  }

  destroy(reset?: boolean): void {
    if (this.closed || this.socket.destroyed) return;
    this.uncount();
    if (reset) this.socket.resetAndDestroy();
    else this.socket.destroy();
  }

  setNoDelay(on: boolean): void {
    this.socket.setNoDelay(on);
  }

  setKeepAlive(on: boolean, idleSeconds?: number): void {
    this.socket.setKeepAlive(on, idleSeconds === undefined ? undefined : idleSeconds * 1000);
  }
}

function onConnected(this: OwnedSocket): void {
  const stream = this.owner;
  if (stream === undefined) return;
  stream.connected();
  if (stream.late()) scarce?.();
  const handler = stream.handler;
  if (!("onConnect" in handler)) return;
  try {
    (handler as ConnectHandler).onConnect(stream);
  } catch (error) {
    fault(stream, handler, error);
  }
}

/** Opens a connection. `handler.onConnect` comes first; a failure is `onClose` with the error, never an exception. */
export function connect(options: ConnectOptions, handler: ConnectHandler): Stream {
  const { address } = options;
  const socket = new OwnedSocket({ allowHalfOpen: true, onread });
  const stream = new TcpStream(socket, address, handler);
  if (address.family === "unix") {
    socket.connect({ path: bytesToPath(address.path) }, onConnected);
  } else {
    socket.setNoDelay(true);
    socket.connect(
      {
        host: address.host,
        port: address.port,
        family: address.family === "ipv6" ? 6 : 4,
        localAddress: options.localAddress,
        localPort: options.localPort,
        autoSelectFamily: false,
      },
      onConnected,
    );
  }
  return stream;
}

/** A path is a byte string inside Holdfast; node:net wants text. */
function bytesToPath(path: string): string {
  return Buffer.from(path, "latin1").toString("utf8");
}

/** The accepting side of node:net that `onread` needs: the handle's own callback. Undocumented but unchanged since Node 0.x. */
interface AcceptingHandle {
  readonly fd?: unknown;
  onconnection: (this: unknown, status: number, client: unknown) => void;
}

function acceptingHandle(server: net.Server): AcceptingHandle | undefined {
  const handle: unknown = (server as unknown as { _handle?: unknown })._handle;
  if (typeof handle !== "object" || handle === null || !("onconnection" in handle)) return undefined;
  return typeof handle.onconnection === "function" ? (handle as AcceptingHandle) : undefined;
}

/** Descriptors that are left to files and upstreams: no connection is accepted while only they are free. */
const RESERVED = 64;

/** The lowest of the reserved descriptors. The system gives the lowest that is free, so whoever gets it gets a late one. */
export function firstReserved(): number {
  const limit = openFilesLimit();
  return limit - Math.min(RESERVED, limit / 8);
}

/** The same at the last listen. */
let reserved = Number.POSITIVE_INFINITY;
let scarce: (() => void) | undefined;

/** `callback` hears when connections to upstreams have taken descriptors that are reserved, or found none. */
export function whenScarce(callback: () => void): void {
  scarce = callback;
}

/** What node:net does not do: the descriptor of an accepted connection's handle. */
function descriptorOf(client: unknown): number {
  if (typeof client !== "object" || client === null || !("fd" in client)) return -1;
  return typeof client.fd === "number" ? client.fd : -1;
}

/**
 * Listens, where no descriptor is given on a socket that is bound for it. `accept` gets each new stream and returns its
 * handler; `failed` hears of a connection that could not be accepted, and (as EMFILE) when descriptors are about to run
 * out: libuv would then drop what waits without a word, so that whoever can should stop accepting for a while.
 * Rejects with the StreamError of bind or listen.
 */
export function listen(
  options: ListenOptions,
  accept: (stream: Stream) => StreamHandler,
  failed: (error: StreamError) => void,
): Promise<Listener> {
  const { address } = options;
  const server = net.createServer({ allowHalfOpen: true, noDelay: true });
  reserved = firstReserved();
  const onConnection = (client: unknown): void => {
    const socket = new OwnedSocket({ handle: client, allowHalfOpen: true, onread } as net.SocketConstructorOpts);
    if (address.family !== "unix") socket.setNoDelay(true);
    const stream = new TcpStream(socket, remoteAddress(socket), IGNORE);
    if (address.family === "unix") stream.localAddress = address;
    stream.connected();
    const late = stream.late();
    try {
      stream.handler = accept(stream);
    } catch (error) {
      fault(stream, IGNORE, error);
    }
    if (!stream.closed && !socket.destroyed) socket.read(0);
    if (late) failed(streamError({ code: "EMFILE" }));
  };
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(streamError(error)));
    server.listen(bindOptions(options), options.backlog, () => {
      const handle = acceptingHandle(server);
      if (handle === undefined) {
        reject({ code: "ENOTSUP", message: "this Node cannot hand over accepted connections" } satisfies StreamError);
        return;
      }
      handle.onconnection = boundary(undefined, (status: number, client: unknown) => {
        if (status === 0) onConnection(client);
        else failed(streamError({ code: getSystemErrorName(status) }));
      });
      server.on("error", () => {});
      const fd = typeof handle.fd === "number" ? handle.fd : -1;
      resolve({
        address,
        notes: options.fd === undefined ? setSocketOptions(fd, options, addressText(address)) : [],
        close: () => server.close(),
      });
    });
  });
}

function bindOptions({ address, ipv6only, reusePort, fd }: ListenOptions): net.ListenOptions & { fd?: number } {
  if (fd !== undefined) return { fd };
  // Like nginx's, a unix socket is open to everyone who may reach its directory.
  if (address.family === "unix") return { path: bytesToPath(address.path), readableAll: true, writableAll: true };
  const family = ipv6only === undefined ? {} : { ipv6Only: ipv6only };
  return { host: address.host, port: address.port, reusePort: reusePort === true, ...family };
}

function remoteAddress(socket: net.Socket): Address {
  const { remoteAddress: host, remotePort: port, remoteFamily: family } = socket;
  return host === undefined || port === undefined ? NO_ADDRESS : socketAddress(host, port, family);
}

const IGNORE: StreamHandler = { onData() {}, onDrain() {}, onEnd() {}, onClose() {} };
