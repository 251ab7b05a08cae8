/** Resource limits and CPU affinity: getrlimit(2), setrlimit(2), sched_setaffinity(2). */

import { errnoText } from "./errno.ts";
import { libc } from "./libc.ts";

/** <sys/resource.h> */
const RESOURCES = { RLIMIT_NOFILE: 7, RLIMIT_CORE: 4 };

/** CPU_SETSIZE */
export const MOST_CPUS = 1024;

/** worker_rlimit_*: sets the soft and the hard limit of the process. Returns the message of a failure. */
export function setLimit(resource: keyof typeof RESOURCES, value: number): string | undefined {
  const limits = Buffer.alloc(16);
  limits.writeBigUInt64LE(BigInt(value), 0);
  limits.writeBigUInt64LE(BigInt(value), 8);
  if (libc().setrlimit(RESOURCES[resource], limits) === 0) return undefined;
  return `setrlimit(${resource}, ${value}) failed ${errnoText(libc().errnoName())}`;
}

/** The soft limit of open files; Infinity if it is not known. */
export function openFilesLimit(): number {
  const limits = Buffer.alloc(16);
  if (libc().getrlimit(RESOURCES.RLIMIT_NOFILE, limits) !== 0) return Number.POSITIVE_INFINITY;
  return Number(limits.readBigUInt64LE(0));
}

/** Pins the calling thread to the CPUs of that mask, a bit each. False if that fails. */
export function setAffinity(mask: bigint): boolean {
  const bytes = Buffer.alloc(MOST_CPUS / 8);
  for (let cpu = 0; cpu < MOST_CPUS; cpu++) if ((mask >> BigInt(cpu)) & 1n) bytes[cpu >> 3] |= 1 << (cpu & 7);
  return libc().setAffinity(bytes) === 0;
}
