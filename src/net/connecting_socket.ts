import { libc } from "../sys/libc.ts";
import type { ConnectOptions } from "./engine.ts";
import { type Bound, socketAddressOf } from "./listening_socket.ts";
import { setSocketOptions } from "./socket_options.ts";

/** <sys/socket.h>, <netinet/in.h>, <netinet/tcp.h>; SOCK_STREAM with SOCK_NONBLOCK and SOCK_CLOEXEC. */
const FAMILY = { unix: 1, ipv4: 2, ipv6: 10 } as const;
const STREAM = 1 | 0o4000 | 0o2000000;
const IPPROTO_IP = 0;
const IP_TRANSPARENT = 19;
const IP_BIND_ADDRESS_NO_PORT = 24;
const IPPROTO_IPV6 = 41;
const IPV6_TRANSPARENT = 75;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const ONE = Buffer.from([1, 0, 0, 0]);

/** A socket to connect with, bound to the local address where one is given. It belongs to the caller. */
export function connectingSocket(options: ConnectOptions): Bound {
  const { address, localAddress, localPort, transparent, rcvbuf = 0, sndbuf = 0 } = options;
  const c = libc();
  const { family } = address;
  const fd = c.socket(FAMILY[family], STREAM);
  if (fd < 0) return { call: "socket()", code: c.errnoName() };
  // The kernel takes any size, and makes the best of it.
  if (rcvbuf > 0 || sndbuf > 0) setSocketOptions(fd, { rcvbuf: rcvbuf || undefined, sndbuf: sndbuf || undefined }, "");
  if (family === "unix") return { fd };
  c.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, ONE);
  if (localAddress === undefined) return { fd };
  if (transparent === true) {
    const [level, option] = family === "ipv6" ? [IPPROTO_IPV6, IPV6_TRANSPARENT] : [IPPROTO_IP, IP_TRANSPARENT];
    if (c.setsockopt(fd, level, option, ONE) !== 0) return failed(fd, "setsockopt(IP_TRANSPARENT)");
  }
  if (localPort === undefined || localPort === 0) c.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, ONE);
  const local = socketAddressOf({ family, host: localAddress, port: localPort ?? 0 });
  return c.bind(fd, local) === 0 ? { fd } : failed(fd, "bind()");
}

function failed(fd: number, call: string): Bound {
  const code = libc().errnoName();
  libc().close(fd);
  return { call, code };
}
