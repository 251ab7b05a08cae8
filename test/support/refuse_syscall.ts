/**
 * To be imported before the program (`--import`): a seccomp filter refuses it the system call with the number in
 * REFUSED_SYSCALL, as containers do. It holds for all threads and processes started later.
 */

// <linux/filter.h>, <linux/seccomp.h>: struct seccomp_data begins with the number of the call.
const LOAD_WORD = 0x20;
const JUMP_IF_EQUAL = 0x15;
const RETURN = 0x06;
const SECCOMP_RET_ERRNO = 0x00050000;
const SECCOMP_RET_ALLOW = 0x7fff0000;
const SECCOMP_SET_MODE_FILTER = 1;
const SYS_SECCOMP = process.arch === "x64" ? 317 : 277;
const PR_SET_NO_NEW_PRIVS = 38;
const EPERM = 1;

const instructions: readonly (readonly [code: number, onTrue: number, onFalse: number, value: number])[] = [
  [LOAD_WORD, 0, 0, 0],
  [JUMP_IF_EQUAL, 0, 1, Number(process.env.REFUSED_SYSCALL)],
  [RETURN, 0, 0, SECCOMP_RET_ERRNO | EPERM],
  [RETURN, 0, 0, SECCOMP_RET_ALLOW],
];
const filter = Buffer.alloc(8 * instructions.length);
for (const [i, [code, onTrue, onFalse, value]] of instructions.entries()) {
  filter.writeUInt16LE(code, 8 * i);
  filter[8 * i + 2] = onTrue;
  filter[8 * i + 3] = onFalse;
  filter.writeUInt32LE(value, 8 * i + 4);
}

function refuse(): void {
  const ffi = process.getBuiltinModule("node:ffi");
  const { functions } = ffi.dlopen(null, {
    prctl: { return: "int32", arguments: ["int32", "uint64", "uint64", "uint64", "uint64"] },
    syscall: { return: "int32", arguments: ["int32", "uint32", "uint32", "buffer"] },
    mmap: { return: "pointer", arguments: ["pointer", "uint64", "int32", "int32", "int32", "int64"] },
  });
  // The kernel copies the filter during the call; it is mapped so that it has an address.
  const address = BigInt(functions.mmap(0n, 4096n, 3, 0x22, -1, 0n));
  Buffer.from(ffi.toArrayBuffer(address, 4096, false)).set(filter);
  const program = Buffer.alloc(16);
  program.writeUInt16LE(instructions.length);
  program.writeBigUInt64LE(address, 8);
  functions.prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n);
  if (functions.syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, 0, program) !== 0) throw new Error("seccomp() failed");
}

// Whoever is started later inherits the filter, and may not have the variable.
if (process.env.REFUSED_SYSCALL !== undefined) refuse();
