import { bindWhenUsed, memoryAt } from "../ffi.ts";
import { mapped } from "./memory.ts";

/**
 * The memory BIO that all connections of this process read from, and the one that they write to. Bytes are put in and
 * taken out in place, in the BUF_MEM of each, since a call into OpenSSL takes longer than a small record's encryption.
 */
const c = bindWhenUsed(null, {
  // The caller's reference, for ever. The bytes are read where they are.
  BIO_new_mem_buf: { return: "handle", arguments: ["pointer", "int32"], sizes: { 0: 1 } },
  BIO_s_mem: { return: "handle", arguments: [] },
  BIO_new: { return: "handle", arguments: ["handle"] },
  BIO_up_ref: { return: "int32", arguments: ["handle"] },
  BIO_read: { return: "int32", arguments: ["handle", "pointer", "int32"], sizes: { 1: 2 } },
  BIO_write: { return: "int32", arguments: ["handle", "pointer", "int32"], sizes: { 1: 2 } },
  BIO_set_flags: { return: "void", arguments: ["handle", "int32"] },
  BIO_ctrl: { return: "int64", arguments: ["handle", "int32", "int64", "pointer"], nullable: [3] },
});

/** <openssl/bio.h> */
const BIO_CTRL_RESET = 1;
const BIO_C_GET_BUF_MEM_PTR = 115;
const BIO_C_SET_BUF_MEM_EOF_RETURN = 130;
const BIO_FLAGS_NONCLEAR_RST = 0x400;

/** struct buf_mem_st of <openssl/buffer.h> in 32 bits each: `length`, `data` and `max`, whose upper halves are the words behind. */
const LENGTH = 0;
const DATA = 2;
const MAX = 4;
const BUF_MEM_BYTES = 32;

/** The BUF_MEM of a BIO that is never freed. */
function bufMemOf(bio: bigint): ArrayBuffer {
  const out = mapped(8);
  c.BIO_ctrl(bio, BIO_C_GET_BUF_MEM_PTR, 0n, out.address);
  return memoryAt(new BigUint64Array(out.buffer, 0, 1)[0], BUF_MEM_BYTES);
}

function madeBio(bio: bigint): bigint {
  if (bio === 0n) throw new RangeError("BIO_new() failed");
  return bio;
}

/** What comes from a peer. Reading from the BIO, which is a read-only one, moves the beginning in its BUF_MEM. */
export class InputBio {
  readonly bio: bigint;
  private readonly address: bigint;
  private readonly bytes: Buffer;
  private readonly words: Uint32Array;
  private readonly pointers: BigUint64Array;

  constructor(most: number) {
    const { address, buffer } = mapped(most);
    this.address = address;
    this.bytes = Buffer.from(buffer);
    this.bio = madeBio(c.BIO_new_mem_buf(address, most));
    // Nothing left to read is no end.
    c.BIO_ctrl(this.bio, BIO_C_SET_BUF_MEM_EOF_RETURN, -1n, 0n);
    const bufMem = bufMemOf(this.bio);
    this.words = new Uint32Array(bufMem);
    this.pointers = new BigUint64Array(bufMem);
    this.prove();
  }

  /** Bytes to be read by the next calls, in place of those before; at most `most` of them. */
  put(bytes: Uint8Array): void {
    this.bytes.set(bytes);
    this.pointers[DATA / 2] = this.address;
    this.words[LENGTH] = bytes.length;
    this.words[MAX] = bytes.length;
  }

  /** How many bytes no call has read. */
  get left(): number {
    return this.words[LENGTH];
  }

  /** Takes them back, a copy. */
  takeBack(): Buffer | undefined {
    const { left } = this;
    if (left === 0) return undefined;
    const from = Number(this.pointers[DATA / 2] - this.address);
    this.clear();
    return Buffer.from(this.bytes.subarray(from, from + left));
  }

  clear(): void {
    this.words[LENGTH] = 0;
  }

  private prove(): void {
    this.put(Buffer.from("ab"));
    c.BIO_read(this.bio, this.address, 1);
    if (this.takeBack()?.toString() !== "b") throw new Error("BIO_read() of a read-only memory BIO leaves its BUF_MEM");
  }
}

/** What goes to a peer. */
export class OutputBio {
  readonly bio: bigint;
  private readonly words: Uint32Array;
  private readonly pointers: BigUint64Array;
  /** What BUF_MEM points to; OpenSSL may take larger memory in its place. */
  private bytes: Buffer = Buffer.alloc(0);
  private addressLow = 0;
  private addressHigh = 0;
  /** How many of the bytes in it were taken. */
  private taken = 0;

  constructor() {
    this.bio = madeBio(c.BIO_new(c.BIO_s_mem()));
    c.BIO_set_flags(this.bio, BIO_FLAGS_NONCLEAR_RST);
    const bufMem = bufMemOf(this.bio);
    this.words = new Uint32Array(bufMem);
    this.pointers = new BigUint64Array(bufMem);
    this.prove();
  }

  /** All that was written since the last call, lent until OpenSSL is called again. */
  take(): Buffer | undefined {
    const { words, taken } = this;
    const length = words[LENGTH];
    if (length === taken) return undefined;
    if (words[DATA] !== this.addressLow || words[DATA + 1] !== this.addressHigh || length > this.bytes.length)
      this.map();
    this.taken = length;
    const bytes = this.bytes.subarray(taken, length);
    if (length > OUTPUT_KEPT) this.reset();
    return bytes;
  }

  private map(): void {
    const { words } = this;
    this.addressLow = words[DATA];
    this.addressHigh = words[DATA + 1];
    this.bytes = Buffer.from(memoryAt(this.pointers[DATA / 2], words[MAX]));
  }

  /** Has the next bytes written to the beginning; those there are left as they are. */
  private reset(): void {
    this.words[LENGTH] = 0;
    c.BIO_ctrl(this.bio, BIO_CTRL_RESET, 0n, 0n);
    this.taken = 0;
  }

  private prove(): void {
    const { address, buffer } = mapped(3);
    Buffer.from(buffer).write("abc", "latin1");
    c.BIO_write(this.bio, address, 3);
    const first = this.take()?.toString();
    this.reset();
    c.BIO_write(this.bio, address, 1);
    if (first !== "abc" || this.take()?.toString() !== "a")
      throw new Error("BIO_write() leaves the BUF_MEM of its BIO");
  }
}

/** So many bytes, more or less, go out before the beginning is used again: few enough to stay in the processor's cache. */
const OUTPUT_KEPT = 16 * 1024;

/** For an SSL, which takes a reference to each. */
export function referTo(...bios: readonly bigint[]): void {
  for (const bio of bios) c.BIO_up_ref(bio);
}
