import { type Coder, coderMemory, FINISH, FLUSH, type Operation, PROCESS, type Struct, takeStruct } from "./coder.ts";
import { bindWhenUsed } from "./ffi.ts";

/**
 * Brotli's encoder, as Node brings it. The encoder belongs to its BrotliEncoder until that frees it; its memory is of the C
 * library's heap. There is no way to begin a second stream with one.
 */
const c = bindWhenUsed(null, {
  // Null for the C library's malloc() and free().
  BrotliEncoderCreateInstance: { return: "handle", arguments: ["handle", "handle", "handle"], nullable: [0, 1, 2] },
  BrotliEncoderSetParameter: { return: "int32", arguments: ["handle", "int32", "uint32"] },
  // The four words, and what they point to, are mapped memory; nothing of it is kept.
  BrotliEncoderCompressStream: {
    return: "int32",
    arguments: ["handle", "int32", "pointer", "pointer", "pointer", "pointer", "pointer"],
    nullable: [6],
  },
  BrotliEncoderIsFinished: { return: "int32", arguments: ["handle"] },
  BrotliEncoderDestroyInstance: { return: "void", arguments: ["handle"] },
});

/** <brotli/encode.h> */
const BROTLI_PARAM_QUALITY = 1;
const BROTLI_PARAM_LGWIN = 2;

/** Words of 64 bits: the lower half of a length is a word of 32 bits as well. */
const AVAILABLE_IN = 0;
const NEXT_IN = 1;
const AVAILABLE_OUT = 2;
const NEXT_OUT = 3;

/** All encoders' in turn. Taken once, for as long as the process lives. */
let shared: Arguments | undefined;

interface Arguments {
  readonly struct: Struct;
  readonly availableIn: bigint;
  readonly nextIn: bigint;
  readonly availableOut: bigint;
  readonly nextOut: bigint;
}

function takeArguments(): Arguments {
  const struct = takeStruct();
  const at = (word: number) => struct.address + BigInt(word * 8);
  return {
    struct,
    availableIn: at(AVAILABLE_IN),
    nextIn: at(NEXT_IN),
    availableOut: at(AVAILABLE_OUT),
    nextOut: at(NEXT_OUT),
  };
}

/**
 * A block is compressed at once, and by itself Brotli makes one of up to the whole window: that could take a turn of the event
 * loop for a second. With a flush after so much responses are 1 to 1.5 % longer.
 */
const BLOCK = 32 * 1024;

/** The numbers of operations are Brotli's as well. */
export class BrotliEncoder implements Coder {
  produced = 0;
  done = false;
  error = "";
  readonly bytes = 0;
  private readonly encoder: bigint;
  /** Bytes that are not in a block yet. */
  private unsplit = 0;
  private flushing = false;

  /** Quality 0 to 11, the window's size as a power of two. Throws RangeError where there is no memory. */
  constructor(quality: number, windowBits: number) {
    this.encoder = c.BrotliEncoderCreateInstance(0n, 0n, 0n);
    if (this.encoder === 0n) throw new RangeError("BrotliEncoderCreateInstance() failed");
    c.BrotliEncoderSetParameter(this.encoder, BROTLI_PARAM_QUALITY, quality);
    c.BrotliEncoderSetParameter(this.encoder, BROTLI_PARAM_LGWIN, windowBits);
  }

  code(bytes: Uint8Array | string, from: number, operation: Operation): number {
    shared ??= takeArguments();
    const { struct, availableIn, nextIn, availableOut, nextOut } = shared;
    const { words, pointers } = struct;
    const memory = coderMemory();
    const count = this.flushing ? 0 : memory.put(bytes, from);
    const whole = from + count === bytes.length;
    const split = this.flushing || (!whole && this.unsplit + count >= BLOCK);
    words[AVAILABLE_IN * 2] = count;
    pointers[NEXT_IN] = memory.inputAddress;
    words[AVAILABLE_OUT * 2] = memory.outputBytes;
    pointers[NEXT_OUT] = memory.outputAddress;
    const now = split ? FLUSH : whole ? operation : PROCESS;
    const fine = c.BrotliEncoderCompressStream(this.encoder, now, availableIn, nextIn, availableOut, nextOut, 0n);
    const room = words[AVAILABLE_OUT * 2];
    const left = words[AVAILABLE_IN * 2];
    const taken = count - left;
    this.produced = memory.outputBytes - room;
    if (fine === 0) this.error = "BrotliEncoderCompressStream() failed";
    // It takes no more input before all of a flush has come out.
    this.flushing = split && left === 0 && room === 0;
    this.unsplit = split && left === 0 ? 0 : this.unsplit + taken;
    this.done =
      !split && whole && left === 0 && (now === FINISH ? c.BrotliEncoderIsFinished(this.encoder) !== 0 : room > 0);
    return taken;
  }

  reset(): boolean {
    return false;
  }

  free(): void {
    c.BrotliEncoderDestroyInstance(this.encoder);
  }
}
