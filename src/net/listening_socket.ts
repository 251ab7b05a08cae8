/**
 * Binds sockets without listening on them, through FFI: the master binds, workers listen and accept. node:net always does
 * both. Descriptors belong to the caller.
 */
import { chmodSync, closeSync } from "node:fs";
import { type Libc, libc } from "../sys/libc.ts";
import { osPath } from "../sys/paths.ts";
import type { Address } from "./address.ts";
import { parseIpv4, socketIpv6 } from "./ip.ts";

/** <sys/socket.h> and <netinet/in.h> */
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
/** SOCK_STREAM with SOCK_CLOEXEC and SOCK_NONBLOCK. */
const STREAM = 1 | 0o2000000 | 0o4000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_REUSEPORT = 15;
const SO_BINDTOIFINDEX = 62;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

export interface BindOptions {
  readonly address: Address;
  readonly ipv6only: boolean | undefined;
  /** SO_REUSEPORT: other sockets of this process may have the port. Else nobody may listen there. */
  readonly join: boolean;
  /** Of the file of a unix socket; by default anyone may connect who has access to the directory, as in nginx. */
  readonly mode?: number;
}

/** The descriptor, or the call that failed (as nginx logs it) and its errno name. */
export type Bound = { readonly fd: number } | { readonly call: string; readonly code: string };

/** Clients cannot connect until somebody listens on the socket. */
export function bindSocket(options: BindOptions): Bound {
  const c = libc();
  const { address } = options;
  const family = address.family === "unix" ? AF_UNIX : address.family === "ipv6" ? AF_INET6 : AF_INET;
  const fd = c.socket(family, STREAM);
  if (fd < 0) return { call: "socket()", code: c.errnoName() };
  const failed = prepare(c, fd, options);
  if (failed === undefined) return { fd };
  closeSync(fd);
  return failed;
}

function prepare(c: Libc, fd: number, { address, ipv6only, join, mode = 0o666 }: BindOptions): Bound | undefined {
  const set = (level: number, option: number, value: boolean): boolean =>
    c.setsockopt(fd, level, option, int(value ? 1 : 0)) === 0;
  const unix = address.family === "unix";
  if (!set(SOL_SOCKET, SO_REUSEADDR, true)) return { call: "setsockopt(SO_REUSEADDR)", code: c.errnoName() };
  if (ipv6only !== undefined) set(IPPROTO_IPV6, IPV6_V6ONLY, ipv6only);
  if (join && !unix && !set(SOL_SOCKET, SO_REUSEPORT, true)) {
    return { call: "setsockopt(SO_REUSEPORT)", code: c.errnoName() };
  }
  if (c.bind(fd, socketAddressOf(address)) !== 0) return { call: "bind()", code: c.errnoName() };
  if (unix) chmodSync(osPath(address.path), mode);
  return undefined;
}

/**
 * Has a TCP port for this process alone: until the descriptor is closed, only this process can bind sockets there (with `join`).
 * No client gets in by it. bind() does not exclude others, where both have SO_REUSEADDR, until one of them listens; and
 * whoever listens with SO_REUSEPORT shares the port with others who do. So this one listens without.
 */
export function claimPort({ address, ipv6only }: Pick<BindOptions, "address" | "ipv6only">): Bound {
  const bound = bindSocket({ address, ipv6only, join: false });
  if ("code" in bound) return bound;
  const { fd } = bound;
  const c = libc();
  refuseNew(fd);
  let failed: Bound | undefined;
  if (c.listen(fd, 1) !== 0) failed = { call: "bind()", code: c.errnoName() };
  else if (c.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, int(1)) !== 0)
    failed = { call: "setsockopt(SO_REUSEPORT)", code: c.errnoName() };
  if (failed === undefined) return bound;
  closeSync(fd);
  return failed;
}

/** dup(2): closing the result leaves the socket open. -1 if there are no descriptors left. */
export function duplicate(fd: number): number {
  return libc().dup(fd);
}

/** Not the index of a network interface. */
const NO_INTERFACE = 0x7fffffff;

/**
 * Makes the kernel refuse new connections to a listening socket, by binding it to an interface that does not exist.
 * Connections in its queue, or in a handshake, are not affected.  */
export function refuseNew(fd: number): void {
  libc().setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, int(NO_INTERFACE));
}

function int(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

/** `struct sockaddr_…` */
export function socketAddressOf(address: Address): Buffer {
  if (address.family === "unix") {
    const bytes = sockaddr(AF_UNIX, 2 + address.path.length + 1);
    bytes.write(address.path, 2, "latin1");
    return bytes;
  }
  const six = address.family === "ipv6";
  const bytes = six ? sockaddr(AF_INET6, 28) : sockaddr(AF_INET, 16);
  bytes.writeUInt16BE(address.port, 2);
  if (six) bytes.set(socketIpv6(address.host), 8);
  else bytes.writeUInt32BE(parseIpv4(address.host) ?? 0, 4);
  return bytes;
}

function sockaddr(family: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  bytes.writeUInt16LE(family);
  return bytes;
}
