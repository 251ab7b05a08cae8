/**
 * Bytes that wait: queues of buffers (slabs) of two fixed sizes, outside of JavaScript's heap. They are cut from blocks,
 * and a block of which nothing is used goes back to the system at once, beyond a few: waiting for the collector could
 * take for ever, since a thread without work does not collect.
 */

/** Large enough that the C library maps a block of its own (MALLOC_MMAP_THRESHOLD_ in bin/holdfast). */
const BLOCK = 1024 * 1024;
/** How many unused blocks of either size of slab are kept for the next. */
const KEPT = 4;

/** A buffer; `start..end` are the bytes that wait in it. */
export class Slab {
  readonly bytes: Buffer;
  start = 0;
  end = 0;
  private readonly block: Block;
  private taken = false;

  constructor(bytes: Buffer, block: Block) {
    this.bytes = bytes;
    this.block = block;
  }

  take(): this {
    this.taken = true;
    this.start = 0;
    this.end = 0;
    return this;
  }

  /** Nobody, the system neither, may use it any more. */
  release(): void {
    if (this.taken) this.block.put(this);
    this.taken = false;
  }
}

class Block {
  readonly free: Slab[] = [];
  private readonly memory = new ArrayBuffer(BLOCK);
  private readonly pool: Pool;

  constructor(pool: Pool) {
    this.pool = pool;
    for (let at = 0; at < BLOCK; at += pool.size) {
      this.free.push(new Slab(Buffer.from(this.memory, at, pool.size), this));
    }
  }

  get unused(): boolean {
    return this.free.length === BLOCK / this.pool.size;
  }

  put(slab: Slab): void {
    if (this.free.length === 0) this.pool.open.push(this);
    this.free.push(slab);
    if (this.unused) this.pool.emptied(this);
  }

  /** Gives the memory back now. */
  detach(): void {
    this.memory.transfer(0);
  }
}

class Pool {
  readonly size: number;
  /** The blocks of which something is free. */
  readonly open: Block[] = [];

  constructor(size: number) {
    this.size = size;
  }

  take(): Slab {
    let block = this.open.at(-1);
    if (block === undefined) {
      block = new Block(this);
      this.open.push(block);
    }
    const slab = block.free.pop();
    if (block.free.length === 0) this.open.pop();
    if (slab === undefined) throw new Error("an open block without a free slab");
    return slab.take();
  }

  emptied(block: Block): void {
    let unused = 0;
    for (const other of this.open) if (other.unused) unused++;
    if (unused <= KEPT) return;
    this.open.splice(this.open.indexOf(block), 1);
    block.detach();
  }
}

const large = new Pool(64 * 1024);
const small = new Pool(8 * 1024);

/** One of 64 KiB, to read into. Whoever takes it releases it. */
export function takeSlab(): Slab {
  return large.take();
}

/** First in, first out. */
export class SlabQueue {
  /** Bytes waiting. */
  length = 0;
  private slabs: Slab[] = [];
  private next = 0;

  /** Takes bytes lent for the call. */
  push(bytes: Uint8Array): void {
    const { length } = bytes;
    let at = 0;
    this.length += length;
    let last = this.slabs.at(-1);
    while (at < length) {
      if (last === undefined || last.end === last.bytes.length) {
        last = (length - at > small.size ? large : small).take();
        this.slabs.push(last);
      }
      const part = Math.min(length - at, last.bytes.length - last.end);
      last.bytes.set(part === length ? bytes : bytes.subarray(at, at + part), last.end);
      last.end += part;
      at += part;
    }
  }

  /** The bytes that have waited longest, at most one buffer's; empty when none wait. Lent until they are dropped. */
  first(): Buffer {
    if (this.length === 0) return EMPTY;
    const { bytes, start, end } = this.slabs[this.next];
    return bytes.subarray(start, end);
  }

  /** Forgets so many of the first bytes, which must be within `first()`. */
  drop(count: number): void {
    if (count === 0) return;
    this.length -= count;
    const slab = this.slabs[this.next];
    slab.start += count;
    if (slab.start < slab.end) return;
    if (this.length === 0) {
      this.slabs = [];
      this.next = 0;
    } else if (++this.next > 32 && this.next * 2 > this.slabs.length) {
      this.slabs = this.slabs.slice(this.next);
      this.next = 0;
    }
    slab.release();
  }

  /** The bytes of the buffer at `index`, of a queue of which nothing was dropped; undefined behind the last. */
  at(index: number): Buffer | undefined {
    const slab = this.slabs[index];
    return slab?.bytes.subarray(slab.start, slab.end);
  }

  /** All that waits, in one piece: lent where it is in one buffer, else a copy. */
  whole(): Buffer {
    if (this.slabs.length - this.next <= 1) return this.first();
    return Buffer.concat(this.slabs.slice(this.next).map(({ bytes, start, end }) => bytes.subarray(start, end)));
  }

  clear(): void {
    const { slabs, next } = this;
    this.slabs = [];
    this.next = 0;
    this.length = 0;
    for (let i = next; i < slabs.length; i++) slabs[i].release();
  }
}

const EMPTY = Buffer.alloc(0);
