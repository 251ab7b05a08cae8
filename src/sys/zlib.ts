import {
  type Coder,
  coderMemory,
  FINISH,
  FLUSH,
  giveStruct,
  type Operation,
  type Struct,
  takeStruct,
} from "./coder.ts";
import { bindWhenUsed } from "./ffi.ts";

/**
 * zlib, as Node brings it: node:zlib's own streams compress in another thread, whatever the size, or all of a body at once.
 * The z_stream belongs to its Deflater or Inflater, and zlib keeps its address until deflateEnd() or inflateEnd(). What it
 * points to is zlib's own memory, of the C library's heap.
 */
const c = bindWhenUsed(null, {
  deflateInit2_: {
    return: "int32",
    arguments: ["pointer", "int32", "int32", "int32", "int32", "int32", "string", "int32"],
    sizes: { 0: 7 },
  },
  deflate: { return: "int32", arguments: ["pointer", "int32"] },
  deflateReset: { return: "int32", arguments: ["pointer"] },
  deflateEnd: { return: "int32", arguments: ["pointer"] },
  inflateInit2_: { return: "int32", arguments: ["pointer", "int32", "string", "int32"], sizes: { 0: 3 } },
  inflate: { return: "int32", arguments: ["pointer", "int32"] },
  inflateReset: { return: "int32", arguments: ["pointer"] },
  inflateEnd: { return: "int32", arguments: ["pointer"] },
});

/** <zlib.h>. Only the first digit of a version counts. */
const VERSION = "1";
const Z_NO_FLUSH = 0;
const Z_SYNC_FLUSH = 2;
const Z_FINISH = 4;
const Z_OK = 0;
const Z_STREAM_END = 1;
const Z_BUF_ERROR = -5;
const Z_DEFLATED = 8;
const Z_DEFAULT_STRATEGY = 0;
const MAX_WBITS = 15;
/** Added to windowBits for the header and trailer of gzip. */
const GZIP = 16;

/** struct z_stream: places of 64-bit and of 32-bit words. The three function pointers and `opaque` stay null. */
const Z_STREAM_BYTES = 112;
const NEXT_IN = 0;
const AVAIL_IN = 2;
const NEXT_OUT = 3;
const AVAIL_OUT = 8;

function flushOf(operation: Operation): number {
  return operation === FINISH ? Z_FINISH : operation === FLUSH ? Z_SYNC_FLUSH : Z_NO_FLUSH;
}

export interface DeflateSettings {
  /** 1 to 9 */
  readonly level: number;
  /** 8 to 15 */
  readonly windowBits: number;
  /** 1 to 9 */
  readonly memLevel: number;
}

/** Compresses in the gzip format. */
export class Deflater implements Coder {
  produced = 0;
  done = false;
  error = "";
  readonly bytes: number;
  private readonly stream: Struct;

  /** Throws RangeError, which says what zlib does. */
  constructor(settings: DeflateSettings) {
    const { level, windowBits, memLevel } = settings;
    // As <zconf.h> has it, and the state itself.
    this.bytes = 8192 + 2 ** (windowBits + 2) + 2 ** (memLevel + 9);
    this.stream = takeStruct();
    const { address } = this.stream;
    const code = c.deflateInit2_(
      address,
      level,
      Z_DEFLATED,
      windowBits + GZIP,
      memLevel,
      Z_DEFAULT_STRATEGY,
      VERSION,
      Z_STREAM_BYTES,
    );
    if (code === Z_OK) return;
    giveStruct(this.stream);
    throw new RangeError(`deflateInit2() failed: ${code}`);
  }

  code(bytes: Uint8Array | string, from: number, operation: Operation): number {
    const count = put(this.stream, bytes, from);
    const whole = from + count === bytes.length;
    const flush = whole ? flushOf(operation) : Z_NO_FLUSH;
    const code = c.deflate(this.stream.address, flush);
    const { outputBytes } = coderMemory();
    const { words } = this.stream;
    const room = words[AVAIL_OUT];
    this.produced = outputBytes - room;
    if (code !== Z_OK && code !== Z_STREAM_END && code !== Z_BUF_ERROR)
      this.error = `deflate() failed: ${flush}, ${code}`;
    this.done = whole && (operation === FINISH ? code === Z_STREAM_END : room > 0);
    return count - words[AVAIL_IN];
  }

  reset(): boolean {
    this.error = "";
    return c.deflateReset(this.stream.address) === Z_OK;
  }

  free(): void {
    c.deflateEnd(this.stream.address);
    giveStruct(this.stream);
  }
}

/** Expands the gzip format, also of several members. */
export class Inflater implements Coder {
  produced = 0;
  done = false;
  error = "";
  readonly bytes = 40 * 1024;
  private readonly stream: Struct;

  /** Throws RangeError, which says what zlib does. */
  constructor() {
    this.stream = takeStruct();
    const code = c.inflateInit2_(this.stream.address, MAX_WBITS + GZIP, VERSION, Z_STREAM_BYTES);
    if (code === Z_OK) return;
    giveStruct(this.stream);
    throw new RangeError(`inflateInit2() failed: ${code}`);
  }

  code(bytes: Uint8Array | string, from: number, operation: Operation): number {
    const { address, words } = this.stream;
    const count = put(this.stream, bytes, from);
    const whole = from + count === bytes.length;
    const flush = whole ? flushOf(operation) : Z_NO_FLUSH;
    let code = c.inflate(address, flush);
    // Another member follows.
    while (code === Z_STREAM_END && words[AVAIL_IN] > 0 && words[AVAIL_OUT] > 0) {
      c.inflateReset(address);
      code = c.inflate(address, flush);
    }
    const { outputBytes } = coderMemory();
    const room = words[AVAIL_OUT];
    const left = words[AVAIL_IN];
    this.produced = outputBytes - room;
    this.done = whole && left === 0 && room > 0;
    if (code !== Z_OK && code !== Z_STREAM_END && code !== Z_BUF_ERROR) {
      this.error = `inflate() failed: ${flush}, ${code}`;
    } else if (this.done && operation === FINISH && code !== Z_STREAM_END) {
      this.error = `inflate() returned ${code} on response end`;
    }
    return count - left;
  }

  reset(): boolean {
    this.error = "";
    return c.inflateReset(this.stream.address) === Z_OK;
  }

  free(): void {
    c.inflateEnd(this.stream.address);
    giveStruct(this.stream);
  }
}

/** Gives the stream bytes to take and room for what it makes; returns how many bytes. */
function put({ words, pointers }: Struct, bytes: Uint8Array | string, from: number): number {
  const memory = coderMemory();
  const count = memory.put(bytes, from);
  pointers[NEXT_IN] = memory.inputAddress;
  words[AVAIL_IN] = count;
  pointers[NEXT_OUT] = memory.outputAddress;
  words[AVAIL_OUT] = memory.outputBytes;
  return count;
}
