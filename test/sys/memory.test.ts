import assert from "node:assert/strict";
import { fstatSync, ftruncateSync, openSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { libc } from "../../src/sys/libc.ts";
import { adoptSharedMemory, createSharedMemory, mapSharedMemory } from "../../src/sys/memory.ts";
import { openBy } from "../support/processes.ts";
import { waitFor } from "../support/wait.ts";

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
}

/** How often memory of that name is mapped here, and how many descriptors of it there are. */
function uses(name: string): { readonly mapped: number; readonly open: number } {
  const path = `/memfd:${name} (deleted)`;
  const mapped = readFileSync("/proc/self/maps", "latin1")
    .split("\n")
    .filter((line) => line.endsWith(path)).length;
  return { mapped, open: openBy(process.pid).filter((name) => name === path).length };
}

test("new memory is zeros, whole pages of it, and its descriptor is closed on exec", () => {
  const { fd, buffer } = createSharedMemory("new", 5000);
  assert.equal(buffer.byteLength, 8192);
  assert.ok(new Uint8Array(buffer).every((byte) => byte === 0));
  assert.match(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"), /^flags:\s+0?2\d{6}$/m);
  assert.equal(createSharedMemory("least", 0).buffer.byteLength, 4096);
});

test("who maps its descriptor sees the same memory, at an address of its own", () => {
  const { fd, address, buffer } = createSharedMemory("same", 4096);
  const other = mapSharedMemory(libc().dup(fd), 4096);
  assert.notEqual(other.address, address);
  new Int32Array(buffer)[7] = 42;
  assert.equal(new Int32Array(other.buffer)[7], 42);
  assert.deepEqual(uses("same"), { mapped: 2, open: 1 });
  assert.equal(other.fd, -1);
  const kept = libc().dup(fd);
  assert.equal(adoptSharedMemory(kept, 4096).fd, kept);
});

test("nobody who has its descriptor can cut it or make it grow", () => {
  const { fd } = createSharedMemory("sealed", 4096);
  for (const bytes of [0, 100, 8192]) assert.throws(() => ftruncateSync(fd, bytes), { code: "EPERM" });
  assert.equal(fstatSync(fd).size, 4096);
});

/** Ten memories, each mapped twice. In functions of their own, so that no local variable keeps one of them. */
function makeMany(): Int32Array[] {
  return Array.from({ length: 10 }, () => {
    const { fd, buffer } = createSharedMemory("collected", 1 << 20);
    const other = mapSharedMemory(libc().dup(fd), 1 << 20);
    return [new Int32Array(buffer), new Int32Array(other.buffer)];
  }).flat();
}

function useAll(views: readonly Int32Array[]): void {
  for (const view of views) view[0]++;
  assert.ok(views.every((view) => view[0] === 2));
}

test("it stays while a view of it can be reached; then it is unmapped and its descriptor closed", async () => {
  const held = { views: makeMany() };
  collectGarbage();
  // What was collected would be unmapped by now.
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(uses("collected"), { mapped: 20, open: 10 });
  useAll(held.views);
  held.views = [];
  await waitFor(() => {
    collectGarbage();
    const { mapped, open } = uses("collected");
    return mapped === 0 && open === 0;
  }, "the memory to be unmapped");
});

test("where there is none, RangeError says so, and no descriptor is left", () => {
  const before = openBy(process.pid).length;
  assert.throws(() => createSharedMemory("huge", 2 ** 52), RangeError);
  assert.throws(() => mapSharedMemory(openSync("/dev/null", "r"), 4096), {
    name: "RangeError",
    message: "shared memory of 4096 bytes has 0 only",
  });
  assert.equal(openBy(process.pid).length, before);
});
