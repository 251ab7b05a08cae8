import { now } from "./clock.ts";
import { libc } from "./libc.ts";
import { mapMemory } from "./memory.ts";

/**
 * What of a file is in memory. preadv2(2) with RWF_NOWAIT reads from the page cache and never waits for a disk; it has the
 * kernel begin to read what is missing. For the rest there is the engine's `readFile` (net/engine.ts).
 */

/** The most that is read at once. */
const ROOM = 64 * 1024;
/** Files are looked at by blocks: what the kernel reads ahead, and forgets, are runs of pages. */
const BLOCK = 512 * 1024;
/** A block that was in memory is not looked at again for so long; of so many blocks, a power of two. */
const REMEMBERED_MS = 1000;
const REMEMBERED = 1024;

const PAGE = 4096;
/** <sys/uio.h>, <errno.h>, <linux/magic.h> */
const RWF_NOWAIT = 8;
const EOPNOTSUPP = 95;
const TMPFS_MAGIC = 0x01021994;
const OVERLAYFS_SUPER_MAGIC = 0x794c7630;

/** Mapped once and for all: a page with the struct iovec, and the bytes that it points to. */
interface Window {
  readonly iovec: bigint;
  readonly words: BigUint64Array;
  readonly bytes: Buffer;
}

let mapped: Window | undefined;

function open(): Window {
  const mapping = mapMemory(PAGE + ROOM);
  if (mapping === undefined) throw new RangeError("mmap() failed");
  const { address, buffer } = mapping;
  const words = new BigUint64Array(buffer, 0, 2);
  words[0] = address + BigInt(PAGE);
  return { iovec: address, words, bytes: Buffer.from(buffer, PAGE, ROOM) };
}

/**
 * Reads bytes of a file that are in memory: perhaps fewer than asked for, and none at its end. They are lent until the next
 * call. Undefined where the disk would have to be waited for, or the read fails.
 */
export function readCached(fd: number, position: number, length: number): Buffer | undefined {
  mapped ??= open();
  const { bytes } = mapped;
  const count = read(mapped, fd, position, Math.min(length, ROOM));
  if (count < 0) return undefined;
  return count === ROOM ? bytes : bytes.subarray(0, count);
}

/** A file that is to be sent by the kernel. */
export interface CachedFile {
  readonly fd: number;
  /** Tells it from others: of its device and inode. */
  readonly identity: number;
  readonly size: number;
}

/**
 * Up to where a file is in memory from there on, looked at as far as `wanted`, to the end of the block. The first and last
 * byte of each block are looked at, at some 0.5 µs each: pages missing between them are not noticed.
 */
export function cachedUntil(file: CachedFile, from: number, wanted: number): number {
  let at = from;
  while (at < wanted) {
    const block = Math.floor(at / BLOCK);
    if (!isCached(file, block)) return at;
    at = (block + 1) * BLOCK;
  }
  return at;
}

/** The blocks found in memory last, each at a place of its own: whose, which, and when (ms). */
const identities = new Float64Array(REMEMBERED);
const blocks = new Float64Array(REMEMBERED);
const times = new Float64Array(REMEMBERED).fill(Number.NEGATIVE_INFINITY);

function isCached({ fd, identity, size }: CachedFile, block: number): boolean {
  const slot = ((identity | 0) + block) & (REMEMBERED - 1);
  const time = now();
  if (identities[slot] === identity && blocks[slot] === block && time - times[slot] < REMEMBERED_MS) return true;
  mapped ??= open();
  const first = block * BLOCK;
  const last = Math.min(first + BLOCK, size) - 1;
  if (read(mapped, fd, first, 1) < 0 || read(mapped, fd, last, 1) < 0) return false;
  identities[slot] = identity;
  blocks[slot] = block;
  times[slot] = time;
  return true;
}

/** -1 for any failure. */
function read({ iovec, words }: Window, fd: number, position: number, length: number): number {
  const c = libc();
  const offset = BigInt(position);
  words[1] = BigInt(length);
  const count = c.preadv2(fd, iovec, 1, offset, RWF_NOWAIT);
  if (count >= 0 || c.errno() !== EOPNOTSUPP || !isTakenForMemory(fd)) return count;
  return c.preadv2(fd, iovec, 1, offset, 0);
}

/** struct statfs begins with the type, a long. */
const statfs = Buffer.alloc(256);

/**
 * Whether a file system that does not know RWF_NOWAIT is read from all the same. tmpfs has no disk. overlayfs is where
 * containers have their files, in memory most of them: to have the engine read them all would take four times the CPU for a
 * large file, so a read may wait there, as nginx's do. The others (NFS, FUSE) may be waited for much longer.
 */
function isTakenForMemory(fd: number): boolean {
  if (libc().fstatfs(fd, statfs) !== 0) return false;
  const type = statfs.readInt32LE();
  return type === TMPFS_MAGIC || type === OVERLAYFS_SUPER_MAGIC;
}
