/**
 * Some descriptors are left to files and to connections to servers: no client's connection is accepted while only those
 * are free. The system gives the lowest that is free, so whoever gets a high number has met the end of them.
 */
import { closeSync } from "node:fs";
import { openFilesLimit } from "../sys/limits.ts";
import { duplicate } from "./listening_socket.ts";

const RESERVED = 64;

/** The lowest of the reserved descriptors. */
function firstReserved(): number {
  const limit = openFilesLimit();
  return limit - Math.min(RESERVED, limit / 8);
}

/** The same when last looked at. */
let reserved = Number.POSITIVE_INFINITY;
let scarce: (() => void) | undefined;

/** An engine calls it at each listen: the limit may have changed. */
export function reserveDescriptors(): void {
  reserved = firstReserved();
}

/** Whether it is the last descriptor that is not reserved, or one that is: the next would take from those. */
export function isLate(descriptor: number): boolean {
  return descriptor >= reserved - 1;
}

/** `callback` hears when connections to servers have taken descriptors that are reserved, or found none. */
export function whenScarce(callback: () => void): void {
  scarce = callback;
}

/** An engine says so. */
export function becameScarce(): void {
  scarce?.();
}

/** Whether a connection would get a descriptor that is not reserved after these listening sockets had been duplicated. */
export function hasRoomFor(sockets: readonly number[]): boolean {
  if (sockets.length === 0) return true;
  const tried: number[] = [];
  for (const fd of [...sockets, sockets[0]]) tried.push(duplicate(fd));
  for (const fd of tried) if (fd >= 0) closeSync(fd);
  const first = firstReserved();
  return tried.every((fd) => fd >= 0 && fd < first);
}
