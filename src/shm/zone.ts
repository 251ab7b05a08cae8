import { adoptSharedMemory, createSharedMemory, mapSharedMemory, type SharedMemory } from "../sys/memory.ts";
import { randomInt32 } from "../sys/random.ts";
import { Lock } from "./lock.ts";

/**
 * A zone of shared memory: a header that says what it is, with the lock, and its contents. What lies underneath is known
 * in this folder alone; everybody else sees views of the contents.
 */

/** What a zone is used for (nginx's tag), and the version of the layout of its contents. */
export interface ZoneKind {
  readonly name: string;
  readonly version: number;
}

/** What one process knows of a zone; `new Zone` makes one of it. */
export interface ZoneHandle extends ZoneDescription {
  readonly memory: ZoneMemory;
}

/** The memory of a zone: shared, or this process's own. */
type ZoneMemory = SharedMemory | { readonly buffer: ArrayBuffer };

/** A zone as it travels to other processes in a message, beside its descriptor. */
export interface ZoneDescription {
  readonly kind: ZoneKind;
  readonly name: string;
  /** Bytes of the contents. */
  readonly size: number;
  /** What the contents are filed under; see ZoneWanted. */
  readonly key: string | undefined;
}

/** "HFZ" and the version of the header. */
const MAGIC = 0x48465a01;
/** Words of the header. */
const HEADER = { magic: 0, kind: 1, version: 2, sizeLow: 3, sizeHigh: 4, id: 5, lock: 8, words: 16 } as const;
const HEADER_BYTES = HEADER.words * 4;
const UNIT = 2 ** 32;

export class Zone {
  readonly name: string;
  /** Bytes of the contents. */
  readonly size: number;
  /** Views of the contents. Words and floats reach as far as whole ones fit. */
  readonly words: Int32Array;
  readonly floats: Float64Array;
  readonly bytes: Buffer;
  readonly handle: ZoneHandle;
  readonly #header: Int32Array;
  readonly #lock: Lock;

  /** Opens the zone that another process, or this one, has made. Throws if the memory is none of this kind and size. */
  constructor(handle: ZoneHandle) {
    const { name, size } = handle;
    const memory = handle.memory.buffer;
    this.name = name;
    this.size = size;
    this.handle = handle;
    this.#header = headerOf(handle);
    if (!isIntact(handle)) throw new Error(`the memory of zone "${name}" is not what it should be`);
    this.#lock = lockOf(handle);
    this.words = new Int32Array(memory, HEADER_BYTES, Math.floor(size / 4));
    this.floats = new Float64Array(memory, HEADER_BYTES, Math.floor(size / 8));
    this.bytes = Buffer.from(memory, HEADER_BYTES, size);
  }

  /** Takes the zone's lock. True when its holder died: the contents may be half changed, and are to be made right first. */
  lock(): boolean {
    return this.#lock.take();
  }

  unlock(): void {
    this.#lock.leave();
  }

  /** Whether both are the same memory, whatever way it came here. */
  same(other: Zone): boolean {
    return this.#header[HEADER.id] === other.#header[HEADER.id];
  }
}

function headerOf({ memory }: ZoneHandle): Int32Array {
  return new Int32Array(memory.buffer, 0, HEADER.words);
}

function lockOf(handle: ZoneHandle): Lock {
  const { memory } = handle;
  const address = "address" in memory ? memory.address + BigInt(HEADER.lock * 4) : undefined;
  return new Lock(headerOf(handle), HEADER.lock, address);
}

/** That process has died: the lock of this zone, whatever else is in it, is not its own any more. */
export function freeLock(handle: ZoneHandle, process: number): void {
  lockOf(handle).free(process);
}

/** A new zone, its contents all zeros. Throws RangeError where there is no memory for it. */
export function makeZone(kind: ZoneKind, name: string, size: number, key?: string): Zone {
  return formatted({ kind, name, size, key, memory: createSharedMemory(`${kind.name} ${name}`, HEADER_BYTES + size) });
}

/** The same in memory that no other process will see. */
export function makeOwnZone(kind: ZoneKind, name: string, size: number): Zone {
  return formatted({ kind, name, size, key: undefined, memory: { buffer: new ArrayBuffer(HEADER_BYTES + size) } });
}

function formatted(handle: ZoneHandle): Zone {
  const { kind, size } = handle;
  const header = headerOf(handle);
  header[HEADER.kind] = hashOf(kind.name);
  header[HEADER.version] = kind.version;
  header[HEADER.sizeLow] = (size % UNIT) | 0;
  header[HEADER.sizeHigh] = Math.floor(size / UNIT);
  header[HEADER.id] = randomInt32();
  header[HEADER.magic] = MAGIC;
  return new Zone(handle);
}

/** The zone of that description, whose memory another process has made. The descriptor belongs to the result. */
export function receiveZone(description: ZoneDescription, fd: number): ZoneHandle {
  return { ...description, memory: mapSharedMemory(fd, HEADER_BYTES + description.size) };
}

/**
 * The same, with the descriptor kept to pass it on. undefined where the memory is none of that kind and size: what made
 * it may have been another version of this program.
 */
export function adoptZone(description: ZoneDescription, fd: number): ZoneHandle | undefined {
  let handle: ZoneHandle;
  try {
    handle = { ...description, memory: adoptSharedMemory(fd, HEADER_BYTES + description.size) };
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
  return isIntact(handle) ? handle : undefined;
}

/** Whether the header is that of a zone of this kind, version and size. */
export function isIntact(handle: ZoneHandle): boolean {
  const { kind, size, memory } = handle;
  const header = headerOf(handle);
  return (
    header[HEADER.magic] === MAGIC &&
    header[HEADER.kind] === hashOf(kind.name) &&
    header[HEADER.version] === kind.version &&
    header[HEADER.sizeLow] === ((size % UNIT) | 0) &&
    header[HEADER.sizeHigh] === Math.floor(size / UNIT) &&
    memory.buffer.byteLength >= HEADER_BYTES + size
  );
}

/** FNV-1a, to tell the kinds apart in a header. */
function hashOf(name: string): number {
  let hash = 0x811c9dc5 | 0;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash;
}
