const AT_FDCWD = -100;
const RENAME_EXCHANGE = 2;

/** Gives each of two files the other's name, at once. False where one of them is not there. */
export function exchangeFiles(one: string, other: string): boolean {
  const ffi = process.getBuiltinModule("node:ffi");
  const { functions } = ffi.dlopen(null, {
    renameat2: { return: "int32", arguments: ["int32", "buffer", "int32", "buffer", "uint32"] },
  });
  const path = (name: string): Buffer => Buffer.from(`${name}\0`);
  return functions.renameat2(AT_FDCWD, path(one), AT_FDCWD, path(other), RENAME_EXCHANGE) === 0;
}
