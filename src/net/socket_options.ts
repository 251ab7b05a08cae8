/** Parameters of `listen` that node:net cannot set: through FFI. */
import { libc } from "../sys/libc.ts";

/** Options of a listening socket, which accepted connections inherit. Sizes in bytes, times in seconds. */
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
  /** As nginx logs it. */
  readonly name: string;
  readonly level: number;
  readonly option: number;
  readonly value: number;
}

/** Returns a message for each option that could not be set. */
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
  // As in nginx one second; the option exists on Linux only.
  if (LINUX && deferred !== undefined) add("TCP_DEFER_ACCEPT", IPPROTO_TCP, TCP_DEFER_ACCEPT, deferred ? 1 : 0);
  if (keepalive === undefined) return wanted;
  add("SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, keepalive === false ? 0 : 1);
  if (typeof keepalive === "boolean") return wanted;
  add("TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, keepalive.idle);
  add("TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL, keepalive.interval);
  add("TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, keepalive.count);
  return wanted;
}

/** Calling listen(2) again changes only the length of the queue. */
export function changeBacklog(fd: number, backlog: number): void {
  if (fd >= 0) libc()?.listen(fd, backlog);
}
