import { randomFillSync } from "node:crypto";
import { lock, unlock } from "./lock.ts";

/**
 * A zone of shared memory: a header that says what it is, with the lock, and its contents. What lies underneath is known
 * in this folder alone; everybody else sees views of the contents.
 */

/** What a zone is used for (nginx's tag), and the version of the layout of its contents. */
export interface ZoneKind {
  readonly name: string;
  readonly version: number;
}

/** A zone as it travels to other threads in a message; `openZone` makes a Zone of it there. */
export interface ZoneHandle {
  readonly kind: ZoneKind;
  readonly name: string;
  /** Bytes of the contents. */
  readonly size: number;
  /** What the contents are filed under; see ZoneWanted. */
  readonly key: string | undefined;
  readonly memory: SharedArrayBuffer;
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

  /** Opens the zone that another thread, or this one, has made. Throws if the memory is none of this kind and size. */
  constructor(handle: ZoneHandle) {
    const { name, size, memory } = handle;
    this.name = name;
    this.size = size;
    this.handle = handle;
    this.#header = new Int32Array(memory, 0, HEADER.words);
    if (!describes(this.#header, handle)) throw new Error(`the memory of zone "${name}" is not what it should be`);
    this.words = new Int32Array(memory, HEADER_BYTES, Math.floor(size / 4));
    this.floats = new Float64Array(memory, HEADER_BYTES, Math.floor(size / 8));
    this.bytes = Buffer.from(memory, HEADER_BYTES, size);
  }

  /** Takes the zone's lock. True when its holder died: the contents may be half changed, and are to be made right first. */
  lock(): boolean {
    return lock(this.#header, HEADER.lock);
  }

  unlock(): void {
    unlock(this.#header, HEADER.lock);
  }

  /** Whether both are the same memory, whatever way it came here. */
  same(other: Zone): boolean {
    return this.#header[HEADER.id] === other.#header[HEADER.id];
  }
}

/** A new zone, its contents all zeros. Throws RangeError where there is no memory for it. */
export function makeZone(kind: ZoneKind, name: string, size: number, key?: string): Zone {
  const memory = new SharedArrayBuffer(HEADER_BYTES + size);
  const header = new Int32Array(memory, 0, HEADER.words);
  header[HEADER.kind] = hashOf(kind.name);
  header[HEADER.version] = kind.version;
  header[HEADER.sizeLow] = (size % UNIT) | 0;
  header[HEADER.sizeHigh] = Math.floor(size / UNIT);
  randomFillSync(header, HEADER.id, 1);
  header[HEADER.magic] = MAGIC;
  return new Zone({ kind, name, size, key, memory });
}

/** Whether the header is that of a zone of this kind, version and size. */
function describes(header: Int32Array, { kind, size, memory }: ZoneHandle): boolean {
  return (
    header[HEADER.magic] === MAGIC &&
    header[HEADER.kind] === hashOf(kind.name) &&
    header[HEADER.version] === kind.version &&
    header[HEADER.sizeLow] === ((size % UNIT) | 0) &&
    header[HEADER.sizeHigh] === Math.floor(size / UNIT) &&
    memory.byteLength >= HEADER_BYTES + size
  );
}

/** FNV-1a, to tell the kinds apart in a header. */
function hashOf(name: string): number {
  let hash = 0x811c9dc5 | 0;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash;
}
