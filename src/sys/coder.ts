import { type Mapping, mapMemory } from "./memory.ts";

/** What a coder does with bytes that it is given, besides taking them. */
export const PROCESS = 0;
/** Makes all that it was given so far come out. */
export const FLUSH = 1;
/** Ends the stream. */
export const FINISH = 2;

export type Operation = typeof PROCESS | typeof FLUSH | typeof FINISH;

/** A stream of a library that compresses or expands. All of them read from `input` and write to `output`. */
export interface Coder {
  /**
   * Takes bytes from `from` on, INPUT_BYTES at most, and returns how many. `operation` applies once the last of them are
   * taken. Is to be called until `done`, with the rest of the bytes, or none.
   */
  code(bytes: Uint8Array | string, from: number, operation: Operation): number;
  /** How many bytes the last call has made: they are at the beginning of `output`, until any coder is called. */
  readonly produced: number;
  /** All bytes were taken and the operation is complete. */
  readonly done: boolean;
  /** Why the last call failed, for the error log; "" if it did not. The stream is of no use then. */
  readonly error: string;
  /** How much memory it takes, more or less. */
  readonly bytes: number;
  /** Begins a new stream, whatever became of the last one. False where that cannot be: it is to be freed. */
  reset(): boolean;
  /** Gives its memory back: it must not be used any more. */
  free(): void;
}

const INPUT_BYTES = 16 * 1024;
const OUTPUT_BYTES = 16 * 1024;

/**
 * Where coders read from and write to, one after another: within one call of `code` a library is done with what it was
 * given. Mapped once, for as long as the process lives.
 */
export interface CoderMemory {
  readonly inputAddress: bigint;
  readonly outputAddress: bigint;
  readonly output: Buffer;
  readonly outputBytes: number;
  /** Copies bytes from `from` on to where coders read, and returns how many. */
  put(bytes: Uint8Array | string, from: number): number;
}

let shared: CoderMemory | undefined;

export function coderMemory(): CoderMemory {
  shared ??= map();
  return shared;
}

function map(): CoderMemory {
  const { address, buffer } = mappedMemory(INPUT_BYTES + OUTPUT_BYTES);
  const input = Buffer.from(buffer, 0, INPUT_BYTES);
  return {
    inputAddress: address,
    outputAddress: address + BigInt(INPUT_BYTES),
    output: Buffer.from(buffer, INPUT_BYTES, OUTPUT_BYTES),
    outputBytes: OUTPUT_BYTES,
    put(bytes, from) {
      const left = bytes.length - from;
      if (left === 0) return 0;
      const count = Math.min(left, INPUT_BYTES);
      const all = from === 0 && count === left;
      if (typeof bytes === "string") input.latin1Write(all ? bytes : bytes.substring(from, from + count), 0, count);
      else input.set(all ? bytes : bytes.subarray(from, from + count));
      return count;
    },
  };
}

/** Memory for a struct of a library's, which may keep its address: 128 bytes, as words of 32 and of 64 bits. */
export interface Struct {
  readonly address: bigint;
  readonly words: Uint32Array;
  readonly pointers: BigUint64Array;
}

const STRUCT_BYTES = 128;
const STRUCTS_AT_ONCE = 32;
const unused: Struct[] = [];

/** Whoever takes one owns it, and gives it back with `giveStruct` when the library has forgotten its address. */
export function takeStruct(): Struct {
  const known = unused.pop();
  if (known !== undefined) {
    known.words.fill(0);
    return known;
  }
  const { address, buffer } = mappedMemory(STRUCT_BYTES * STRUCTS_AT_ONCE);
  for (let at = 0; at < buffer.byteLength; at += STRUCT_BYTES) {
    unused.push({
      address: address + BigInt(at),
      words: new Uint32Array(buffer, at, STRUCT_BYTES / 4),
      pointers: new BigUint64Array(buffer, at, STRUCT_BYTES / 8),
    });
  }
  return takeStruct();
}

export function giveStruct(struct: Struct): void {
  unused.push(struct);
}

function mappedMemory(bytes: number): Mapping {
  const mapping = mapMemory(bytes);
  if (mapping === undefined) throw new RangeError(`mmap() of ${bytes} bytes failed`);
  return mapping;
}
