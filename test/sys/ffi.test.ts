/** HOLDFAST_DEBUG_FFI=1: what is wrong with an argument is said before C sees it. */
import assert from "node:assert/strict";
import { test } from "node:test";

// It is read when the module is loaded.
process.env.HOLDFAST_DEBUG_FFI = "1";
const { bind, bindWhenUsed, functionAddress } = await import("../../src/sys/ffi.ts");
const { libc } = await import("../../src/sys/libc.ts");
const { createSharedMemory, mapMemory } = await import("../../src/sys/memory.ts");

const c = bind(null, {
  abs: { return: "int32", arguments: ["int32"] },
  htonl: { return: "uint32", arguments: ["uint32"] },
  labs: { return: "int64", arguments: ["int64"] },
  getauxval: { return: "uint64", arguments: ["uint64"] },
  strlen: { return: "uint64", arguments: ["string"] },
  memchr: { return: "pointer", arguments: ["pointer", "int32", "uint64"], sizes: { 0: 2 } },
  time: { return: "int64", arguments: ["pointer"], nullable: [0] },
  memcmp: { return: "int32", arguments: ["buffer", "buffer", "uint64"], sizes: { 0: 2, 1: 2 } },
});

function mapped(bytes: number): bigint {
  const mapping = mapMemory(bytes);
  assert.ok(mapping !== undefined);
  return mapping.address;
}

test("arguments that are right are passed on", () => {
  assert.equal(c.abs(-(2 ** 31) + 1), 2 ** 31 - 1);
  assert.equal(c.htonl(0xff000000), 0xff);
  assert.equal(c.labs(-(2n ** 62n)), 2n ** 62n);
  assert.equal(c.strlen("four"), 4n);
  assert.ok(c.time(0n) > 0n);
  const address = mapped(64);
  assert.equal(c.memchr(address + 60n, 0, 4n), address + 60n);
  assert.equal(c.memcmp(Buffer.from("abc"), Buffer.from("abcd"), 3n), 0);
});

/** What nobody who is checked by the compiler can pass. */
const loose: Readonly<Record<string, (...values: unknown[]) => unknown>> = Object.fromEntries(
  Object.entries(c).map(([name, call]) => [name, (...values) => Reflect.apply(call, undefined, values)]),
);

const wrong: readonly (readonly [name: string, values: readonly unknown[], sentence: string])[] = [
  ["abs", [2 ** 31], "argument 0 of abs() is 2147483648, and no int32"],
  ["abs", [1.5], "argument 0 of abs() is 1.5, and no int32"],
  ["abs", [undefined], "argument 0 of abs() is undefined, and no int32"],
  ["abs", [1n], "argument 0 of abs() is 1, and no int32"],
  ["abs", [], "abs() was called with 0 arguments in place of 1"],
  ["htonl", [-1], "argument 0 of htonl() is -1, and no uint32"],
  ["labs", [1], "argument 0 of labs() is 1, and no int64"],
  ["labs", [2n ** 63n], "argument 0 of labs() is 9223372036854775808, and no int64"],
  ["getauxval", [-1n], "argument 0 of getauxval() is -1, and no uint64"],
  ["strlen", ["a\0b"], "argument 0 of strlen() is a\0b, and no string"],
  ["memcmp", [0n, Buffer.alloc(1), 1n], "argument 0 of memcmp() is 0, and no buffer"],
  ["memcmp", [Buffer.alloc(9), Buffer.alloc(8), 9n], "argument 1 of memcmp() is a buffer of 8 bytes, not of 9"],
  ["memchr", [Buffer.alloc(8), 0, 8n], "argument 0 of memchr() is object, and no pointer"],
  ["memchr", [0n, 0, 1n], "argument 0 of memchr() points to 0x0, where no 1 bytes are known"],
];

for (const [name, values, sentence] of wrong) {
  test(sentence, () => assert.throws(() => loose[name](...values), { name: "TypeError", message: sentence }));
}

test("a buffer whose memory has gone elsewhere", () => {
  const buffer = new Uint8Array(8);
  buffer.buffer.transfer();
  assert.throws(() => c.memcmp(buffer, Buffer.alloc(8), 0n), /argument 0 of memcmp\(\) is a buffer that was detached/);
});

test("a pointer leads to memory that is mapped, as far as it is used", () => {
  const address = mapped(64);
  assert.throws(() => c.memchr(address + 60n, 0, 5n), /argument 0 of memchr\(\) points to 0x\w+, where no 5 bytes are/);
  assert.throws(() => c.memchr(address - 1n, 0, 1n), /where no 1 bytes are known/);
  assert.throws(() => c.memchr(address + 64n, 0, 1n), /where no 1 bytes are known/);
  const shared = createSharedMemory("checked", 100);
  assert.equal(c.memchr(shared.address, 0, 100n), shared.address);
  assert.equal(c.memchr(functionAddress("abs"), 0, 0n), 0n);
});

test("the bindings that all use are checked as well", () => {
  assert.throws(() => libc().close(2 ** 31), /argument 0 of close\(\) is 2147483648, and no int32/);
  assert.throws(() => libc().discard(4096n, 4096n), /argument 0 of madvise\(\) points to 0x1000, where no 4096 bytes/);
});

test("functions that are bound when one of them is called", () => {
  const few = bindWhenUsed(null, {
    abs: { return: "int32", arguments: ["int32"] },
    labs: { return: "int64", arguments: ["int64"] },
  });
  assert.deepEqual(Object.keys(few), []);
  assert.equal(few.abs(-2), 2);
  assert.deepEqual(Object.keys(few), ["abs", "labs"]);
  assert.equal(few.labs(-3n), 3n);
  assert.throws(() => few.abs(1.5), /argument 0 of abs\(\) is 1.5, and no int32/);
  const none = bindWhenUsed(null, { no_such_function: { return: "void", arguments: [] } });
  assert.throws(() => none.no_such_function(), /no_such_function/);
});
