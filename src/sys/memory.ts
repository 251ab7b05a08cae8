import { fstatSync } from "node:fs";
import { errnoName, libc } from "./libc.ts";

/**
 * Memory outside of JavaScript's heap that several processes map: memfd_create(2) and mmap(2). A descriptor of it is all
 * that another process needs (descriptor_passing.ts).
 */

/** What one process has of a shared memory. */
export interface SharedMemory {
  /** To map it in other processes, where this one is to pass it on; else -1. Closed when the memory is unmapped. */
  readonly fd: number;
  /** Where it begins. The memory stays mapped as long as `buffer`, or a view of it, can be reached. */
  readonly address: bigint;
  readonly buffer: ArrayBuffer;
}

const PAGE = 4096;

/** <sys/mman.h>, <linux/memfd.h> and <fcntl.h> of Linux. */
const PROT_READ_WRITE = 1 | 2;
const MAP_SHARED = 1;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
/** F_SEAL_SEAL, F_SEAL_SHRINK and F_SEAL_GROW: a process that was taken over must not cut memory from under the others. */
const SEALS = 1 | 2 | 4;

const FAILED = 0xffff_ffff_ffff_ffffn;

/** Unmaps what can no longer be reached. */
const mappings = new FinalizationRegistry<Mapping>(({ address, bytes, fd }) => {
  libc().munmap(address, bytes);
  if (fd >= 0) libc().close(fd);
});

interface Mapping {
  readonly address: bigint;
  readonly bytes: bigint;
  readonly fd: number;
}

/** New memory of zeros. `name` is what /proc/PID/maps shows. Throws RangeError where there is none. */
export function createSharedMemory(name: string, bytes: number): SharedMemory {
  const c = libc();
  const fd = c.memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) throw new RangeError(`memfd_create() failed (${errnoName()})`);
  if (c.ftruncate(fd, BigInt(pages(bytes))) !== 0) {
    const code = errnoName();
    c.close(fd);
    throw new RangeError(`ftruncate() of ${bytes} bytes failed (${code})`);
  }
  c.fcntl(fd, F_ADD_SEALS, SEALS);
  return map(fd, fd, bytes);
}

/** Maps the memory behind a descriptor, which now belongs to the result. Throws RangeError where that cannot be. */
export function adoptSharedMemory(fd: number, bytes: number): SharedMemory {
  return map(fd, fd, bytes);
}

/** Maps the memory behind a descriptor, and closes that. Throws RangeError where that cannot be. */
export function mapSharedMemory(fd: number, bytes: number): SharedMemory {
  const memory = map(fd, -1, bytes);
  libc().close(fd);
  return memory;
}

function map(fd: number, kept: number, bytes: number): SharedMemory {
  const c = libc();
  const length = pages(bytes);
  // To touch a page behind the end would be SIGBUS.
  const { size } = fstatSync(fd);
  if (size < length) {
    c.close(fd);
    throw new RangeError(`shared memory of ${bytes} bytes has ${size} only`);
  }
  const address = c.mmap(0n, BigInt(length), PROT_READ_WRITE, MAP_SHARED, fd, 0n);
  if (address === FAILED) {
    const code = errnoName();
    c.close(fd);
    throw new RangeError(`mmap() of ${bytes} bytes failed (${code})`);
  }
  const buffer = c.toArrayBuffer(address, length);
  mappings.register(buffer, { address, bytes: BigInt(length), fd: kept });
  return { fd: kept, address, buffer };
}

function pages(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / PAGE)) * PAGE;
}
