import { bindWhenUsed } from "../ffi.ts";

/** BIOs in memory: how OpenSSL's readers are given bytes, and its printers give text. */
const c = bindWhenUsed(null, {
  BIO_s_mem: { return: "handle", arguments: [] },
  // The caller's, until BIO_free.
  BIO_new: { return: "handle", arguments: ["handle"] },
  BIO_free: { return: "int32", arguments: ["handle"] },
  BIO_write: { return: "int32", arguments: ["handle", "buffer", "int32"], sizes: { 1: 2 } },
  BIO_read: { return: "int32", arguments: ["handle", "buffer", "int32"], sizes: { 1: 2 } },
  BIO_ctrl: { return: "int64", arguments: ["handle", "int32", "int64", "handle"], nullable: [3] },
  BIO_ctrl_pending: { return: "uint64", arguments: ["handle"] },
});

/** <openssl/bio.h>: what a read at the end returns. */
const BIO_C_SET_BUF_MEM_EOF_RETURN = 130;

/** Calls with a BIO that has a copy of these bytes, freed (and zeroed) when the call returns. */
export function withBytes<Result>(bytes: Uint8Array, use: (bio: bigint) => Result): Result {
  return withBio((bio) => {
    // As at the end of a file; a BIO that can be written to would say "try again".
    c.BIO_ctrl(bio, BIO_C_SET_BUF_MEM_EOF_RETURN, 0n, 0n);
    if (bytes.length > 0) c.BIO_write(bio, bytes, bytes.length);
    return use(bio);
  });
}

/** What is written to a BIO; undefined where `print` says that it failed. */
export function printed(print: (bio: bigint) => boolean): Buffer | undefined {
  return withBio((bio) => {
    if (!print(bio)) return undefined;
    const bytes = Buffer.alloc(Number(c.BIO_ctrl_pending(bio)));
    if (bytes.length > 0) c.BIO_read(bio, bytes, bytes.length);
    return bytes;
  });
}

function withBio<Result>(use: (bio: bigint) => Result): Result {
  const bio = c.BIO_new(c.BIO_s_mem());
  if (bio === 0n) throw new RangeError("BIO_new() failed");
  try {
    return use(bio);
  } finally {
    c.BIO_free(bio);
  }
}
