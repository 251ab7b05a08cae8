import { errnoName } from "../../sys/io_uring.ts";
import { libc } from "../../sys/libc.ts";
import type { Address } from "../address.ts";
import { becameScarce } from "../descriptors.ts";
import type { ConnectOptions } from "../engine.ts";
import { streamError } from "../errors.ts";
import { socketAddressOf } from "../listening_socket.ts";
import type { ConnectHandler, Stream } from "../stream.ts";
import type { Context } from "./context.ts";
import { UringStream } from "./stream.ts";

/** <sys/socket.h>, <netinet/in.h>, <netinet/tcp.h> */
const FAMILY = { unix: 1, ipv4: 2, ipv6: 10 } as const;
const STREAM = 1 | 0x800 | 0x80000;
const IPPROTO_IP = 0;
const IP_BIND_ADDRESS_NO_PORT = 24;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const ONE = Buffer.from([1, 0, 0, 0]);

/** Opens a connection: `Engine.connect`. */
export function connect(
  context: Context,
  { address, localAddress, localPort }: ConnectOptions,
  handler: ConnectHandler,
): Stream {
  const { calls } = context;
  const c = libc();
  const fd = c?.socket(FAMILY[address.family], STREAM) ?? -1;
  const socketError = fd < 0 ? errnoName(-(c?.errno() ?? 0)) : undefined;
  const stream = new UringStream(context, fd, address, undefined, handler, false);
  if (c === undefined || socketError !== undefined) {
    if (socketError === "EMFILE") becameScarce();
    stream.failed(streamError({ code: socketError ?? "ENOTSUP" }));
    return stream;
  }
  if (address.family === "unix") {
    // Does not wait: without room in the queue it fails with EAGAIN.
    const result = calls.connect(fd, socketAddressOf(address));
    if (result < 0) stream.failed(streamError({ code: errnoName(result) }));
    else context.loop.loop.defer(connected, stream, undefined);
    return stream;
  }
  c.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, ONE);
  if (localAddress !== undefined) {
    if (localPort === undefined || localPort === 0) c.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, ONE);
    const local: Address = { family: address.family, host: localAddress, port: localPort ?? 0 };
    if (c.bind(fd, socketAddressOf(local)) < 0) {
      stream.failed(streamError({ code: errnoName(-c.errno()) }));
      return stream;
    }
  }
  context.targets.connect(stream.id, fd, socketAddressOf(address));
  return stream;
}

function connected(stream: UringStream): void {
  stream.connected();
}
