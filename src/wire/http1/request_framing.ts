import * as chunked from "./chunked.ts";

// What `next` returns; MORE: all bytes were read, and the body is not over.

const MORE = 0;
/** `dataStart..dataEnd` is body; go on at `pos`. */
export const DATA = 1;
/** The body is over; what follows begins at `pos`. */
export const OVER = 2;
/** The chunks are malformed. */
export const BROKEN = 3;

/** Reads a request's body, framed by Content-Length or in chunks. */
export class RequestFraming {
  dataStart = 0;
  dataEnd = 0;
  pos = 0;
  /** After DATA of chunks: where in it the last chunk begins, and its length from there on. */
  chunkStart = 0;
  chunkSize = 0;
  /** Bytes of a Content-Length that have not come yet. */
  private left = 0;
  private decoder: chunked.ChunkedDecoder | undefined = undefined;
  private inChunks = false;

  /** Prepares for the body that a head announces; false if there is none. `contentLength` is -1 without that field. */
  begin(contentLength: number, inChunks: boolean): boolean {
    this.inChunks = inChunks;
    if (inChunks) {
      if (this.decoder === undefined) this.decoder = new chunked.ChunkedDecoder();
      else this.decoder.reset();
      return true;
    }
    this.left = contentLength > 0 ? contentLength : 0;
    return this.left > 0;
  }

  /** True once the last byte of a Content-Length was read. */
  get whole(): boolean {
    return !this.inChunks && this.left === 0;
  }

  /** Continues at `start`. Chunks are joined until they are longer than `room` (ChunkedDecoder). */
  next(bytes: Buffer, start: number, end: number, room: number): number {
    const { decoder } = this;
    if (!this.inChunks || decoder === undefined) {
      const length = Math.min(this.left, end - start);
      this.left -= length;
      this.dataStart = start;
      this.dataEnd = start + length;
      this.pos = this.dataEnd;
      return length === 0 ? MORE : DATA;
    }
    const code = decoder.next(bytes, start, end, room);
    this.pos = decoder.pos;
    switch (code) {
      case chunked.DATA:
        this.dataStart = decoder.dataStart;
        this.dataEnd = decoder.dataEnd;
        this.chunkStart = decoder.chunkStart;
        this.chunkSize = decoder.chunkSize;
        return DATA;
      case chunked.CHUNKED_DONE:
        return OVER;
      case chunked.ERROR:
        return BROKEN;
      default:
        return MORE;
    }
  }
}
