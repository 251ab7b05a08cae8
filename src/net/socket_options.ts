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

/** <sys/socket.h> and <netinet/tcp.h> */
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_SNDBUF = 7;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_DEFER_ACCEPT = 9;
const TCP_FASTOPEN = 23;

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
    if (c.setsockopt(fd, level, option, value) === 0) continue;
    failed.push(`setsockopt(${name}, ${number}) ${address} failed, ignored`);
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
  // As in nginx one second.
  if (deferred !== undefined) add("TCP_DEFER_ACCEPT", IPPROTO_TCP, TCP_DEFER_ACCEPT, deferred ? 1 : 0);
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
  if (fd >= 0) libc().listen(fd, backlog);
}
