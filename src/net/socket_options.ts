/** What `listen` asks of its socket beyond what node:net can set: through the C library where it can be called. */
import { chmodSync, closeSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { type Libc, libc } from "../runtime/libc.ts";

/** Socket parameters of a listening socket, which accepted connections inherit. Sizes in bytes, times in seconds. */
export interface SocketOptions {
  readonly rcvbuf?: number | undefined;
  readonly sndbuf?: number | undefined;
  readonly fastopen?: number | undefined;
  readonly deferred?: boolean | undefined;
  readonly keepalive?:
    | boolean
    | {
        readonly idle?: number | undefined;
        readonly interval?: number | undefined;
        readonly count?: number | undefined;
      }
    | undefined;
}

const LINUX = process.platform === "linux";
/** Numbers of <sys/socket.h> and <netinet/tcp.h>, on Linux and on macOS. */
const SOL_SOCKET = LINUX ? 1 : 0xffff;
const SO_RCVBUF = LINUX ? 8 : 0x1002;
const SO_SNDBUF = LINUX ? 7 : 0x1001;
const SO_KEEPALIVE = LINUX ? 9 : 8;
const IPPROTO_TCP = 6;
const TCP_KEEPIDLE = LINUX ? 4 : 0x10;
const TCP_KEEPINTVL = LINUX ? 5 : 0x101;
const TCP_KEEPCNT = LINUX ? 6 : 0x102;
const TCP_DEFER_ACCEPT = 9;
const TCP_FASTOPEN = LINUX ? 23 : 0x105;

interface Option {
  /** As nginx's sentence names it. */
  readonly name: string;
  readonly level: number;
  readonly option: number;
  readonly value: number;
}

/** Sets the options; answers a sentence for each that could not be set. */
export function setSocketOptions(fd: number, options: SocketOptions, address: string): string[] {
  const wanted = optionsOf(options);
  if (wanted.length === 0) return [];
  const c = libc();
  const value = Buffer.alloc(4);
  const failed: string[] = [];
  for (const { name, level, option, value: number } of wanted) {
    value.writeInt32LE(number);
    if (c === undefined || fd < 0) {
      failed.push(`${name} is left as it is for ${address}: setting it needs Node 26 or later with FFI`);
    } else if (c.setsockopt(fd, level, option, value) !== 0) {
      failed.push(`setsockopt(${name}, ${number}) ${address} failed, ignored`);
    }
  }
  return failed;
}

function optionsOf({ rcvbuf, sndbuf, fastopen, deferred, keepalive }: SocketOptions): Option[] {
  const wanted: Option[] = [];
  const add = (name: string, level: number, option: number, value: number | undefined): void => {
    if (value !== undefined) wanted.push({ name, level, option, value });
  };
  add("SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, rcvbuf);
  add("SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, sndbuf);
  add("TCP_FASTOPEN", IPPROTO_TCP, TCP_FASTOPEN, fastopen);
  // nginx waits one second for the first data; elsewhere than on Linux there is no such thing.
  if (deferred === true && LINUX) add("TCP_DEFER_ACCEPT", IPPROTO_TCP, TCP_DEFER_ACCEPT, 1);
  if (keepalive === undefined) return wanted;
  add("SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, keepalive === false ? 0 : 1);
  if (typeof keepalive === "boolean") return wanted;
  add("TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, keepalive.idle);
  add("TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL, keepalive.interval);
  add("TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, keepalive.count);
  return wanted;
}

/** Calling listen(2) again changes nothing but the queue's length. */
export function changeBacklog(fd: number, backlog: number): void {
  if (fd >= 0) libc()?.listen(fd, backlog);
}

const AF_UNIX = 1;
const SOCK_STREAM = 1;

const FREE = 0;
const BINDING = -1;

/**
 * A descriptor of a listening unix socket that all threads accept from: unlike a port it cannot be bound several times,
 * so the first thread binds it and leaves its descriptor (plus one) in the shared word `slot`; each, also one that is
 * started again, takes a duplicate. libuv would remove the file of a socket it bound whenever that thread ended; this
 * file stays until `releaseUnix`. Undefined where the C library cannot be called or refused: node:net then knows why.
 */
export async function shareUnix(slot: Int32Array, path: string, backlog: number): Promise<number | undefined> {
  const c = libc();
  if (c === undefined) return undefined;
  for (;;) {
    const value = Atomics.load(slot, 0);
    if (value > 0) return duplicate(c, value - 1);
    if (value === FREE && !bindShared(slot, path, backlog) && Atomics.load(slot, 0) === FREE) return undefined;
    if (Atomics.load(slot, 0) !== BINDING) continue;
    const waiting = Atomics.waitAsync(slot, 0, BINDING, 1000);
    if (waiting.async) await waiting.value;
  }
}

/**
 * Binds the socket for all threads that will ask for it, if nobody has: the supervisor does it before they do, as it may
 * have rights to the directory that they have given up. False when it was not to be bound, or another thread is at it.
 */
export function bindShared(slot: Int32Array, path: string, backlog: number): boolean {
  const c = libc();
  if (c === undefined || Atomics.compareExchange(slot, 0, FREE, BINDING) !== FREE) return false;
  const fd = bindUnix(c, path, backlog);
  Atomics.store(slot, 0, fd === undefined ? FREE : fd + 1);
  Atomics.notify(slot, 0);
  return fd !== undefined;
}

/** Closes the shared socket and removes its file; the first thread that asks does it. */
export function releaseUnix(slot: Int32Array, path: string): void {
  const fd = Atomics.exchange(slot, 0, FREE) - 1;
  if (fd < 0) return;
  closeSync(fd);
  rmSync(Buffer.from(path, "latin1"), { force: true });
}

function bindUnix(c: Libc, path: string, backlog: number): number | undefined {
  const fd = c.socket(AF_UNIX, SOCK_STREAM);
  if (fd < 0) return undefined;
  if (c.bind(fd, unixAddress(path)) === 0) {
    // Like nginx's, it is open to everyone who may reach its directory.
    chmodSync(Buffer.from(path, "latin1"), 0o666);
    if (c.listen(fd, backlog) === 0) return fd;
  }
  closeSync(fd);
  return undefined;
}

function duplicate(c: Libc, fd: number): number | undefined {
  const copy = c.dup(fd);
  return copy < 0 ? undefined : copy;
}

/** `struct sockaddr_un`: the family is two bytes on Linux, length and family one each on macOS. */
function unixAddress(path: string): Buffer {
  const address = Buffer.alloc(2 + path.length + 1);
  if (constants.errno.EAGAIN === 35) {
    address[0] = address.length;
    address[1] = AF_UNIX;
  } else {
    address.writeUInt16LE(AF_UNIX);
  }
  address.write(path, 2, "latin1");
  return address;
}
