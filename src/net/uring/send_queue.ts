import type { Piece, SendMemory } from "./send_memory.ts";

/** Bytes that a socket has not taken yet, in pieces of memory that the kernel can send from. */
export class SendQueue {
  /** The number of bytes. */
  length = 0;
  private readonly memory: SendMemory;
  private pieces: Piece[] = [];
  private next = 0;

  constructor(memory: SendMemory) {
    this.memory = memory;
  }

  /** Copies the bytes from `from` on. False without memory: then some of them are missing. */
  push(bytes: Uint8Array, from: number): boolean {
    let piece = this.pieces.at(-1);
    for (let at = from; at < bytes.length; ) {
      if (piece === undefined || piece.end === piece.bytes.length) {
        piece = this.memory.take(bytes.length - at);
        if (piece === undefined) return false;
        this.pieces.push(piece);
      }
      const count = piece.fill(bytes, at);
      at += count;
      this.length += count;
    }
    return true;
  }

  /** Copies the bytes before all others; there are no more than a small piece holds. False without memory. */
  pushFirst(bytes: Uint8Array): boolean {
    const piece = this.memory.take(bytes.length);
    if (piece === undefined) return false;
    piece.fill(bytes, 0);
    this.pieces.splice(this.next, 0, piece);
    this.length += bytes.length;
    return true;
  }

  /** The piece with the first bytes; undefined if there are none. */
  first(): Piece | undefined {
    return this.pieces[this.next];
  }

  /** The first `count` bytes, within the first piece, were taken. */
  drop(count: number): void {
    const piece = this.pieces[this.next];
    this.length -= count;
    piece.start += count;
    if (piece.start < piece.end) return;
    this.next++;
    if (this.length === 0) {
      this.pieces = [];
      this.next = 0;
    } else if (this.next > 32 && this.next * 2 > this.pieces.length) {
      this.pieces = this.pieces.slice(this.next);
      this.next = 0;
    }
    piece.release();
  }

  /** Drops all. The kernel must not be sending. */
  clear(): void {
    const { pieces, next } = this;
    this.pieces = [];
    this.next = 0;
    this.length = 0;
    for (let i = next; i < pieces.length; i++) pieces[i].release();
  }
}
