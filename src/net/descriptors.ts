/**
 * Some descriptors are reserved for files and for connections to servers: while only those are free, no connection of a
 * client is accepted. The system assigns the lowest free number, so a high number means that few are left.
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

/** Its value at the last `listen`. */
let reserved = Number.POSITIVE_INFINITY;
let scarce: (() => void) | undefined;

/** Engines call this at each `listen`, since the limit may have changed. */
export function reserveDescriptors(): void {
  reserved = firstReserved();
}

/** Whether only reserved descriptors are left after this one. */
export function isLate(descriptor: number): boolean {
  return descriptor >= reserved - 1;
}

/** `callback` is called when a connection to a server got a reserved descriptor, or none. */
export function whenScarce(callback: () => void): void {
  scarce = callback;
}

/** Called by engines. */
export function becameScarce(): void {
  scarce?.();
}

/** Whether, once these listening sockets are duplicated, a connection would get a descriptor that is not reserved. */
export function hasRoomFor(sockets: readonly number[]): boolean {
  if (sockets.length === 0) return true;
  const tried: number[] = [];
  for (const fd of [...sockets, sockets[0]]) tried.push(duplicate(fd));
  for (const fd of tried) if (fd >= 0) closeSync(fd);
  const first = firstReserved();
  return tried.every((fd) => fd >= 0 && fd < first);
}
