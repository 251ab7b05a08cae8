import { libc } from "../sys/libc.ts";
import { type Mapping, mapMemory } from "../sys/memory.ts";
import { parseIpv4, socketIpv6 } from "./ip.ts";

/**
 * Lets new connections wait outside: the kernel drops the first packet of those to some addresses, as if it had been lost, and the
 * client sends it again a second later. What is connected by then, or about to be, is not affected.
 */

/** <sys/socket.h> */
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SO_DETACH_FILTER = 27;

/** The classic BPF, whose packets begin with the TCP header. */
type Instruction = readonly [code: number, yes: number, no: number, operand: number];
const LOAD_BYTE = 0x30;
const LOAD_WORD = 0x20;
const IF_EQUAL = 0x15;
const IF_AT_LEAST = 0x35;
const IF_ANY = 0x45;
const RETURN = 0x06;
const INSTRUCTION_BYTES = 8;
/** SKF_NET_OFF: from there on, the IP header. */
const IP = 0xfff0_0000;
const DESTINATION = { ipv4: IP + 16, ipv6: IP + 24 } as const;
/** The first byte of an IP header is at least that where it is IPv6's. */
const SIX = 0x60;
const FLAGS = 13;
const SYN = 0x02;
const DROP: Instruction = [RETURN, 0, 0, 0];
const TAKE: Instruction = [RETURN, 0, 0, 0xffff_ffff];

/** For as many addresses as a group may have. */
const MEMORY_BYTES = 4096;
let memory: Mapping | undefined;

/** `hosts`: addresses without ports; undefined: all. Throws a message. */
export function holdNew(fds: readonly number[], hosts: readonly string[] | undefined): void {
  memory ??= mapMemory(MEMORY_BYTES);
  if (memory === undefined) throw new Error("mmap() failed");
  const program = programOf(hosts);
  const view = new DataView(memory.buffer);
  program.forEach(([code, yes, no, operand], i) => {
    view.setUint16(i * INSTRUCTION_BYTES, code, true);
    view.setUint8(i * INSTRUCTION_BYTES + 2, yes);
    view.setUint8(i * INSTRUCTION_BYTES + 3, no);
    view.setUint32(i * INSTRUCTION_BYTES + 4, operand, true);
  });
  // struct sock_fprog
  const filter = Buffer.alloc(16);
  filter.writeUInt16LE(program.length, 0);
  filter.writeBigUInt64LE(memory.address, 8);
  for (const fd of fds) {
    if (libc().setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, filter) !== 0) {
      throw new Error(`setsockopt(SO_ATTACH_FILTER) failed (${libc().errnoName()})`);
    }
  }
}

/** They may come in again. */
export function admitNew(fds: readonly number[]): void {
  for (const fd of fds) libc().setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, Buffer.alloc(4));
}

function programOf(hosts: readonly string[] | undefined): Instruction[] {
  const isSyn: Instruction[] = [[LOAD_BYTE, 0, 0, FLAGS], [IF_ANY, 1, 0, SYN], TAKE];
  return hosts === undefined ? [...isSyn, DROP] : [...isSyn, ...hosts.flatMap(dropTo), TAKE];
}

/** Where the packet is for that address, it is dropped; else the next instruction follows. */
function dropTo(host: string): Instruction[] {
  const four = parseIpv4(host);
  if (four !== undefined) {
    return [
      [LOAD_BYTE, 0, 0, IP],
      [IF_AT_LEAST, 3, 0, SIX],
      [LOAD_WORD, 0, 0, DESTINATION.ipv4],
      [IF_EQUAL, 0, 1, four],
      DROP,
    ];
  }
  const bytes = Buffer.from(socketIpv6(host));
  const words = [0, 1, 2, 3].flatMap((word): Instruction[] => [
    [LOAD_WORD, 0, 0, DESTINATION.ipv6 + 4 * word],
    [IF_EQUAL, 0, 2 * (3 - word) + 1, bytes.readUInt32BE(4 * word)],
  ]);
  return [[LOAD_BYTE, 0, 0, IP], [IF_AT_LEAST, 0, words.length + 1, SIX], ...words, DROP];
}
