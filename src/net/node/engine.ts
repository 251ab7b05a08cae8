/** The engine over node:net, the fallback of all others. */
import net from "node:net";
import { errnoName } from "../../sys/errno.ts";
import { nodeLoop } from "../../sys/event_loop.ts";
import { boundary, contain } from "../../sys/guard.ts";
import { type Address, addressText, NO_ADDRESS, socketAddress } from "../address.ts";
import { connectingSocket } from "../connecting_socket.ts";
import { becameScarce, isLate, reserveDescriptors } from "../descriptors.ts";
import type { ConnectOptions, Engine, Listener, ListenOptions } from "../engine.ts";
import { streamError } from "../errors.ts";
import { setSocketOptions } from "../socket_options.ts";
import { type ConnectHandler, fault, IGNORE, type Stream, type StreamError, type StreamHandler } from "../stream.ts";
import { proveDirectWrites } from "./direct_write_proof.ts";
import { OwnedSocket } from "./owned_socket.ts";
import { readFile } from "./read_file.ts";
import { openStreams, TcpStream } from "./tcp_stream.ts";

function onConnected(this: OwnedSocket): void {
  const stream = this.owner;
  if (!(stream instanceof TcpStream)) return;
  const { handler } = stream;
  try {
    stream.connected();
    if (isLate(stream.descriptor)) becameScarce();
    if ("onConnect" in handler) (handler as ConnectHandler).onConnect(stream);
  } catch (error) {
    fault(stream, handler, error);
  }
}

function connect(options: ConnectOptions, handler: ConnectHandler): Stream {
  const { address } = options;
  const { transparent = false, rcvbuf = 0, sndbuf = 0 } = options;
  const bound = transparent || rcvbuf > 0 || sndbuf > 0 ? connectingSocket(options) : undefined;
  const socket = new OwnedSocket(bound !== undefined && "fd" in bound ? unconnected(bound.fd) : {});
  const stream = new TcpStream(socket, address, handler);
  if (bound !== undefined && "code" in bound) {
    socket.destroy(Object.assign(new Error(bound.code), { code: bound.code }));
  } else if (address.family === "unix") {
    socket.connect({ path: bytesToPath(address.path) }, onConnected);
  } else {
    socket.setNoDelay(true);
    socket.connect(
      {
        host: address.host,
        port: address.port,
        family: address.family === "ipv6" ? 6 : 4,
        ...(bound === undefined ? { localAddress: options.localAddress, localPort: options.localPort } : {}),
        autoSelectFamily: false,
      },
      onConnected,
    );
  }
  return stream;
}

/** `manualStart` is not documented: without it the socket would be read from before it is connected. */
function unconnected(fd: number): net.SocketConstructorOpts {
  return { fd, manualStart: true } as net.SocketConstructorOpts;
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

/** Out of descriptors, libuv closes waiting connections silently; hence `failed` is called before that. */
function listen(
  options: ListenOptions,
  accept: (stream: Stream) => StreamHandler,
  failed: (error: StreamError) => void,
): Promise<Listener> {
  const { address } = options;
  const server = net.createServer({ allowHalfOpen: true, noDelay: true });
  reserveDescriptors();
  const onConnection = (client: unknown): void => {
    const socket = new OwnedSocket({ handle: client } as net.SocketConstructorOpts);
    let late = false;
    try {
      if (address.family !== "unix") socket.setNoDelay(true);
      const stream = new TcpStream(socket, remoteAddress(socket), IGNORE);
      if (address.family === "unix") stream.localAddress = address;
      stream.connected();
      late = isLate(stream.descriptor);
      stream.handler = accept(stream);
    } catch (error) {
      contain(undefined, error);
      socket.destroy();
    }
    if (!socket.destroyed) socket.read(0);
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
        else failed(streamError({ code: errnoName(status) }));
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

async function prepare(): Promise<string | undefined> {
  const wrong = await proveDirectWrites();
  if (wrong === undefined) return undefined;
  return `sockets are written to through node:net, which is slower: this Node's handles: ${wrong}`;
}

export const nodeEngine: Engine = { name: "node", loop: nodeLoop, prepare, connect, listen, readFile, openStreams };
