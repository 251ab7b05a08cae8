import { libc } from "./libc.ts";
import { mapMemory } from "./memory.ts";

/**
 * What of a file is in memory. preadv2(2) with RWF_NOWAIT reads from the page cache and never waits for a disk; it has the
 * kernel begin to read what is missing. For the rest there is the engine's `readFile` (net/engine.ts).
 */

/** The most that is read at once. */
const ROOM = 64 * 1024;
/** Files are looked at in these steps: what the kernel reads ahead, and forgets, are runs of pages. */
const STEP = 512 * 1024;

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

/**
 * How many bytes from there on need no disk, of so many: the last one is looked at, and every STEP one, at some 0.5 µs each.
 * Pages missing between two that are there are not noticed.
 */
export function cachedLength(fd: number, position: number, length: number): number {
  mapped ??= open();
  for (let known = 0; ; ) {
    const next = Math.min(known + STEP, length);
    if (read(mapped, fd, position + next - 1, 1) < 0) return known;
    if (next === length) return length;
    known = next;
  }
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
