import { fstatSync } from "node:fs";
import { forget, memoryAt } from "./ffi.ts";
import { libc } from "./libc.ts";

/** Memory outside of JavaScript's heap: mmap(2). The kernel, libraries and other processes may keep pointers to it. */

export interface Mapping {
  readonly address: bigint;
  readonly buffer: ArrayBuffer;
}

/**
 * What one process has of a memory that several map (memfd_create(2)). A descriptor of it is all that another process needs
 * (descriptor_passing.ts). It stays mapped as long as `buffer`, or a view of it, can be reached.
 */
export interface SharedMemory extends Mapping {
  /** To map it in other processes, where this one is to pass it on; else -1. Closed when the memory is unmapped. */
  readonly fd: number;
}

const PAGE = 4096;

/** <sys/mman.h>, <linux/memfd.h> and <fcntl.h> of Linux. */
const PROT_READ = 1;
const PROT_READ_WRITE = 1 | 2;
const MAP_SHARED = 1;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
/** F_SEAL_SEAL, F_SEAL_SHRINK and F_SEAL_GROW: a process that was taken over must not cut memory from under the others. */
const SEALS = 1 | 2 | 4;

const FAILED = 0xffff_ffff_ffff_ffffn;

/**
 * New memory of zeros. Undefined where there is none. It is never unmapped, since nobody can tell who has a pointer to it;
 * what is not needed is given back with `libc().discard`.
 */
export function mapMemory(bytes: number): Mapping | undefined {
  return map(bytes, MAP_PRIVATE_ANONYMOUS, -1, 0n);
}

/** The same of what is behind a descriptor. */
export function mapDescriptor(fd: number, bytes: number, offset: bigint): Mapping | undefined {
  return map(bytes, MAP_SHARED, fd, offset);
}

/** The first bytes of a file that others write. To write to them would be SIGSEGV. */
export function mapForReading(fd: number, bytes: number): Mapping | undefined {
  return map(bytes, MAP_SHARED, fd, 0n, PROT_READ);
}

function map(
  bytes: number,
  flags: number,
  fd: number,
  offset: bigint,
  protection = PROT_READ_WRITE,
): Mapping | undefined {
  const address = libc().mmap(0n, BigInt(bytes), protection, flags, fd, offset);
  return address === FAILED ? undefined : { address, buffer: memoryAt(address, bytes) };
}

/** Unmaps shared memory that can no longer be reached. */
const unreachable = new FinalizationRegistry<{
  readonly address: bigint;
  readonly bytes: bigint;
  readonly fd: number;
}>(({ address, bytes, fd }) => {
  libc().munmap(address, bytes);
  forget(address);
  if (fd >= 0) libc().close(fd);
});

/** New memory of zeros. `name` is what /proc/PID/maps shows. Throws RangeError where there is none. */
export function createSharedMemory(name: string, bytes: number): SharedMemory {
  const c = libc();
  const fd = c.memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) throw new RangeError(`memfd_create() failed (${c.errnoName()})`);
  if (c.ftruncate(fd, BigInt(pages(bytes))) !== 0) {
    const code = c.errnoName();
    c.close(fd);
    throw new RangeError(`ftruncate() of ${bytes} bytes failed (${code})`);
  }
  c.fcntl(fd, F_ADD_SEALS, SEALS);
  return mapShared(fd, fd, bytes);
}

/** Maps the memory behind a descriptor, which now belongs to the result. Throws RangeError where that cannot be. */
export function adoptSharedMemory(fd: number, bytes: number): SharedMemory {
  return mapShared(fd, fd, bytes);
}

/** Maps the memory behind a descriptor, and closes that. Throws RangeError where that cannot be. */
export function mapSharedMemory(fd: number, bytes: number): SharedMemory {
  const memory = mapShared(fd, -1, bytes);
  libc().close(fd);
  return memory;
}

function mapShared(fd: number, kept: number, bytes: number): SharedMemory {
  const c = libc();
  const length = pages(bytes);
  // To touch a page behind the end would be SIGBUS.
  const { size } = fstatSync(fd);
  if (size < length) {
    c.close(fd);
    throw new RangeError(`shared memory of ${bytes} bytes has ${size} only`);
  }
  const mapping = mapDescriptor(fd, length, 0n);
  if (mapping === undefined) {
    const code = c.errnoName();
    c.close(fd);
    throw new RangeError(`mmap() of ${bytes} bytes failed (${code})`);
  }
  const { address, buffer } = mapping;
  unreachable.register(buffer, { address, bytes: BigInt(length), fd: kept });
  return { fd: kept, address, buffer };
}

function pages(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / PAGE)) * PAGE;
}
