import { bindWhenUsed } from "../ffi.ts";

const c = bindWhenUsed(null, {
  // Returns the last argument, 32 bytes.
  SHA256: { return: "handle", arguments: ["buffer", "uint64", "buffer"], sizes: { 0: 1 } },
});

const SHA256_BYTES = 32;

/** 32 bytes. For texts that nobody may find another one for: unlike shm/digest.ts. */
export function sha256(bytes: Uint8Array): Buffer {
  const digest = Buffer.alloc(SHA256_BYTES);
  c.SHA256(bytes, BigInt(bytes.length), digest);
  return digest;
}
