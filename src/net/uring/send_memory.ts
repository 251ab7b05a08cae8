import { libc } from "../../sys/libc.ts";
import { mapMemory } from "../../sys/memory.ts";

/**
 * Memory for bytes that a socket did not take at once. The kernel sends from it while it waits for room, so it is neither in
 * the JavaScript heap nor does it move. It is taken only while something is on its way.
 */

const BLOCK = 1024 * 1024;
/** How many unused blocks are kept for each size of piece. */
const KEPT = 2;
const SMALL = 16 * 1024;
const LARGE = 64 * 1024;

/** A piece of a block. `start..end` are the bytes to be sent. */
export class Piece {
  readonly bytes: Buffer;
  readonly addressLow: number;
  readonly addressHigh: number;
  start = 0;
  end = 0;
  private readonly block: Block;

  constructor(bytes: Buffer, address: bigint, block: Block) {
    this.bytes = bytes;
    this.addressLow = Number(address & 0xffffffffn);
    this.addressHigh = Number(address >> 32n);
    this.block = block;
  }

  /** Copies what has room, from `from` on. Returns how much that was. */
  fill(bytes: Uint8Array, from: number): number {
    const room = this.bytes.length - this.end;
    const count = Math.min(room, bytes.length - from);
    this.bytes.set(from === 0 && count === bytes.length ? bytes : bytes.subarray(from, from + count), this.end);
    this.end += count;
    return count;
  }

  /** Neither we nor the kernel use it any more. */
  release(): void {
    this.start = 0;
    this.end = 0;
    this.block.put(this);
  }
}

class Block {
  readonly free: Piece[] = [];
  readonly address: bigint;
  /** Its pages have been given back to the system. */
  discarded = false;
  private readonly pool: Pool;
  private readonly pieces: number;

  constructor(pool: Pool, address: bigint, memory: ArrayBuffer) {
    this.pool = pool;
    this.address = address;
    this.pieces = BLOCK / pool.size;
    for (let at = 0; at < BLOCK; at += pool.size) {
      this.free.push(new Piece(Buffer.from(memory, at, pool.size), address + BigInt(at), this));
    }
  }

  get unused(): boolean {
    return this.free.length === this.pieces;
  }

  put(piece: Piece): void {
    if (this.free.length === 0) this.pool.open.push(this);
    this.free.push(piece);
    if (this.unused) this.pool.emptied(this);
  }
}

class Pool {
  readonly size: number;
  /** Blocks with free pieces; the last one is taken from. */
  readonly open: Block[] = [];

  constructor(size: number) {
    this.size = size;
  }

  /** Undefined without memory. */
  take(): Piece | undefined {
    let block = this.open.at(-1);
    if (block === undefined) {
      const mapping = mapMemory(BLOCK);
      if (mapping === undefined) return undefined;
      block = new Block(this, mapping.address, mapping.buffer);
      this.open.push(block);
    }
    block.discarded = false;
    const piece = block.free.pop();
    if (block.free.length === 0) this.open.pop();
    return piece;
  }

  /** Gives back the pages of a block where enough others are unused, and puts it behind all that are in use. */
  emptied(block: Block): void {
    let unused = 0;
    for (const other of this.open) if (other.unused && !other.discarded) unused++;
    if (unused <= KEPT) return;
    libc().discard(block.address, BigInt(BLOCK));
    block.discarded = true;
    this.open.splice(this.open.indexOf(block), 1);
    this.open.unshift(block);
  }
}

/** Pieces of two sizes: for the rest of a small response, and for bulk. */
export class SendMemory {
  private readonly small = new Pool(SMALL);
  private readonly large = new Pool(LARGE);

  /** One for so many bytes, or for the first of them. Undefined without memory. */
  take(length: number): Piece | undefined {
    return (length <= SMALL ? this.small : this.large).take();
  }
}
