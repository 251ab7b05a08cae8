import { type Coder, coderMemory, FINISH, FLUSH, type Operation, type Struct, takeStruct } from "./coder.ts";
import { bindWhenUsed, stringAt } from "./ffi.ts";

/**
 * Zstandard's compressor, as Node brings it. The ZSTD_CCtx belongs to its ZstdEncoder until that frees it; its memory is of
 * the C library's heap.
 */
const c = bindWhenUsed(null, {
  ZSTD_createCCtx: { return: "handle", arguments: [] },
  ZSTD_CCtx_setParameter: { return: "uint64", arguments: ["handle", "int32", "int32"] },
  ZSTD_CCtx_reset: { return: "uint64", arguments: ["handle", "int32"] },
  // Both buffers, and what they point to, are mapped memory; nothing of it is kept.
  ZSTD_compressStream2: { return: "uint64", arguments: ["handle", "pointer", "pointer", "int32"] },
  ZSTD_sizeof_CCtx: { return: "uint64", arguments: ["handle"] },
  ZSTD_isError: { return: "uint32", arguments: ["uint64"] },
  // The text is the library's.
  ZSTD_getErrorName: { return: "handle", arguments: ["uint64"] },
  ZSTD_freeCCtx: { return: "uint64", arguments: ["handle"] },
});

/** <zstd.h> */
const ZSTD_C_COMPRESSION_LEVEL = 100;
const ZSTD_C_MAX_BLOCK_SIZE = 1015;
const ZSTD_RESET_SESSION_ONLY = 1;
const ZSTD_E_CONTINUE = 0;
const ZSTD_E_FLUSH = 1;
const ZSTD_E_END = 2;

/**
 * A block is compressed at once, as soon as there is enough for it. The usual 128 KiB would take a turn of the event loop for
 * several ms; with these, responses are 0.5 to 1 % longer.
 */
const BLOCK = 32 * 1024;

/** Words of 64 bits in the struct: a ZSTD_inBuffer, and behind it a ZSTD_outBuffer. */
const IN = 0;
const OUT = 4;
const SIZE = 1;
const POS = 2;

/** All encoders' in turn. Taken once, for as long as the process lives. */
let shared: { readonly struct: Struct; readonly input: bigint; readonly output: bigint } | undefined;

function takeBuffers(): NonNullable<typeof shared> {
  const struct = takeStruct();
  return { struct, input: struct.address, output: struct.address + BigInt(OUT * 8) };
}

export class ZstdEncoder implements Coder {
  produced = 0;
  done = false;
  error = "";
  private readonly context: bigint;

  /** Throws RangeError where there is no memory. */
  constructor(level: number) {
    this.context = c.ZSTD_createCCtx();
    if (this.context === 0n) throw new RangeError("ZSTD_createCCtx() failed");
    c.ZSTD_CCtx_setParameter(this.context, ZSTD_C_COMPRESSION_LEVEL, level);
    c.ZSTD_CCtx_setParameter(this.context, ZSTD_C_MAX_BLOCK_SIZE, BLOCK);
  }

  get bytes(): number {
    return Number(c.ZSTD_sizeof_CCtx(this.context));
  }

  code(bytes: Uint8Array | string, from: number, operation: Operation): number {
    shared ??= takeBuffers();
    const { words, pointers } = shared.struct;
    const memory = coderMemory();
    const count = memory.put(bytes, from);
    const whole = from + count === bytes.length;
    pointers[IN] = memory.inputAddress;
    words[(IN + SIZE) * 2] = count;
    words[(IN + POS) * 2] = 0;
    pointers[OUT] = memory.outputAddress;
    words[(OUT + SIZE) * 2] = memory.outputBytes;
    words[(OUT + POS) * 2] = 0;
    const now = !whole
      ? ZSTD_E_CONTINUE
      : operation === FINISH
        ? ZSTD_E_END
        : operation === FLUSH
          ? ZSTD_E_FLUSH
          : ZSTD_E_CONTINUE;
    const left = c.ZSTD_compressStream2(this.context, shared.output, shared.input, now);
    const taken = words[(IN + POS) * 2];
    this.produced = words[(OUT + POS) * 2];
    if (c.ZSTD_isError(left) !== 0)
      this.error = `ZSTD_compressStream2() failed: ${stringAt(c.ZSTD_getErrorName(left))}`;
    // What is left to flush, or a guess of how much more input there should be.
    this.done =
      whole && taken === count && (now === ZSTD_E_CONTINUE ? this.produced < memory.outputBytes : left === 0n);
    return taken;
  }

  reset(): boolean {
    this.error = "";
    return c.ZSTD_isError(c.ZSTD_CCtx_reset(this.context, ZSTD_RESET_SESSION_ONLY)) === 0;
  }

  free(): void {
    c.ZSTD_freeCCtx(this.context);
  }
}
