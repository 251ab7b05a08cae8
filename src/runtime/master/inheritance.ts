import { closeSync, fstatSync, readSync, writeSync } from "node:fs";
import type { ZoneHandles } from "../../shm/registry.ts";
import { adoptZone, type ZoneHandle } from "../../shm/zone.ts";
import { isHeir } from "../../sys/launch.ts";
import { libc } from "../../sys/libc.ts";
import { MAX_WORKERS, type Sockets } from "../application.ts";
import { type SentZones, sentZones } from "../messages.ts";

/** What a master leaves to a new binary: its listening sockets and its shared zones. Two masters serve for a while. */
export interface Inheritance {
  /** By ListenSpec.key. */
  readonly sockets: Sockets;
  readonly zones: ZoneHandles;
  readonly generation: number;
  /** The first slot of the new master's workers: those of the old one have others. */
  readonly firstSlot: number;
  /** The old master. */
  readonly parent: number;
}

/** The same as text, with the new process's descriptors. */
interface Legacy extends Omit<Inheritance, "zones"> {
  readonly zones: SentZones;
}

/** How many slots each of two masters may use. */
export const SLOTS = MAX_WORKERS / 2;

/** The first descriptor of a child that is not standard input, output or error: here the text. */
const FIRST = 3;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const MFD_CLOEXEC = 1;

/**
 * The descriptors to start a new binary with, from number 3 on. The first of them, which belongs to the caller, holds the
 * text that says what the others are.
 */
export function bequeath({ zones, ...rest }: Omit<Inheritance, "parent">): readonly number[] {
  const fds: number[] = [];
  const place = (fd: number): number => FIRST + fds.push(fd);
  const legacy: Legacy = {
    ...rest,
    sockets: Object.fromEntries(Object.entries(rest.sockets).map(([key, all]) => [key, [...new Set(all)].map(place)])),
    zones: Object.fromEntries(
      Object.entries(sentZones(zones)).map(([key, zone]) => [key, { ...zone, fd: place(zone.fd) }]),
    ),
    parent: process.pid,
  };
  const text = libc().memfd_create("inherited", MFD_CLOEXEC);
  writeSync(text, JSON.stringify(legacy));
  return [text, ...fds];
}

/** What this process was left by the master that started it. */
export function inherit(): Inheritance | undefined {
  if (!isHeir) return undefined;
  const bytes = Buffer.alloc(fstatSync(FIRST).size);
  readSync(FIRST, bytes, 0, bytes.length, 0);
  closeSync(FIRST);
  const legacy: unknown = JSON.parse(bytes.toString());
  if (!isLegacy(legacy)) throw new Error("no legacy");
  const { zones, ...rest } = legacy;
  for (const fd of Object.values(rest.sockets).flat()) closeOnExec(fd);
  const handles: Record<string, ZoneHandle> = {};
  for (const [key, { fd, ...description }] of Object.entries(zones)) {
    closeOnExec(fd);
    // Another program's zones may have another layout: then new ones take their place.
    const handle = adoptZone(description, fd);
    if (handle !== undefined) handles[key] = handle;
  }
  return { ...rest, zones: handles };
}

/** Another version may have written it, or nobody at all. */
function isLegacy(value: unknown): value is Legacy {
  if (!isRecord(value) || !isRecord(value.sockets) || !isRecord(value.zones)) return false;
  const numbers = [value.generation, value.firstSlot, value.parent];
  return (
    numbers.every(Number.isInteger) &&
    Object.values(value.sockets).every((fds) => Array.isArray(fds) && fds.every(Number.isInteger)) &&
    Object.values(value.zones).every((zone) => isRecord(zone) && Number.isInteger(zone.fd) && isRecord(zone.kind))
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function closeOnExec(fd: number): void {
  libc().fcntl(fd, F_SETFD, FD_CLOEXEC);
}
