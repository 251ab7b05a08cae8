import type { IoUring } from "../../sys/io_uring.ts";
import { type Address, NO_ADDRESS } from "../address.ts";
import { ipv4Text, ipv6Text } from "../ip.ts";

const AF_INET = 2;
const AF_INET6 = 10;

/** A struct sockaddr_storage and its length; used during a call only. */
const STORAGE = Buffer.alloc(128);
const LENGTH = Buffer.alloc(4);

/** accept(2): a descriptor, or the negated errno. */
export function acceptFrom(calls: IoUring, fd: number): number {
  LENGTH.writeInt32LE(STORAGE.length);
  return calls.accept(fd, STORAGE, LENGTH);
}

/** The peer's address, after the last `acceptFrom`. */
export function acceptedFrom(): Address {
  return read();
}

/** A socket's own address; undefined if the system does not tell. */
export function localAddress(calls: IoUring, fd: number): Address | undefined {
  LENGTH.writeInt32LE(STORAGE.length);
  return calls.getsockname(fd, STORAGE, LENGTH) < 0 ? undefined : read();
}

/** Of the last address: those in front of us make many connections, which share the text. */
let lastHost = 0;
let lastText = ipv4Text(lastHost);

function read(): Address {
  const family = STORAGE.readUInt16LE(0);
  const port = STORAGE.readUInt16BE(2);
  if (family === AF_INET) {
    const host = STORAGE.readUInt32BE(4);
    if (host !== lastHost) {
      lastHost = host;
      lastText = ipv4Text(host);
    }
    return { family: "ipv4", host: lastText, port };
  }
  if (family === AF_INET6) return { family: "ipv6", host: ipv6Text(STORAGE.subarray(8, 24)), port };
  return NO_ADDRESS;
}
