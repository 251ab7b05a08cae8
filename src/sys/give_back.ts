import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { know, memoryAt } from "./ffi.ts";
import { libc } from "./libc.ts";
import { startTimer, type Timer } from "./timers.ts";

/** Gives memory back to the system that this process has, and does not need any more. */

let collect: typeof gc | undefined;

/** V8's function, which contexts have that are made while the flag is set. */
function gcFunction(): typeof collect {
  if (collect !== undefined) return collect;
  setFlagsFromString("--expose-gc");
  const found: unknown = runInNewContext("gc");
  setFlagsFromString("--no-expose-gc");
  if (isGc(found)) collect = found;
  return collect;
}

function isGc(found: unknown): found is NonNullable<typeof gc> {
  return typeof found === "function";
}

/** Collects garbage, which takes some tens of ms, and gives free memory of the C library's heap back. */
export function collectGarbage(): void {
  gcFunction()?.();
  libc().trimHeap();
}

/** How long a process has been serving when it gives back what only its start needed, in ms: more urgent things come first. */
const SETTLED_MS = 1000;

/** And how long after that V8 has compiled what was called often during the start: its thread takes some 6 MB for that. */
const COMPILED_MS = 4000;

/** Gives the pages of the young generation back, too. */
function collectAll(): void {
  gcFunction()?.({ type: "major", execution: "sync", flavor: "last-resort" });
}

/** Has V8 keep the code that is not run at the moment. */
function keepingCode(work: () => void): void {
  setFlagsFromString("--no-flush-bytecode");
  work();
  setFlagsFromString("--flush-bytecode");
}

/**
 * What survives of a heap of up to so many bytes, of which a third is the start's garbage, is marked in some 15 ms. With many locations it is
 * larger.
 */
const SMALL_HEAP = 24 * 1024 * 1024;
/** After more than a thousand requests a process has made so many bytes of garbage, or kept them. */
const LITTLE_SINCE = 4 * 1024 * 1024;

/**
 * After the start gives back what that has left. Of a process that has no traffic `thoroughly`, in a tenth of a second: also code that was compiled and
 * is not run again. One that has is not stopped while it has much to do, nor for long, and keeps its code.
 */
export function giveStartupMemoryBack({ thoroughly = false } = {}): void {
  const atStart = process.memoryUsage().heapUsed;
  const give = (): void => {
    const { heapUsed } = process.memoryUsage();
    if (thoroughly) collectAll();
    else if (heapUsed < SMALL_HEAP && heapUsed - atStart < LITTLE_SINCE) keepingCode(collectAll);
    libc().trimHeap();
    unmapProgram();
    startTimer(COMPILED_MS, () => libc().trimHeap(), { background: true });
  };
  startTimer(SETTLED_MS, give, { background: true });
}

/** Until a reload's memory is given back. */
let giving: Timer | undefined;

/**
 * When nothing is left to do for the configurations before a reload, gives back what they had, once things have settled. Free memory of the C
 * library's heap: building runs code that V8 then compiles, which takes and frees some 15 MB there; half a millisecond.
 * Where there is little traffic, garbage too, since V8 by itself waits for half a minute of quiet or for much of it, and zones that
 * the configuration has no more stay mapped until then. That stops a process for less time than building the new configuration did.
 */
export function giveReloadMemoryBack(): void {
  const atReload = process.memoryUsage().heapUsed;
  const give = (): void => {
    giving = undefined;
    if (process.memoryUsage().heapUsed - atReload < LITTLE_SINCE) keepingCode(() => gcFunction()?.());
    libc().trimHeap();
  };
  giving?.clear();
  giving = startTimer(SETTLED_MS, give, { background: true });
}

// <elf.h>
const AT_PHDR = 3n;
const AT_PHNUM = 5n;
const AT_PAGESZ = 6n;
const PT_LOAD = 1;
const PT_PHDR = 6;
const PF_W = 2;
/** An Elf64_Phdr: type, flags, offset, vaddr, paddr, filesz, memsz, align. */
const PHDR_BYTES = 56;

/**
 * Forgets the pages of Node's code and constants: most were used for the start alone. They stay in the system's page cache;
 * those that are used from now on are mapped again at the first use, 16 at a time, without any reading. Segments that can
 * be written to are left alone.
 */
function unmapProgram(): void {
  const { getauxval, discard } = libc();
  const table = getauxval(AT_PHDR);
  const count = Number(getauxval(AT_PHNUM));
  const page = getauxval(AT_PAGESZ);
  if (table === 0n || page === 0n) return;
  // The kernel's mapping of the executable's headers: there as long as the process is.
  const view = new DataView(memoryAt(table, count * PHDR_BYTES));
  const segments = Array.from({ length: count }, (_, i) => ({
    type: view.getUint32(i * PHDR_BYTES, true),
    flags: view.getUint32(i * PHDR_BYTES + 4, true),
    address: view.getBigUint64(i * PHDR_BYTES + 16, true),
    bytes: view.getBigUint64(i * PHDR_BYTES + 40, true),
  }));
  const self = segments.find(({ type }) => type === PT_PHDR);
  if (self === undefined) return;
  const base = table - self.address;
  for (const { type, flags, address, bytes } of segments) {
    if (type !== PT_LOAD || (flags & PF_W) !== 0) continue;
    const first = ((base + address + page - 1n) / page) * page;
    const end = ((base + address + bytes) / page) * page;
    if (end <= first) continue;
    know(first, Number(end - first));
    discard(first, end - first);
  }
}
