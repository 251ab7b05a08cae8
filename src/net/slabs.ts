/**
 * Queues of bytes, in buffers of two fixed sizes (slabs) outside of the heap. Slabs are cut from blocks; except for a few,
 * blocks without a slab in use are freed at once. Left to the garbage collector they might stay for ever, since an idle
 * thread does not collect.
 */

/** Large enough for malloc() to use mmap() (MALLOC_MMAP_THRESHOLD_ in bin/holdfast), so that free() returns the memory. */
const BLOCK = 1024 * 1024;
/** How many unused blocks are kept for each size of slab. */
const KEPT = 4;

/** A buffer; `start..end` are the bytes queued in it. */
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

  /** Frees it. No read or write may be using it. */
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

  /** Frees the memory. */
  detach(): void {
    this.memory.transfer(0);
  }
}

class Pool {
  readonly size: number;
  /** Blocks with free slabs. */
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

/** One of 64 KiB, to read into. The caller releases it. */
export function takeSlab(): Slab {
  return large.take();
}

/** A FIFO of bytes. */
export class SlabQueue {
  /** The number of bytes queued. */
  length = 0;
  private slabs: Slab[] = [];
  private next = 0;

  /** Copies the bytes. */
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

  /** The first bytes, at most a buffer; empty if the queue is. Valid until they are dropped. */
  first(): Buffer {
    if (this.length === 0) return EMPTY;
    const { bytes, start, end } = this.slabs[this.next];
    return bytes.subarray(start, end);
  }

  /** Removes the first `count` bytes, which must be within `first()`. */
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

  /** The bytes of the buffer at `index`; undefined after the last. Nothing may have been dropped from the queue. */
  at(index: number): Buffer | undefined {
    const slab = this.slabs[index];
    return slab?.bytes.subarray(slab.start, slab.end);
  }

  /** All bytes in one buffer: a copy, if they are not in one already. */
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
