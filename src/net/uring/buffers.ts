import { errnoName, errnoText } from "../../sys/errno.ts";
import { REGISTER_PBUF_RING } from "../../sys/io_uring.ts";
import { mapMemory } from "../../sys/memory.ts";
import type { Ring } from "./ring.ts";

/** How many views of each buffer are kept. */
const VIEWS = 16;

/** struct io_uring_buf: address, length, number; the first one's last field is the tail of the ring. */
const ENTRY_WORDS = 4;
const TAIL = 7;

/**
 * Buffers of one size that the kernel receives into (a ring of provided buffers). It takes one when bytes have come, so an
 * idle connection has none; each is given back when its bytes were handled. If they do not suffice there are soon more, up to
 * a limit; until then who was refused one asks again.
 */
export class BufferGroup {
  readonly id: number;
  readonly size: number;
  private readonly most: number;
  private count = 0;
  private readonly memory: Buffer;
  private readonly addressLow: number;
  private readonly addressHigh: number;
  private readonly words: Uint32Array;
  private readonly halves: Uint16Array;
  private tail = 0;
  /** Views that were made last, by buffer and length: making one costs more than finding it. */
  private readonly views: (Buffer | undefined)[] = [];

  private constructor(
    id: number,
    size: number,
    most: number,
    memory: ArrayBuffer,
    address: bigint,
    entries: ArrayBuffer,
  ) {
    this.id = id;
    this.size = size;
    this.most = most;
    this.memory = Buffer.from(memory);
    this.addressLow = Number(address & 0xffffffffn);
    this.addressHigh = Number(address >> 32n);
    this.words = new Uint32Array(entries);
    this.halves = new Uint16Array(entries);
  }

  /** With `first` buffers of `size`, later up to `most`, a power of two. Returns a sentence if that fails. */
  static open(ring: Ring, id: number, size: number, first: number, most: number): BufferGroup | string {
    const { calls } = ring;
    // Addresses only: pages that are not used take no memory.
    const buffers = mapMemory(most * size);
    const entries = mapMemory(Math.max(4096, most * 4 * ENTRY_WORDS));
    if (buffers === undefined || entries === undefined) return "mmap() failed";
    const bytes = new Uint8Array(40);
    const argument = new DataView(bytes.buffer);
    argument.setBigUint64(0, entries.address, true);
    argument.setUint32(8, most, true);
    argument.setUint16(12, id, true);
    const result = calls.register(ring.fd, REGISTER_PBUF_RING, bytes, 1);
    if (result < 0) return `io_uring_register(IORING_REGISTER_PBUF_RING) failed ${errnoText(errnoName(result))}`;
    const group = new BufferGroup(id, size, most, buffers.buffer, buffers.address, entries.buffer);
    group.add(first);
    return group;
  }

  /** Somebody got none. */
  starved(): void {
    this.add(Math.min(this.count, this.most - this.count));
  }

  private add(more: number): void {
    const { count } = this;
    this.count += more;
    for (let number = count; number < this.count; number++) {
      for (let i = 0; i < VIEWS; i++) this.views.push(undefined);
      this.giveBack(number);
    }
  }

  /** The first bytes of a buffer. */
  view(number: number, length: number): Buffer {
    const slot = number * VIEWS + (length & (VIEWS - 1));
    const kept = this.views[slot];
    if (kept !== undefined && kept.length === length) return kept;
    const at = number * this.size;
    const made = this.memory.subarray(at, at + length);
    this.views[slot] = made;
    return made;
  }

  /** The kernel may use it again. */
  giveBack(number: number): void {
    const { words, halves } = this;
    const entry = (this.tail & (this.most - 1)) * ENTRY_WORDS;
    const low = this.addressLow + number * this.size;
    words[entry] = low >>> 0;
    words[entry + 1] = low > 0xffffffff ? this.addressHigh + 1 : this.addressHigh;
    words[entry + 2] = this.size;
    halves[entry * 2 + 6] = number;
    this.tail = (this.tail + 1) & 0xffff;
    halves[TAIL] = this.tail;
  }
}
